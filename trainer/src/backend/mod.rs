//! The seam between the training of a model and the device that does it.
//!
//! [`Memory`] is what lies on the device. [`Backend`] is training steps, not tensor algebra: forward and backward of
//! each layer, the gradient's norm and the optimiser step. [`crate::model`] wires these once for all backends;
//! a backend is free in how it does each of them (fusion, precision, what it computes twice).
//!
//! # Shapes
//! `B` sequences of `T` tokens, `R = B T` rows, width `C`, `NH` heads of size `HS`, vocabulary `V`;
//! `n_qkv`, `n_fc`, `n_ff` as in [`Config`]. All arrays are row-major.

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;

use crate::optimizer::Optimizer;

mod arguments;
pub mod cpu;
pub mod cuda;
mod error;
mod memory;

pub use arguments::{
    Affine, AttentionSaved, Batch, Branch, Dropout, Head, Kind, Loss, MlpSaved, Optimized, Shape,
};
pub use error::BackendError;
pub use memory::Memory;

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

/// A device that trains: 13 steps over what is in its [`Memory`], and how far they may be asked for ahead of it.
///
/// Methods take `&mut self` for scratch memory and queues. A device may still be at work when a
/// method returns; [`Self::logits`] waits for what it returns. Gradients of parameters are added to what is there; all
/// other outputs are overwritten. Buffers passed in have the lengths stated.
///
/// # Errors
/// Each step: a [`BackendError`], of this step or of one before it that the device had not finished.
/// What is on the device then means nothing any more.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Backend: Memory {
    /// How far training runs ahead of this device.
    fn ahead(&self) -> Ahead {
        Ahead::NONE
    }

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

    /// Step number `step` (from 1) of each tensor's [rule](Optimized::rules) on gradients of norm `norm`, clipped; clears
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
