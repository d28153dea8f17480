//! Dropout masks, made from their position whenever they are needed.

use minigpt_runtime::{ops, rng};

use crate::backend::Dropout;

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

/// `out = x + mask * branch`: the end of a residual branch. `branch` may be overwritten.
#[inline(always)]
pub(super) fn add_residual(
    out: &mut [f32],
    x: &[f32],
    branch: &mut [f32],
    start: usize,
    dropout: Dropout,
) {
    apply(branch, start, dropout);
    out.copy_from_slice(x);
    ops::axpy(out, 1.0, branch);
}
