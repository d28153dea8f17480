//! One buffer for each tensor of the layout, and how a fresh model is filled.

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Role, Tensor, TensorId, TensorSpec};
use minigpt_runtime::{math, rng};

use crate::backend::{Affine, Backend, BackendError, Branch, Head, Kind};

/// Standard deviation of fresh matrices times the root of `n_embd`: GPT-2's 0.02 at its width of
/// 768, and at every width outputs as large as GPT-2's.
///
/// # Source
/// Radford et al. 2018, section 4.1; with the width: LeCun et al. 1998, equation 16.
const INIT_GAIN: f32 = 0.554_256_26;

/// How much wider the rows of the token embedding are spread. Tokens that occur alike, such as
/// names, get almost the same gradients; only what they began with tells them apart, and attention
/// learns to repeat one of them only as far as they differ.
const EMBEDDING_GAIN: f32 = 4.0;

/// Buffers of all tensors, in the order of [`layout::tensors`].
#[derive(Debug)]
pub struct Params<T> {
    config: Config,
    buffers: Vec<T>,
}

impl<T> Params<T> {
    /// Zeros on `backend`, of a `kind`.
    ///
    /// # Errors
    /// A [`BackendError`] if the device has not the memory.
    pub fn zeros<B: Backend<Buffer = T>>(
        backend: &mut B,
        config: &Config,
        kind: Kind,
    ) -> Result<Self, BackendError> {
        let lengths = layout::tensors(config).map(|spec| spec.len());
        Self::of_lengths(backend, config, lengths, kind)
    }

    /// Zeros on `backend`, of other lengths than the tensors have.
    ///
    /// # Errors
    /// A [`BackendError`] if the device has not the memory.
    pub fn of_lengths<B: Backend<Buffer = T>>(
        backend: &mut B,
        config: &Config,
        lengths: impl Iterator<Item = usize>,
        kind: Kind,
    ) -> Result<Self, BackendError> {
        let buffers = lengths
            .map(|len| backend.buffer(len, kind))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config: *config,
            buffers,
        })
    }

    /// All buffers, in order.
    pub fn all(&self) -> &[T] {
        &self.buffers
    }

    /// All buffers, in order, to change.
    pub fn all_mut(&mut self) -> &mut [T] {
        &mut self.buffers
    }

    /// The buffer of `tensor`, if the model has it.
    pub fn get(&self, tensor: Tensor) -> Option<&T> {
        outside(&self.config, tensor).map(|index| &self.buffers[index])
    }

    /// Token and position embedding.
    ///
    /// # Panics
    /// Never: every layout has a token embedding.
    pub fn embedding_mut(&mut self) -> (&mut T, Option<&mut T>) {
        let config = self.config;
        let mut slots = Slots::new(&mut self.buffers, &config);
        let wte = slots.required(Tensor::Wte, 0);
        (wte, slots.take(Tensor::Wpe, 0))
    }

    /// Attention of `layer`.
    pub fn attention(&self, layer: usize) -> Branch<&T> {
        attention(&mut Slots::new(&self.buffers, &self.config), layer)
    }

    /// Attention of `layer`, to change.
    pub fn attention_mut(&mut self, layer: usize) -> Branch<&mut T> {
        attention(&mut Slots::new(&mut self.buffers, &self.config), layer)
    }

    /// MLP of `layer`.
    pub fn mlp(&self, layer: usize) -> Branch<&T> {
        mlp(&mut Slots::new(&self.buffers, &self.config), layer)
    }

    /// MLP of `layer`, to change.
    pub fn mlp_mut(&mut self, layer: usize) -> Branch<&mut T> {
        mlp(&mut Slots::new(&mut self.buffers, &self.config), layer)
    }

    /// Last norm and head; the head is the embedding if tied.
    pub fn head(&self) -> Head<&T> {
        head(&mut Slots::new(&self.buffers, &self.config))
    }

    /// Last norm and head, to change.
    pub fn head_mut(&mut self) -> Head<&mut T> {
        head(&mut Slots::new(&mut self.buffers, &self.config))
    }
}

/// References to all buffers, handed out one by one.
struct Slots<'c, R> {
    config: &'c Config,
    slots: Vec<Option<R>>,
}

impl<'c, R> Slots<'c, R> {
    fn new(buffers: impl IntoIterator<Item = R>, config: &'c Config) -> Self {
        let slots = buffers.into_iter().map(Some).collect();
        Self { config, slots }
    }

    fn take(&mut self, tensor: Tensor, layer: usize) -> Option<R> {
        let id = TensorId::new(tensor, layer);
        layout::spec(self.config, id)?;
        self.slots[layout::index(self.config, id)].take()
    }

    fn required(&mut self, tensor: Tensor, layer: usize) -> R {
        self.take(tensor, layer)
            .expect("the layout has this tensor and nobody took it")
    }

    fn affine(&mut self, weight: Tensor, bias: Tensor, layer: usize) -> Affine<R> {
        Affine {
            weight: self.required(weight, layer),
            bias: self.take(bias, layer),
        }
    }
}

fn outside(config: &Config, tensor: Tensor) -> Option<usize> {
    let id = TensorId::new(tensor, 0);
    layout::spec(config, id).map(|_| layout::index(config, id))
}

fn attention<R>(slots: &mut Slots<'_, R>, layer: usize) -> Branch<R> {
    Branch {
        norm: slots.affine(Tensor::Ln1Weight, Tensor::Ln1Bias, layer),
        input: slots.affine(Tensor::CAttnWeight, Tensor::CAttnBias, layer),
        output: slots.affine(Tensor::AttnProjWeight, Tensor::AttnProjBias, layer),
    }
}

fn mlp<R>(slots: &mut Slots<'_, R>, layer: usize) -> Branch<R> {
    Branch {
        norm: slots.affine(Tensor::Ln2Weight, Tensor::Ln2Bias, layer),
        input: slots.affine(Tensor::CFcWeight, Tensor::CFcBias, layer),
        output: slots.affine(Tensor::MlpProjWeight, Tensor::MlpProjBias, layer),
    }
}

fn head<R>(slots: &mut Slots<'_, R>) -> Head<R> {
    let tied = slots.config.tied_head();
    let weight = if tied { Tensor::Wte } else { Tensor::LmHead };
    Head {
        norm: slots.affine(Tensor::LnFWeight, Tensor::LnFBias, 0),
        weight: slots.required(weight, 0),
    }
}

/// Values of a fresh model, one array per tensor of [`layout::tensors`].
///
/// Matrices are normal with deviation `0.554 / sqrt(n_embd)`, which is GPT-2's 0.02 at its width;
/// the token embedding has four times as much, matrices that write into the residual stream
/// `1 / sqrt(2 n_layer)` of it. Norms are 1, biases 0.
///
/// # Source
/// Radford et al. 2019, section 2.3; nanoGPT `model.py`, `GPT.__init__`.
#[must_use]
pub fn fresh(config: &Config, seed: u64) -> Vec<Vec<f32>> {
    let tensors = layout::tensors(config).enumerate();
    let fresh = |(index, spec)| fresh_tensor(config, seed, index, &spec);
    tensors.map(fresh).collect()
}

/// The tensor `spec`, number `index` of the layout, of [`fresh`].
pub(crate) fn fresh_tensor(
    config: &Config,
    seed: u64,
    index: usize,
    spec: &TensorSpec,
) -> Vec<f32> {
    let std = INIT_GAIN / math::sqrt(config.n_embd() as f32);
    let branches = math::sqrt(2.0 * config.n_layer() as f32);
    match (spec.role, spec.id.tensor) {
        (Role::Matrix, tensor) => {
            let std = match tensor {
                Tensor::Wte => EMBEDDING_GAIN * std,
                Tensor::AttnProjWeight | Tensor::MlpProjWeight => std / branches,
                _ => std,
            };
            (0..spec.len() as u64)
                .map(|i| std * normal(seed, INIT_STREAMS + index as u64, i))
                .collect()
        }
        (_, Tensor::Ln1Weight | Tensor::Ln2Weight | Tensor::LnFWeight) => vec![1.0; spec.len()],
        _ => vec![0.0; spec.len()],
    }
}

/// First of the streams of random numbers that fill fresh parameters.
const INIT_STREAMS: u64 = 1 << 62;

/// A normal number: half of Box and Muller's pair.
fn normal(seed: u64, stream: u64, counter: u64) -> f32 {
    let uniform = |i| rng::unit(rng::random(seed, stream, 2 * counter + i));
    let radius = math::sqrt(-2.0 * math::ln(1.0 - uniform(0)));
    radius * math::sin_cos(core::f32::consts::TAU * uniform(1)).1
}

/// The shape that a tensor has in files: a vector has one size.
pub(crate) fn shape(spec: &TensorSpec) -> Vec<usize> {
    match spec.role {
        Role::Vector => vec![spec.cols],
        _ => vec![spec.rows, spec.cols],
    }
}
