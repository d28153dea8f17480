//! Last norm, head and cross-entropy.
//!
//! Logits exist for a limited number of rows at a time; their softmax, the loss and the gradient
//! are made in their place.

use minigpt_runtime::{math, ops};
use rayon::prelude::*;

use super::buffer::{Buffer, Workspace, scratch};
use super::linear::{self, ROWS};
use super::wide::wide;
use super::{norm, panels};
use crate::backend::{Affine, Head, Shape};
use crate::model::IGNORE;

/// Logits that exist at once in backward, at most, if that is more than two chunks of rows.
const LOGITS: usize = 1 << 23;

/// [`crate::backend::Backend::logits`].
pub(super) fn logits(
    workspace: &mut Workspace,
    x: &[f32],
    head: Head<&Buffer>,
    shape: &Shape,
) -> Vec<f32> {
    let (n_vocab, width) = (shape.config.n_vocab(), shape.config.n_embd());
    let mut logits = vec![0.0; shape.batch.rows() * n_vocab];
    let [packed] = workspace.take([panels::packed_len(width, n_vocab)]);
    panels::pack_transposed(packed, head.weight, width);
    let packed = &*packed;
    let chunks = logits
        .par_chunks_mut(ROWS * n_vocab)
        .zip(x.par_chunks(ROWS * width));
    chunks.for_each(|(logits, x)| {
        scratch([x.len(), x.len() / width * 2], |[rows, stats]| {
            chunk_logits(logits, rows, stats, x, packed, head, shape);
        });
    });
    logits
}

/// [`crate::backend::Backend::loss`].
pub(super) fn forward(
    workspace: &mut Workspace,
    x: &[f32],
    head: Head<&Buffer>,
    targets: &[u32],
    shape: &Shape,
) -> f64 {
    let (n_vocab, width) = (shape.config.n_vocab(), shape.config.n_embd());
    let [packed] = workspace.take([panels::packed_len(width, n_vocab)]);
    panels::pack_transposed(packed, head.weight, width);
    let packed = &*packed;
    let losses: Vec<f64> = x
        .par_chunks(ROWS * width)
        .zip(targets.par_chunks(ROWS))
        .map(|(x, targets)| {
            let n = targets.len();
            scratch([n * n_vocab, n * width, n * 2], |[logits, rows, stats]| {
                chunk_logits(logits, rows, stats, x, packed, head, shape);
                wide(
                    #[inline(always)]
                    || cross_entropy(logits, targets, None),
                )
            })
        })
        .collect();
    losses.iter().sum()
}

/// [`crate::backend::Backend::loss_backward`]: for each block of rows, two phases over rows and one
/// over the vocabulary.
pub(super) fn backward(
    workspace: &mut Workspace,
    d_x: &mut [f32],
    d_head: Head<&mut Buffer>,
    x: &[f32],
    head: Head<&Buffer>,
    targets: &[u32],
    scale: f32,
    shape: &Shape,
) -> f64 {
    let (n_vocab, width) = (shape.config.n_vocab(), shape.config.n_embd());
    let whole = LOGITS / (ROWS * n_vocab);
    // A second chunk, for a second thread; its gradients are sums of their own.
    let (block, chain) = match whole {
        0 | 1 => (2 * ROWS, ROWS),
        _ => (whole * ROWS, 2 * ROWS),
    };
    let block = block.min(targets.len());
    let n_packed = panels::packed_len(width, n_vocab).max(panels::packed_len(n_vocab, width));
    let [logits, normed, stats, sums, packed] = workspace.take([
        block * n_vocab,
        block * width,
        block * 2,
        targets.len().div_ceil(ROWS) * 2 * width,
        n_packed,
    ]);
    let Head { norm, weight } = d_head;
    let mut sum = 0.0;
    let blocks = d_x.chunks_mut(block * width).zip(x.chunks(block * width));
    let blocks = blocks.zip(sums.chunks_mut(block.div_ceil(ROWS) * 2 * width));
    for (((d_x, x), sums), targets) in blocks.zip(targets.chunks(block)) {
        let n = targets.len();
        let (logits, normed) = (&mut logits[..n * n_vocab], &mut normed[..n * width]);
        let stats = &mut stats[..n * 2];
        let outputs = [&mut *logits, &mut *normed, &mut *stats];
        sum += block_forward(outputs, packed, x, head, (targets, scale), shape);
        block_backward([d_x, sums], packed, logits, (x, stats), head, shape);
        let weight = &mut *weight;
        linear::gradient(Affine { weight, bias: None }, logits, normed, n, chain);
    }
    norm::add_sums(norm, sums);
    sum
}

/// Loss of a block of rows; `logits` become its gradient.
///
/// # Shapes
/// `logits` `[n, V]`, `normed` `[n, C]`, `stats` `[n, 2]`, `packed` room for the head.
fn block_forward(
    [logits, normed, stats]: [&mut [f32]; 3],
    packed: &mut [f32],
    x: &[f32],
    head: Head<&Buffer>,
    (targets, scale): (&[u32], f32),
    shape: &Shape,
) -> f64 {
    let (n_vocab, width) = (shape.config.n_vocab(), shape.config.n_embd());
    let packed = &mut packed[..panels::packed_len(width, n_vocab)];
    panels::pack_transposed(packed, head.weight, width);
    let packed = &*packed;
    let losses: Vec<f64> = logits
        .par_chunks_mut(ROWS * n_vocab)
        .zip(normed.par_chunks_mut(ROWS * width))
        .zip(stats.par_chunks_mut(ROWS * 2))
        .zip(x.par_chunks(ROWS * width))
        .zip(targets.par_chunks(ROWS))
        .map(|((((logits, normed), stats), x), targets)| {
            chunk_logits(logits, normed, stats, x, packed, head, shape);
            wide(
                #[inline(always)]
                || cross_entropy(logits, targets, Some(scale)),
            )
        })
        .collect();
    losses.iter().sum()
}

/// The gradient of `x` in a block of rows, from that of the logits.
///
/// # Shapes
/// `d_x`, `x` `[n, C]`, `sums` `[chunks, 2, C]`, `d_logits` `[n, V]`, `stats` `[n, 2]`, `packed` room
/// for the head.
fn block_backward(
    [d_x, sums]: [&mut [f32]; 2],
    packed: &mut [f32],
    d_logits: &[f32],
    (x, stats): (&[f32], &[f32]),
    head: Head<&Buffer>,
    shape: &Shape,
) {
    let (n_vocab, width) = (shape.config.n_vocab(), shape.config.n_embd());
    let packed = &mut packed[..panels::packed_len(n_vocab, width)];
    panels::pack(packed, head.weight, width);
    let packed = &*packed;
    d_x.par_chunks_mut(ROWS * width)
        .zip(sums.par_chunks_mut(2 * width))
        .zip(d_logits.par_chunks(ROWS * n_vocab))
        .zip(x.par_chunks(ROWS * width))
        .zip(stats.par_chunks(ROWS * 2))
        .for_each(|((((d_x, sums), d_logits), x), stats)| {
            let norm = (&**head.norm.weight, shape.config.norm());
            norm::linear_backward(d_x, sums, None, d_logits, packed, (x, stats), norm);
        });
}

/// `logits = ln_f(x) weight^T` of a chunk of rows.
///
/// # Shapes
/// `logits` `[n, V]`, `normed`, `x` `[n, C]`, `stats` `[n, 2]`, `packed` the head.
fn chunk_logits(
    logits: &mut [f32],
    normed: &mut [f32],
    stats: &mut [f32],
    x: &[f32],
    packed: &[f32],
    head: Head<&Buffer>,
    shape: &Shape,
) {
    let config = &shape.config;
    wide(
        #[inline(always)]
        || norm::forward(normed, stats, x, head.norm, config.norm()),
    );
    panels::multiply(logits, normed, packed, config.n_embd(), config.n_vocab());
}

/// Sum of `-ln softmax(logits)[target]`; with a `scale`, `logits` become the gradient of `scale`
/// times it: `(softmax(logits) - onehot(target)) scale`, zero where there is no target.
///
/// # Shapes
/// `logits` `[n, V]`, `targets` `[n]`.
#[inline(always)]
fn cross_entropy(logits: &mut [f32], targets: &[u32], scale: Option<f32>) -> f64 {
    let mut loss = 0.0;
    let n_vocab = logits.len() / targets.len();
    for (row, &target) in logits.chunks_exact_mut(n_vocab).zip(targets) {
        if target == IGNORE {
            row.fill(0.0);
            continue;
        }
        let target = target as usize;
        let own = row[target];
        let (largest, sum) = ops::exponentials(row);
        loss += f64::from(math::ln(sum)) + f64::from(largest - own);
        if let Some(scale) = scale {
            let factor = scale / sum;
            for logit in row.iter_mut() {
                *logit *= factor;
            }
            row[target] -= scale;
        }
    }
    loss
}
