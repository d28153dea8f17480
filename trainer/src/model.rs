//! A GPT in training: forward and backward, wired once for all backends.

mod state;
mod tables;

use core::mem;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Tensor};

use crate::activations::{Activations, LayerSaved};
use crate::backend::{Backend, BackendError, Batch, Dropout, Kind, Loss, Shape};
use crate::optimizer::{Method, Rule};
use crate::params::{self, Params};
use tables::tables;

/// Target id that takes no part in the loss (padding).
pub const IGNORE: u32 = u32::MAX;

/// First of the streams of random numbers that dropout uses.
const DROPOUT_STREAMS: u64 = 1 << 63;

/// How one forward and backward pass is done.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "callers write all fields; a new one must be seen"
)]
pub struct PassOptions {
    /// Chance of a value to be dropped, in `[0, 1)`.
    pub dropout: f32,
    /// Seed of the dropout masks.
    pub seed: u64,
    /// Number of this pass since training began: with `seed` it decides the masks, so that a
    /// resumed run makes the same.
    pub micro_step: u64,
    /// Passes before an update; the gradient is divided by it.
    pub accumulation: usize,
}

/// The loss of a pass that the device may not have finished; [`Gpt::loss`] waits for it.
#[derive(Clone, Debug)]
pub struct PendingLoss<S> {
    sum: S,
    count: usize,
}

/// A GPT in training on one backend: parameters, gradients, moments, and activations of a batch.
///
/// # Errors
/// Whatever asks something of the device returns a [`BackendError`] when it fails; the model is then
/// of no use any more.
#[derive(Debug)]
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub struct Gpt<B: Backend> {
    backend: B,
    shape: Shape,
    params: Params<B::Buffer>,
    gradients: Params<B::Buffer>,
    first: Params<B::Buffer>,
    second: Params<B::Buffer>,
    /// Moving average of the parameters, where it is kept.
    average: Option<Params<B::Buffer>>,
    /// How each tensor is updated.
    rules: Vec<Rule>,
    activations: Activations<B::Buffer>,
    /// The batch at work.
    tokens: B::Ids,
    targets: B::Ids,
    /// Sines added to the embedding `[T, C]`.
    sinusoids: Option<B::Buffer>,
    /// Cosines and sines of the rotation `[T, HS]`.
    rotation: Option<B::Buffer>,
}

#[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
impl<B: Backend> Gpt<B> {
    /// A model with the parameters of [`params::fresh`], updated by AdamW.
    ///
    /// # Panics
    /// If `batch` is empty or its sequences are longer than the context.
    pub fn new(backend: B, config: Config, batch: Batch, seed: u64) -> Result<Self, BackendError> {
        Self::with_method(backend, config, batch, seed, Method::AdamW)
    }

    /// [`Self::new`], updated by `method`.
    ///
    /// # Panics
    /// If `batch` is empty or its sequences are longer than the context.
    pub fn with_method(
        mut backend: B,
        config: Config,
        batch: Batch,
        seed: u64,
        method: Method,
    ) -> Result<Self, BackendError> {
        assert!(
            batch.n_batch > 0 && batch.n_time > 0 && batch.n_time <= config.n_ctx(),
            "{batch:?} for n_ctx {}",
            config.n_ctx()
        );
        let shape = Shape { config, batch };
        let params = Params::zeros(&mut backend, &config, Kind::Parameter)?;
        let mut state = || Params::zeros(&mut backend, &config, Kind::State);
        let (gradients, first) = (state()?, state()?);
        let rules: Vec<_> = layout::tensors(&config)
            .map(|spec| Rule::of(&spec, &config, method))
            .collect();
        let lengths = layout::tensors(&config).zip(&rules);
        let lengths = lengths.map(|(spec, rule)| rule.second_len(spec.len()));
        let second = Params::of_lengths(&mut backend, &config, lengths, Kind::State)?;
        let activations = Activations::new(&mut backend, &shape)?;
        let (sinusoids, rotation) = tables(&mut backend, &shape)?;
        let mut model = Self {
            tokens: backend.ids(batch.rows())?,
            targets: backend.ids(batch.rows())?,
            backend,
            shape,
            params,
            gradients,
            first,
            second,
            average: None,
            rules,
            activations,
            sinusoids,
            rotation,
        };
        model.write_parameters(&params::fresh(&config, seed))?;
        Ok(model)
    }

    /// The model's shape.
    pub const fn config(&self) -> &Config {
        &self.shape.config
    }

    /// The shape of the batches it takes.
    pub const fn batch(&self) -> Batch {
        self.shape.batch
    }

    /// Loss of a batch, without dropout and without gradients.
    ///
    /// # Shapes
    /// Both `[B, T]`; targets may be [`IGNORE`].
    /// # Panics
    /// If a length is wrong or an id is not below `n_vocab`.
    pub fn evaluate(
        &mut self,
        tokens: &[u32],
        targets: &[u32],
    ) -> Result<PendingLoss<B::Scalar>, BackendError> {
        let count = self.check(tokens, Some(targets));
        self.backend.write_ids(&mut self.targets, targets)?;
        self.forward(tokens, None)?;
        let x = last(&self.activations.residual);
        let head = self.params.head();
        let sum = self.backend.loss(x, head, &self.targets, &self.shape)?;
        Ok(PendingLoss { sum, count })
    }

    /// Logits of a batch, without dropout.
    ///
    /// # Shapes
    /// Result `[B, T, V]`, `tokens` `[B, T]`.
    /// # Panics
    /// If the length is wrong or an id is not below `n_vocab`.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError> {
        self.check(tokens, None);
        self.forward(tokens, None)?;
        let x = last(&self.activations.residual);
        self.backend.logits(x, self.params.head(), &self.shape)
    }

    /// Forward and backward: adds the gradient of `mean loss / accumulation` to the gradients.
    /// Without targets that count nothing is added.
    ///
    /// # Shapes
    /// Both `[B, T]`; targets may be [`IGNORE`].
    /// # Panics
    /// If a length is wrong or an id is not below `n_vocab`; if `accumulation` is 0 or `dropout`
    /// is not in `[0, 1)`.
    pub fn accumulate(
        &mut self,
        tokens: &[u32],
        targets: &[u32],
        options: PassOptions,
    ) -> Result<PendingLoss<B::Scalar>, BackendError> {
        let count = self.check(tokens, Some(targets));
        assert!(options.accumulation > 0 && (0.0..1.0).contains(&options.dropout));
        self.backend.write_ids(&mut self.targets, targets)?;
        self.forward(tokens, Some(options))?;
        let scale = 1.0 / (count.max(1) as f32 * options.accumulation as f32);
        let sum = self.backend.loss_backward(
            &mut self.activations.d_residual.0,
            self.gradients.head_mut(),
            last(&self.activations.residual),
            self.params.head(),
            &self.targets,
            scale,
            &self.shape,
        )?;
        self.backward(options)?;
        Ok(PendingLoss { sum, count })
    }

    /// The loss of a pass, as soon as the device has it.
    pub fn loss(&self, pending: &PendingLoss<B::Scalar>) -> Result<Loss, BackendError> {
        Ok(Loss {
            sum: self.backend.read_scalar(&pending.sum)?,
            count: pending.count,
        })
    }

    /// Asserts lengths and ids; the number of targets that count.
    fn check(&self, tokens: &[u32], targets: Option<&[u32]>) -> usize {
        let (rows, n_vocab) = (self.shape.batch.rows(), self.shape.config.n_vocab());
        let known = |id: &u32| (*id as usize) < n_vocab;
        assert_eq!(tokens.len(), rows, "tokens of a batch");
        assert!(tokens.iter().all(known), "token id not below {n_vocab}");
        let targets = targets.unwrap_or(tokens);
        assert_eq!(targets.len(), rows, "targets of a batch");
        let count = targets.iter().filter(|id| **id != IGNORE);
        assert!(count.clone().all(known), "target id not below {n_vocab}");
        count.count()
    }

    /// Site 0 is the embedding, then each branch in order.
    fn dropout(&self, options: Option<PassOptions>, site: usize) -> Dropout {
        let sites = 2 * self.shape.config.n_layer() as u64 + 1;
        options.map_or(Dropout::OFF, |options| Dropout {
            probability: options.dropout,
            seed: options.seed,
            stream: DROPOUT_STREAMS | (options.micro_step * sites + site as u64),
        })
    }

    /// Fills the activations; dropout if there are `options`.
    fn forward(
        &mut self,
        tokens: &[u32],
        options: Option<PassOptions>,
    ) -> Result<(), BackendError> {
        let drops = |site| self.dropout(options, site);
        let drops: Vec<_> = (0..=2 * self.shape.config.n_layer()).map(drops).collect();
        let Self {
            backend,
            shape,
            params,
            activations,
            tokens: ids,
            rotation,
            ..
        } = self;
        backend.write_ids(ids, tokens)?;
        let stream = &mut activations.residual;
        let positions = params.get(Tensor::Wpe).or(self.sinusoids.as_ref());
        let wte = params.get(Tensor::Wte).expect("every model has wte");
        backend.embed_forward(&mut stream[0], ids, wte, positions, shape, drops[0])?;
        for (layer, saved) in activations.layers.iter_mut().enumerate() {
            let LayerSaved { attention, mlp } = saved;
            let [x, middle, out] = &mut stream[2 * layer..2 * layer + 3] else {
                unreachable!("three states of the stream for each layer");
            };
            let (weights, drop) = (params.attention(layer), drops[2 * layer + 1]);
            let rotation = rotation.as_ref();
            backend.attention_forward(middle, attention, x, weights, rotation, shape, drop)?;
            let (weights, drop) = (params.mlp(layer), drops[2 * layer + 2]);
            backend.mlp_forward(out, mlp, middle, weights, shape, drop)?;
        }
        Ok(())
    }

    /// From the gradient behind the last block to that of the embedding.
    fn backward(&mut self, options: PassOptions) -> Result<(), BackendError> {
        let drops = |site| self.dropout(Some(options), site);
        let drops: Vec<_> = (0..=2 * self.shape.config.n_layer()).map(drops).collect();
        let Self {
            backend,
            shape,
            params,
            gradients,
            activations,
            tokens: ids,
            rotation,
            ..
        } = self;
        let stream = &activations.residual;
        let (d_out, d_x) = &mut activations.d_residual;
        for (layer, saved) in activations.layers.iter().enumerate().rev() {
            let (x, weights) = (&stream[2 * layer + 1], params.mlp(layer));
            let (d_weights, drop) = (gradients.mlp_mut(layer), drops[2 * layer + 2]);
            backend.mlp_backward(d_x, d_weights, d_out, &saved.mlp, x, weights, shape, drop)?;
            mem::swap(d_out, d_x);
            let (x, weights) = (&stream[2 * layer], params.attention(layer));
            let (d_weights, drop) = (gradients.attention_mut(layer), drops[2 * layer + 1]);
            backend.attention_backward(
                d_x,
                d_weights,
                d_out,
                &saved.attention,
                x,
                weights,
                rotation.as_ref(),
                shape,
                drop,
            )?;
            mem::swap(d_out, d_x);
        }
        let (d_wte, d_wpe) = gradients.embedding_mut();
        backend.embed_backward(d_wte, d_wpe, d_out, ids, shape, drops[0])
    }
}

fn last<T>(residual: &[T]) -> &T {
    residual.last().expect("the embedding is always there")
}
