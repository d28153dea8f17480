//! What the steps of a [`Backend`](super::Backend) take: sizes, the tensors of a layer, and what its forward leaves for
//! its backward.

use minigpt_runtime::config::Config;

use crate::optimizer::Rule;

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
