//! Dropout masks, made from their position whenever they are needed.

use minigpt_runtime::rng;
use rayon::prelude::*;

use super::wide::wide;
use super::{Buffer, linear};
use crate::backend::Dropout;

/// Values that one thread masks at once.
const CHUNK: usize = 1 << 13;

/// Factor on element `i`: 0, or `1 / (1 - probability)`.
#[inline(always)]
fn factor(dropout: Dropout, keep: f32, i: usize) -> f32 {
    let unit = rng::unit(rng::random(dropout.seed, dropout.stream, i as u64));
    if unit >= dropout.probability {
        keep
    } else {
        0.0
    }
}

/// `x[i] *= mask[start + i]`; forward and backward alike.
#[inline(always)]
pub(super) fn apply(x: &mut [f32], start: usize, dropout: Dropout) {
    if dropout.probability > 0.0 {
        let keep = 1.0 / (1.0 - dropout.probability);
        for (i, x) in x.iter_mut().enumerate() {
            *x *= factor(dropout, keep, start + i);
        }
    }
}

/// `out = x + mask * (branch + bias)`: the end of a residual branch. `branch` may be overwritten.
///
/// # Shapes
/// `out`, `x`, `branch` `[n, C]`, `bias` `[C]`; `out` begins at element `start`.
#[inline(always)]
pub(super) fn add_residual(
    out: &mut [f32],
    x: &[f32],
    branch: &mut [f32],
    bias: Option<&Buffer>,
    start: usize,
    dropout: Dropout,
) {
    linear::add_bias(branch, bias);
    apply(branch, start, dropout);
    for ((out, x), branch) in out.iter_mut().zip(x).zip(branch) {
        *out = *x + *branch;
    }
}

/// Gradient of a residual branch's output: `d_out` itself, or `masked` filled with
/// `mask * d_out`.
pub(super) fn branch_gradient<'a>(
    masked: &'a mut [f32],
    d_out: &'a [f32],
    dropout: Dropout,
) -> &'a [f32] {
    if dropout.probability <= 0.0 {
        return d_out;
    }
    let chunks = masked.par_chunks_mut(CHUNK).zip(d_out.par_chunks(CHUNK));
    chunks.enumerate().for_each(|(i, (masked, d_out))| {
        wide(
            #[inline(always)]
            || {
                masked.copy_from_slice(d_out);
                apply(masked, i * CHUNK, dropout);
            },
        );
    });
    masked
}
