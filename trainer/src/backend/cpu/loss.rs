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
    let (block, chain) = rows_at_once(n_vocab);
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

/// Rows whose logits exist at once in [`backward`], and those of them that are one sum in the gradient
/// of the head.
const fn rows_at_once(n_vocab: usize) -> (usize, usize) {
    match LOGITS / (ROWS * n_vocab) {
        // Two chunks, so that there is one for a second thread.
        0 | 1 => (2 * ROWS, ROWS),
        chunks => (chunks * ROWS, 2 * ROWS),
    }
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

#[cfg(test)]
mod tests {
    use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
    use minigpt_runtime::rng::Rng;

    use super::*;
    use crate::backend::Batch;

    const WIDTH: usize = 6;
    const SCALE: f32 = 0.25;

    fn shape(n_vocab: usize, n_time: usize) -> Shape {
        let config = Config::new(Hyperparameters {
            n_vocab: n_vocab as u32,
            n_ctx: n_time as u32,
            n_embd: WIDTH as u32,
            n_head: 1,
            n_head_kv: 1,
            n_layer: 1,
            n_ff: 7,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            norm: Norm::RmsNorm,
            mlp: Mlp::Relu,
            bias: false,
            tied_head: false,
        });
        let n_batch = 1;
        Shape {
            config: config.unwrap(),
            batch: Batch { n_batch, n_time },
        }
    }

    /// `d_x`, the head's gradient, and the loss, on `threads` threads.
    fn gradients(
        (x, weight, ones): (&Buffer, &Buffer, &Buffer),
        targets: &[u32],
        shape: &Shape,
        threads: usize,
    ) -> (Vec<f32>, Vec<f32>, f64) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let (mut d_x, mut d_weight) = (Buffer::new(x.len()), Buffer::new(weight.len()));
        let mut d_norm = Buffer::new(WIDTH);
        let d_head = Head {
            norm: Affine {
                weight: &mut d_norm,
                bias: None,
            },
            weight: &mut d_weight,
        };
        let head = Head {
            norm: Affine {
                weight: ones,
                bias: None,
            },
            weight,
        };
        let mut workspace = Workspace::default();
        let loss = pool.build().unwrap().install(|| {
            backward(
                &mut workspace,
                &mut d_x,
                d_head,
                x,
                head,
                targets,
                SCALE,
                shape,
            )
        });
        (d_x.to_vec(), d_weight.to_vec(), loss)
    }

    /// The head's gradient and the loss in `f64`.
    fn exact(x: &[f32], weight: &[f32], targets: &[u32]) -> (Vec<f64>, f64) {
        let (mut d_weight, mut loss) = (vec![0.0; weight.len()], 0.0);
        for (x, target) in x.chunks(WIDTH).zip(targets) {
            let square: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            let rstd = (square / WIDTH as f64 + 1e-5).sqrt().recip();
            let row: Vec<f64> = x.iter().map(|x| f64::from(*x) * rstd).collect();
            let dot = |w: &[f32]| {
                w.iter()
                    .zip(&row)
                    .map(|(w, x)| f64::from(*w) * x)
                    .sum::<f64>()
            };
            let terms: Vec<f64> = weight.chunks(WIDTH).map(|w| dot(w).exp()).collect();
            let sum: f64 = terms.iter().sum();
            loss -= (terms[*target as usize] / sum).ln();
            for (id, (d_weight, term)) in d_weight.chunks_mut(WIDTH).zip(&terms).enumerate() {
                let own = f64::from(u8::from(id == *target as usize));
                for (d_weight, x) in d_weight.iter_mut().zip(&row) {
                    *d_weight += f64::from(SCALE) * (term / sum - own) * x;
                }
            }
        }
        (d_weight, loss)
    }

    #[test]
    fn small_and_large_vocabularies_on_any_threads() {
        for (n_vocab, n_rows) in [(7, 33), (1000, 300), (33_001, 300)] {
            let mut rng = Rng::new(n_vocab as u64, 0);
            let mut random = |len| {
                let mut buffer = Buffer::new(len);
                buffer.fill_with(|| rng.next_unit() - 0.5);
                buffer
            };
            let (x, weight) = (random(n_rows * WIDTH), random(n_vocab * WIDTH));
            let mut ones = Buffer::new(WIDTH);
            ones.fill(1.0);
            let targets: Vec<u32> = (0..n_rows)
                .map(|_| rng.next_below(n_vocab) as u32)
                .collect();
            let shape = shape(n_vocab, n_rows);
            let one = gradients((&x, &weight, &ones), &targets, &shape, 1);
            assert!(one == gradients((&x, &weight, &ones), &targets, &shape, 3));
            let (d_weight, loss) = exact(&x, &weight, &targets);
            assert!((one.2 - loss).abs() < 1e-4 * loss, "{} {loss}", one.2);
            let pairs = one.1.iter().zip(d_weight);
            pairs.for_each(|(d, exact)| assert!((f64::from(*d) - exact).abs() < 2e-5));
        }
    }
}
