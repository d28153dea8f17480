//! A GPT in training: forward and backward, wired once for all backends.

mod passes;
mod rounded;
mod single;
mod state;
mod tables;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use crate::activations::Activations;
use crate::backend::{Backend, BackendError, Batch, Kind, Loss, Shape};
use crate::data::token_file::TokenFile;
use crate::data::windows::Draw;
use crate::optimizer::{Method, Rule};
use crate::params::{self, Params};
use rounded::Rounded;
pub use single::Single;
pub use state::Part;
use tables::tables;

/// Target id that takes no part in the loss (padding).
pub const IGNORE: u32 = u32::MAX;

/// How a model in training is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct GptOptions {
    /// Seed of the parameters.
    pub seed: u64,
    /// How they are updated.
    pub method: Method,
    /// Whether backward makes the activations of a layer again from its input, instead of keeping those of
    /// all layers: the same bits, in less memory and more time.
    pub recompute: bool,
}

/// How one forward and backward pass is done.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "callers write all fields; a new one must be seen"
)]
pub struct PassOptions {
    /// Chance of a value to be dropped, in `[0, 1)`.
    pub dropout: f32,
    /// Seed of the dropout masks, and of the windows where they are drawn.
    pub seed: u64,
    /// Number of this pass since training began: with `seed` it decides masks and windows, so that a
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
    /// The same as a model file holds them, where passes compute with those.
    rounded: Rounded<B::Buffer>,
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
        let options = GptOptions {
            seed,
            ..GptOptions::default()
        };
        Self::with_options(backend, config, batch, options)
    }

    /// [`Self::new`] as `options` say.
    ///
    /// # Panics
    /// If `batch` is empty or its sequences are longer than the context.
    pub fn with_options(
        mut backend: B,
        config: Config,
        batch: Batch,
        options: GptOptions,
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
            .map(|spec| Rule::of(&spec, &config, options.method))
            .collect();
        let lengths = layout::tensors(&config).zip(&rules);
        let lengths = lengths.map(|(spec, rule)| rule.second_len(spec.len()));
        let second = Params::of_lengths(&mut backend, &config, lengths, Kind::State)?;
        let activations = Activations::new(&mut backend, &shape, options.recompute)?;
        let (sinusoids, rotation) = tables(&mut backend, &shape)?;
        let mut model = Self {
            tokens: backend.ids(batch.rows())?,
            targets: backend.ids(batch.rows())?,
            backend,
            shape,
            params,
            rounded: Rounded::default(),
            gradients,
            first,
            second,
            average: None,
            rules,
            activations,
            sinusoids,
            rotation,
        };
        for (index, spec) in layout::tensors(&config).enumerate() {
            let values = params::fresh_tensor(&config, options.seed, index, &spec);
            model.write_array(Part::Parameters, index, &values)?;
        }
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
        self.backend.write_ids(&mut self.tokens, tokens)?;
        self.forward(None)?;
        let x = self.activations.last();
        let head = self.rounded.or(&self.params).head();
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
        self.backend.write_ids(&mut self.tokens, tokens)?;
        self.forward(None)?;
        let x = self.activations.last();
        let head = self.rounded.or(&self.params).head();
        self.backend.logits(x, head, &self.shape)
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
        self.backend.write_ids(&mut self.targets, targets)?;
        self.backend.write_ids(&mut self.tokens, tokens)?;
        self.pass(count, options)
    }

    /// Tokens to draw from, for [`Self::accumulate_drawn`].
    ///
    /// # Panics
    /// If the vocabulary of `file` is larger than the model's.
    pub fn corpus(&mut self, file: &TokenFile) -> Result<B::Corpus, BackendError> {
        let n_vocab = self.shape.config.n_vocab();
        assert!(
            file.n_vocab() <= n_vocab,
            "a corpus of {} tokens for a model of {n_vocab}",
            file.n_vocab()
        );
        self.backend.corpus(file)
    }

    /// [`Self::accumulate`] on windows of `corpus`, whose documents begin with `bos`: the seed and the
    /// number of the pass say which.
    ///
    /// # Panics
    /// If `accumulation` is 0 or `dropout` is not in `[0, 1)`; if the corpus is shorter than a window and
    /// its last target.
    pub fn accumulate_drawn(
        &mut self,
        corpus: &B::Corpus,
        bos: Option<u32>,
        options: PassOptions,
    ) -> Result<PendingLoss<B::Scalar>, BackendError> {
        let draw = Draw {
            bos,
            seed: options.seed,
            micro_step: options.micro_step,
        };
        let ids = (&mut self.tokens, &mut self.targets);
        self.backend
            .draw(ids.0, ids.1, corpus, &draw, &self.shape)?;
        self.pass(self.shape.batch.rows(), options)
    }

    /// Forward and backward of the batch that is there, of which `count` targets count.
    fn pass(
        &mut self,
        count: usize,
        options: PassOptions,
    ) -> Result<PendingLoss<B::Scalar>, BackendError> {
        assert!(options.accumulation > 0 && (0.0..1.0).contains(&options.dropout));
        self.forward(Some(options))?;
        let scale = 1.0 / (count.max(1) as f32 * options.accumulation as f32);
        let sum = self.loss_backward(scale)?;
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
}
