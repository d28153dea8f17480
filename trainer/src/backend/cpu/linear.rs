//! Linear layers over chunks of rows, and their gradients over chunks of outputs.

use minigpt_runtime::ops;
use rayon::prelude::*;

use super::Buffer;
use super::norm;
use super::outer::{self, Pairs};
use super::panels::TALL;
use super::rows::Rows;
use super::wide::wide;
use crate::backend::{Affine, Branch};

/// Rows that one thread takes through a layer at once: their activations stay in its cache.
pub(super) const ROWS: usize = 128;

/// Outputs whose weight gradients one thread computes at once: few, so that there is work for all
/// threads; many, so that the inputs are read few times.
fn outputs_at_once(outputs: usize) -> usize {
    let tiles = outputs.div_ceil(2 * TALL).clamp(6, 22);
    tiles * TALL
}

/// `n` rows of `size` numbers, from number `first` on.
pub(super) fn rows_of(all: &[f32], first: usize, n: usize, size: usize) -> &[f32] {
    &all[first * size..(first + n) * size]
}

/// Adds `bias` to each row of `out`.
///
/// # Shapes
/// `out` `[n, O]`, `bias` `[O]`.
#[inline(always)]
pub(super) fn add_bias(out: &mut [f32], bias: Option<&Buffer>) {
    if let Some(bias) = bias {
        for out in out.chunks_exact_mut(bias.len()) {
            ops::axpy(out, 1.0, bias);
        }
    }
}

/// `d_weight += d_out^T x`, `d_bias += sum of rows of d_out`; parallel over outputs. `chain` rows are
/// one sum, which is then added.
///
/// # Shapes
/// `d_out` `[R, O]`, `x` `[R, I]`.
pub(super) fn gradient(
    d_weights: Affine<&mut Buffer>,
    d_out: &[f32],
    x: &[f32],
    rows: usize,
    chain: usize,
) {
    let (inputs, outputs) = (x.len() / rows, d_out.len() / rows);
    let at_once = outputs_at_once(outputs);
    let weight = d_weights.weight.par_chunks_mut(at_once * inputs);
    let chains = d_out.chunks(chain * outputs).zip(x.chunks(chain * inputs));
    let chains = chains.map(|(d_out, x)| Pairs {
        d_out,
        x: Rows::whole(x, inputs),
    });
    let part = |chunk: usize, d_weight: &mut [f32], mut d_bias: Option<&mut [f32]>| {
        let (first, mut chains) = (chunk * at_once, chains.clone().peekable());
        while let Some(pairs) = chains.next() {
            outer::add(d_weight, pairs, first, outputs, chains.peek().copied());
            if let Some(d_bias) = &mut d_bias {
                add_rows(d_bias, pairs.d_out, first, outputs);
            }
        }
    };
    match d_weights.bias {
        None => {
            let weight = weight.enumerate();
            weight.for_each(|(chunk, d_weight)| part(chunk, d_weight, None));
        }
        Some(bias) => {
            let both = weight.zip(bias.par_chunks_mut(at_once)).enumerate();
            both.for_each(|(chunk, (d_weight, d_bias))| part(chunk, d_weight, Some(d_bias)));
        }
    }
}

/// `sum[o] += rows[row, first + o]` for all rows of `size` numbers, in order.
fn add_rows(sum: &mut [f32], rows: &[f32], first: usize, size: usize) {
    wide(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(size) {
                ops::axpy(sum, 1.0, &row[first..first + sum.len()]);
            }
        },
    );
}

/// Gradients of a branch's parameters, from the norm's `sums` and each layer's `d_out` and `x`.
pub(super) fn gradients(
    d_weights: Branch<&mut Buffer>,
    sums: &[f32],
    output: (&[f32], &[f32]),
    input: (&[f32], &[f32]),
    rows: usize,
) {
    norm::add_sums(d_weights.norm, sums);
    rayon::join(
        || gradient(d_weights.output, output.0, output.1, rows, 2 * ROWS),
        || gradient(d_weights.input, input.0, input.1, rows, 2 * ROWS),
    );
}
