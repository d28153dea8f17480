//! How much memory training takes, before it takes any. Tokens are not in it: they lie on the device where there
//! is room left, and give way to all else (`corpus`).

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Role, TensorSpec};

use super::device::Found;
use super::library::WORKSPACE;
use super::{embedding, linear, loss, muon};
use crate::optimizer::{Method, Rule};

/// What of a training's way decides how much memory it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Demands {
    /// How parameters are updated.
    pub method: Method,
    /// Whether a moving average of the parameters is kept.
    pub averaged: bool,
    /// Whether activations are made again in backward.
    pub recompute: bool,
    /// Whether passes compute with weights as a model file holds them.
    pub rounded: bool,
    /// Whether cuBLASLt takes part.
    pub cublaslt: bool,
}

const F32: u128 = size_of::<f32>() as u128;
const BF16: u128 = size_of::<u16>() as u128;

/// Bytes for batches of `n_batch` windows as long as the context; the most there are where it is more.
pub(super) fn needed(found: &Found, config: &Config, n_batch: usize, demands: Demands) -> u64 {
    let rows = n_batch * config.n_ctx();
    let rule = |spec: TensorSpec| Rule::of(&spec, config, demands.method);
    let second = layout::tensors(config).map(|spec| size(rule(spec).second_len(spec.len())));
    // Parameters with their copies, gradients, first moments.
    let sets = 1 + u128::from(demands.rounded) + u128::from(demands.averaged);
    let arrays = sets * (F32 + BF16) + 2 * F32;
    let state = u128::from(layout::n_params(config)) * arrays + second.sum::<u128>() * F32;
    let rules: Vec<Rule> = layout::tensors(config).map(rule).collect();
    let update = muon::Room::sizes(&rules).iter().sum();
    let busy = (found.processors as usize).max(1);
    let ids = 2 * size(rows) * size(size_of::<u32>());
    let saved = if demands.recompute {
        1
    } else {
        config.n_layer()
    };
    let rest = ids
        + activations(config, rows, saved)
        + scratch(config, rows).max(size(update))
        + parts(config, rows, busy);
    let library = if demands.cublaslt { WORKSPACE } else { 0 };
    let bytes = state + rest + size(library);
    // Buffers begin at round addresses.
    u64::try_from(bytes + bytes / 32).unwrap_or(u64::MAX)
}

/// As wide as products of sizes become.
const fn size(n: usize) -> u128 {
    n as u128
}

/// What `Activations` holds, with what `saved` layers save.
fn activations(config: &Config, rows: usize, saved: usize) -> u128 {
    let (width, n_layer) = (size(config.n_embd()), size(config.n_layer()));
    let state = width + 4 + size(config.n_head());
    let layer = state * F32 + (size(config.n_qkv() + config.n_fc()) + width) * BF16;
    size(rows) * ((n_layer + 3) * width * F32 + size(saved) * layer)
}

/// The most that a step of the backend asks for at once.
fn scratch(config: &Config, rows: usize) -> u128 {
    let (width, n_vocab) = (size(config.n_embd()), config.n_vocab());
    let attention = (3 * width + size(config.n_qkv())) * BF16 + size(config.n_head()) * F32;
    let mlp = (2 * width + size(2 * config.n_ff() + config.n_fc())) * BF16;
    let logits = size(loss::rows_at_once(rows, n_vocab)) * size(n_vocab) * (F32 + BF16);
    let loss = size(rows) * (2 * width * BF16 + 3 * F32) + logits;
    (size(rows) * attention.max(mlp)).max(loss)
}

/// The most parts of sums.
fn parts(config: &Config, rows: usize, busy: usize) -> u128 {
    let (shares, _) = embedding::shares(busy, rows, config.n_vocab());
    let embedding = shares * config.n_vocab() * config.n_embd();
    let gradient = |spec: TensorSpec| {
        let (shares, _) = linear::shares(busy, [spec.rows, spec.cols, rows]);
        if shares > 1 { shares * spec.len() } else { 0 }
    };
    let matrices = layout::tensors(config).filter(|spec| spec.role == Role::Matrix);
    F32 * size(matrices.map(gradient).max().unwrap_or(0).max(embedding))
}
