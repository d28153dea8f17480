//! How much memory training takes, before it takes any.

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Role, TensorSpec};

use super::device::Found;
use super::{embedding, linear, loss};

const F32: usize = size_of::<f32>();
const BF16: usize = size_of::<u16>();

/// Bytes for batches of `n_batch` windows as long as the context.
pub(super) fn needed(found: &Found, config: &Config, n_batch: usize) -> u64 {
    let rows = n_batch * config.n_ctx();
    // Parameters with their copies, gradients, two moments.
    let state = layout::n_params(config) * (4 * F32 + BF16) as u64;
    let busy = (found.processors as usize).max(1);
    let ids = 2 * rows * size_of::<u32>();
    let rest = ids + activations(config, rows) + scratch(config, rows) + parts(config, rows, busy);
    let bytes = state + rest as u64;
    // Buffers begin at round addresses.
    bytes + bytes / 32
}

/// What `Activations` holds.
fn activations(config: &Config, rows: usize) -> usize {
    let (width, n_layer) = (config.n_embd(), config.n_layer());
    let layer = (4 + config.n_head()) * F32 + (config.n_qkv() + width + config.n_fc()) * BF16;
    rows * ((2 * n_layer + 3) * width * F32 + n_layer * layer)
}

/// The most that a step of the backend asks for at once.
fn scratch(config: &Config, rows: usize) -> usize {
    let (width, n_vocab) = (config.n_embd(), config.n_vocab());
    let attention = (3 * width + config.n_qkv()) * BF16 + config.n_head() * F32;
    let mlp = (2 * width + 2 * config.n_ff() + config.n_fc()) * BF16;
    let logits = loss::rows_at_once(rows, n_vocab) * n_vocab * (F32 + BF16);
    let loss = rows * (2 * width * BF16 + 3 * F32) + logits;
    (rows * attention.max(mlp)).max(loss)
}

/// The most parts of sums.
fn parts(config: &Config, rows: usize, busy: usize) -> usize {
    let (shares, _) = embedding::shares(busy, rows, config.n_vocab());
    let embedding = shares * config.n_vocab() * config.n_embd();
    let gradient = |spec: TensorSpec| {
        let (shares, _) = linear::shares(busy, [spec.rows, spec.cols, rows]);
        if shares > 1 { shares * spec.len() } else { 0 }
    };
    let matrices = layout::tensors(config).filter(|spec| spec.role == Role::Matrix);
    F32 * matrices.map(gradient).max().unwrap_or(0).max(embedding)
}
