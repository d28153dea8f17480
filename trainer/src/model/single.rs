//! One sequence through a model whose batches have more.

use core::mem;

use super::Gpt;
use crate::activations::Activations;
use crate::backend::{Backend, BackendError, Batch, Shape};

/// Room for a sequence on its own, beside that of a batch.
#[derive(Debug)]
pub struct Single<B: Backend> {
    shape: Shape,
    activations: Activations<B::Buffer>,
    tokens: B::Ids,
}

impl<B: Backend> Single<B> {
    /// The most tokens.
    #[must_use]
    pub const fn n_time(&self) -> usize {
        self.shape.batch.n_time
    }
}

#[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
impl<B: Backend> Gpt<B> {
    /// Room for a sequence of up to `n_time` tokens.
    ///
    /// # Panics
    /// If `n_time` is 0 or more than a sequence of a batch has.
    pub fn single(&mut self, n_time: usize) -> Result<Single<B>, BackendError> {
        assert!((1..=self.shape.batch.n_time).contains(&n_time));
        let batch = Batch { n_batch: 1, n_time };
        let shape = Shape {
            batch,
            ..self.shape
        };
        Ok(Single {
            shape,
            // Nothing goes backward here.
            activations: Activations::new(&mut self.backend, &shape, true)?,
            tokens: self.backend.ids(batch.rows())?,
        })
    }

    /// Logits of the token behind `tokens`, without dropout.
    ///
    /// # Shapes
    /// Result `[V]`.
    /// # Panics
    /// If there is no token, there is no room for them, or an id is not below `n_vocab`.
    pub fn next_logits(
        &mut self,
        single: &mut Single<B>,
        tokens: &[u32],
    ) -> Result<Vec<f32>, BackendError> {
        let (n_time, n_vocab) = (single.n_time(), self.shape.config.n_vocab());
        assert!((1..=n_time).contains(&tokens.len()), "tokens of a sequence");
        // What follows changes nothing before it.
        let mut padded = tokens.to_vec();
        padded.resize(n_time, 0);
        self.exchange(single);
        let logits = self.logits(&padded);
        self.exchange(single);
        let mut logits = logits?;
        logits.truncate(tokens.len() * n_vocab);
        Ok(logits.split_off((tokens.len() - 1) * n_vocab))
    }

    fn exchange(&mut self, single: &mut Single<B>) {
        mem::swap(&mut self.shape, &mut single.shape);
        mem::swap(&mut self.activations, &mut single.activations);
        mem::swap(&mut self.tokens, &mut single.tokens);
    }
}
