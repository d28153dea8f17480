//! The seam between the training of a model and the device that does it.
//!
//! [`Backend`] is training steps, not tensor algebra: forward and backward of each layer, buffers,
//! the gradient's norm and the optimiser step. [`crate::model`] wires these once for all backends;
//! a backend is free in how it does each of them (fusion, precision, what it computes twice).
//!
//! # Shapes
//! `B` sequences of `T` tokens, `R = B T` rows, width `C`, `NH` heads of size `HS`, vocabulary `V`;
//! `n_qkv`, `n_fc`, `n_ff` as in [`Config`]. All arrays are row-major.

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;

use crate::data::token_file::TokenFile;
use crate::data::windows::Draw;
use crate::optimizer::{Optimizer, Rule};

pub mod cpu;
pub mod cuda;
mod error;

pub use error::BackendError;

/// How many sequences of how many tokens are trained at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Batch {
    /// Sequences (`B`).
    pub n_batch: usize,
    /// Tokens of each (`T`), at most `n_ctx`.
    pub n_time: usize,
}

impl Batch {
    /// Tokens of all sequences: `R = B T`.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.n_batch * self.n_time
    }
}

/// The sizes that every step needs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Shape {
    /// The model's.
    pub config: Config,
    /// The batch's.
    pub batch: Batch,
}

/// A sum of losses and how many targets it is over, so that batches can be averaged exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Loss {
    /// Sum of `-ln p(target)` in nats.
    pub sum: f64,
    /// Targets that took part.
    pub count: usize,
}

impl Loss {
    /// Mean loss in nats; NaN without targets.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// How far training runs ahead of a device: it asks for steps before it knows the losses of those
/// before.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Ahead {
    /// Steps whose losses may be owed.
    pub steps: usize,
    /// Seconds that they may take together: so long does a run go on that someone wants to end.
    pub seconds: f64,
}

impl Ahead {
    /// Each step is waited for.
    pub const NONE: Self = Self {
        steps: 0,
        seconds: 0.0,
    };

    /// Steps whose losses may be owed where one takes `step` seconds; none while that is not known.
    #[must_use]
    pub fn most(&self, step: Option<f64>) -> usize {
        let fitting = step.map_or(0.0, |step| self.seconds / step.max(1e-9));
        self.steps.min(fitting as usize)
    }
}

/// Which values a layer drops: element `i` of its output is kept, and divided by
/// `1 - probability`, where `unit(random(seed, stream, i)) >= probability`
/// ([`minigpt_runtime::rng`]). Nothing is stored: backward makes the same numbers again.
///
/// # Source
/// Srivastava et al. 2014; where: nanoGPT `model.py`, `drop` and `resid_dropout`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Dropout {
    /// Chance of a value to be dropped, in `[0, 1)`; 0 turns it off.
    pub probability: f32,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Their stream: one for each layer and step.
    pub stream: u64,
}

impl Dropout {
    /// Nothing is dropped.
    pub const OFF: Self = Self {
        probability: 0.0,
        seed: 0,
        stream: 0,
    };
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "backends must decide on every kind"
)]
pub enum Kind {
    /// Parameters: `f32`, and beside them what the backend computes with.
    Parameter,
    /// Gradients, moments, the residual stream, statistics: always `f32`.
    State,
    /// What forward leaves for backward: the backend's precision of computing.
    Activation,
}

/// A weight and its bias, if it has one.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Affine<R> {
    /// `[out, in]` of a linear layer, `[C]` of a norm.
    pub weight: R,
    /// `[out]` of a linear layer, `[C]` of a norm.
    pub bias: Option<R>,
}

/// Tensors of one residual branch.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Branch<R> {
    /// `ln_1` or `ln_2`.
    pub norm: Affine<R>,
    /// `c_attn` `[n_qkv, C]` or `c_fc` `[n_fc, C]`.
    pub input: Affine<R>,
    /// `c_proj`: `[C, C]` or `[C, n_ff]`.
    pub output: Affine<R>,
}

/// Tensors behind the last block.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Head<R> {
    /// `ln_f`.
    pub norm: Affine<R>,
    /// `lm_head`, or `wte` if tied: `[V, C]`.
    pub weight: R,
}

/// What attention's forward leaves for its backward.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct AttentionSaved<T> {
    /// Mean and reciprocal deviation of each row `[R, 2]`.
    pub stats: T,
    /// Queries, keys, values after rotation; `R n_qkv` values in the backend's order.
    pub qkv: T,
    /// Outputs of the heads; `R C` values in the backend's order.
    pub heads: T,
    /// Logarithm of the sum of exponentials of each row of scores `[B, NH, T]`.
    pub log_sum_exp: T,
}

/// What the MLP's forward leaves for its backward.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct MlpSaved<T> {
    /// Mean and reciprocal deviation of each row `[R, 2]`.
    pub stats: T,
    /// Outputs of `c_fc`, before the nonlinearity `[R, n_fc]`.
    pub fc: T,
}

/// Parameters with all that an optimiser step changes, in the order of
/// [`minigpt_runtime::layout::tensors`].
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Optimized<'a, T> {
    /// Parameters.
    pub params: &'a mut [T],
    /// Their gradients; zero afterwards.
    pub gradients: &'a mut [T],
    /// First moments, of [`crate::optimizer::Muon`] the momentum.
    pub first: &'a mut [T],
    /// Second moments, [`Rule::second_len`] each.
    pub second: &'a mut [T],
    /// How each tensor is updated.
    pub rules: &'a [Rule],
}

/// A device that trains: 22 steps, and how far they may be asked for ahead of it.
///
/// Methods take `&mut self` for scratch memory and queues. A device may still be at work when a
/// method returns. [`Self::read`], [`Self::read_scalar`] and [`Self::logits`] wait for what they return;
/// others may wait where they take memory or bring something from the host. Gradients of parameters are added to what is there; all other outputs are
/// overwritten. Buffers passed in have the lengths stated.
///
/// # Errors
/// Each step: a [`BackendError`], of this step or of one before it that the device had not finished.
/// What is on the device then means nothing any more.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Backend {
    /// Numbers on the device.
    type Buffer;
    /// Token ids on the device.
    type Ids;
    /// Tokens that windows are drawn from.
    type Corpus;
    /// One number on the device: a loss or a norm.
    type Scalar;

    /// A buffer of `len` zeros.
    fn buffer(&mut self, len: usize, kind: Kind) -> Result<Self::Buffer, BackendError>;

    /// Room for `len` token ids.
    fn ids(&mut self, len: usize) -> Result<Self::Ids, BackendError>;

    /// Overwrites `ids` with `values` of its length.
    fn write_ids(&mut self, ids: &mut Self::Ids, values: &[u32]) -> Result<(), BackendError>;

    /// The tokens of `file`, to draw from.
    fn corpus(&mut self, file: &TokenFile) -> Result<Self::Corpus, BackendError>;

    /// Overwrites `tokens` and `targets` with windows of `corpus`: [`Draw::fill`].
    ///
    /// # Shapes
    /// Both `[R]`.
    fn draw(
        &mut self,
        tokens: &mut Self::Ids,
        targets: &mut Self::Ids,
        corpus: &Self::Corpus,
        draw: &Draw,
        shape: &Shape,
    ) -> Result<(), BackendError>;

    /// Overwrites `buffer` with `values` of its length.
    fn write(&mut self, buffer: &mut Self::Buffer, values: &[f32]) -> Result<(), BackendError>;

    /// Copies `buffer` to the host.
    fn read(&self, buffer: &Self::Buffer) -> Result<Vec<f32>, BackendError>;

    /// How far training runs ahead of this device.
    fn ahead(&self) -> Ahead {
        Ahead::NONE
    }

    /// Waits for `scalar`, but for nothing that was asked for after it.
    fn read_scalar(&self, scalar: &Self::Scalar) -> Result<f64, BackendError>;

    /// Bytes of all buffers handed out and of the backend's own scratch.
    fn bytes(&self) -> u64;

    /// `out[r] = drop(wte[ids[r]] + positions[r % T])`
    ///
    /// # Shapes
    /// `out` `[R, C]`, `ids` `[R]`, `wte` `[V, C]`, `positions` `[>= T, C]` (learned or sinusoidal).
    /// # Source
    /// Radford et al. 2018, equation 2.
    fn embed_forward(
        &mut self,
        out: &mut Self::Buffer,
        ids: &Self::Ids,
        wte: &Self::Buffer,
        positions: Option<&Self::Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// Adds `d_out[r]` to `d_wte[ids[r]]` and `d_wpe[r % T]`; may overwrite `d_out`.
    ///
    /// # Shapes
    /// `d_wte` `[V, C]`, `d_wpe` `[n_ctx, C]`, `d_out` `[R, C]`, `ids` `[R]`.
    fn embed_backward(
        &mut self,
        d_wte: &mut Self::Buffer,
        d_wpe: Option<&mut Self::Buffer>,
        d_out: &mut Self::Buffer,
        ids: &Self::Ids,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// The attention branch: `out = x + drop(c_proj(heads(rotate(c_attn(ln_1(x))))))`
    ///
    /// Each head: `softmax(q k^T / sqrt(HS)) v` over the keys up to the query's own position.
    /// `rotation` holds [`minigpt_runtime::ops::rope_table`] of each position.
    ///
    /// # Shapes
    /// `out`, `x` `[R, C]`; `rotation` `[n_ctx, HS]`.
    /// # Source
    /// Vaswani et al. 2017, equation 1; in blocks with saved log-sum-exp: Dao 2023, algorithm 1;
    /// grouped queries: Ainslie et al. 2023.
    fn attention_forward(
        &mut self,
        out: &mut Self::Buffer,
        saved: &mut AttentionSaved<Self::Buffer>,
        x: &Self::Buffer,
        weights: Branch<&Self::Buffer>,
        rotation: Option<&Self::Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// Backward of [`Self::attention_forward`], which ran with the same `x` and `dropout`.
    ///
    /// # Shapes
    /// `d_x`, `d_out`, `x` `[R, C]`.
    /// # Source
    /// Dao 2023, algorithm 2.
    fn attention_backward(
        &mut self,
        d_x: &mut Self::Buffer,
        d_weights: Branch<&mut Self::Buffer>,
        d_out: &Self::Buffer,
        saved: &AttentionSaved<Self::Buffer>,
        x: &Self::Buffer,
        weights: Branch<&Self::Buffer>,
        rotation: Option<&Self::Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// The MLP branch: `out = x + drop(c_proj(f(c_fc(ln_2(x)))))`, `f` as the configuration says.
    ///
    /// # Shapes
    /// `out`, `x` `[R, C]`.
    /// # Source
    /// GPT-2 `model.py`, `mlp`; SwiGLU: Shazeer 2020, equation 6.
    fn mlp_forward(
        &mut self,
        out: &mut Self::Buffer,
        saved: &mut MlpSaved<Self::Buffer>,
        x: &Self::Buffer,
        weights: Branch<&Self::Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// Backward of [`Self::mlp_forward`], which ran with the same `x` and `dropout`.
    ///
    /// # Shapes
    /// `d_x`, `d_out`, `x` `[R, C]`.
    fn mlp_backward(
        &mut self,
        d_x: &mut Self::Buffer,
        d_weights: Branch<&mut Self::Buffer>,
        d_out: &Self::Buffer,
        saved: &MlpSaved<Self::Buffer>,
        x: &Self::Buffer,
        weights: Branch<&Self::Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError>;

    /// `logits = ln_f(x) weight^T`, to the host.
    ///
    /// # Shapes
    /// Result `[R, V]`, `x` `[R, C]`.
    fn logits(
        &mut self,
        x: &Self::Buffer,
        head: Head<&Self::Buffer>,
        shape: &Shape,
    ) -> Result<Vec<f32>, BackendError>;

    /// Sum over rows of `-ln softmax(logits)[target]`, rows with target
    /// [`crate::model::IGNORE`] left out.
    ///
    /// # Shapes
    /// `x` `[R, C]`, `targets` `[R]`.
    fn loss(
        &mut self,
        x: &Self::Buffer,
        head: Head<&Self::Buffer>,
        targets: &Self::Ids,
        shape: &Shape,
    ) -> Result<Self::Scalar, BackendError>;

    /// [`Self::loss`], and the gradient of `scale` times it.
    ///
    /// # Shapes
    /// `d_x`, `x` `[R, C]`, `targets` `[R]`.
    fn loss_backward(
        &mut self,
        d_x: &mut Self::Buffer,
        d_head: Head<&mut Self::Buffer>,
        x: &Self::Buffer,
        head: Head<&Self::Buffer>,
        targets: &Self::Ids,
        scale: f32,
        shape: &Shape,
    ) -> Result<Self::Scalar, BackendError>;

    /// Root of the sum of squares of all `gradients`.
    fn gradient_norm(&mut self, gradients: &[Self::Buffer]) -> Result<Self::Scalar, BackendError>;

    /// Step number `step` (from 1) of each tensor's [`Rule`] on gradients of norm `norm`, clipped; clears
    /// the gradients, which is all it does if there is no `norm` or it is not finite.
    fn update(
        &mut self,
        state: Optimized<'_, Self::Buffer>,
        optimizer: &Optimizer,
        norm: Option<&Self::Scalar>,
        step: u64,
    ) -> Result<(), BackendError>;

    /// `average = decay average + (1 - decay) params`
    fn average(
        &mut self,
        average: &mut [Self::Buffer],
        params: &[Self::Buffer],
        decay: f32,
    ) -> Result<(), BackendError>;

    /// `out` is what `params`, all tensors of `config` in the order of the layout, become by being stored in
    /// a model file of `format`: [`Format::round`] of each.
    fn round(
        &mut self,
        out: &mut [Self::Buffer],
        params: &[Self::Buffer],
        config: &Config,
        format: Format,
    ) -> Result<(), BackendError>;
}
