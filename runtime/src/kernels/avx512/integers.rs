//! Products of integer weights, in the order of the specification.
//!
//! Few tokens meet the rows in order, at two places ([`rows`]; one token meets several short ones together:
//! [`short_rows`]), many meet sixteen rows at a time ([`tiles`]).
//! `vpdpbusd` multiplies unsigned by signed bytes: weights get an offset that makes them unsigned, and
//! `offset * sum(x)` is taken off again.

mod load;
mod rows;
mod short_rows;
mod tiles;
mod weights;

use half::f16;

use self::tiles::Tiled;
use self::weights::{Bytes, Nibbles, Weights};
use crate::kernels::Output;
use crate::kernels::tiles::{MOST_BLOCKS, Matrix};
use crate::ops::LANES;
use crate::quant::{Q4Matrix, Q8Activations, Q8Matrix};

/// Blocks of tokens that meet a tile while it is kept.
const PREPARED: usize = 4096;

/// Blocks of half the sums of the longest row.
const KEPT: usize = MOST_BLOCKS / 2;

/// Fewer tokens than this do not pay for what [`tiles`] does to the weights first.
const MANY: usize = 10;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) fn matmul_q8_vnni(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    // SAFETY: this function has the instructions.
    unsafe { matmul(out, Bytes::<true>, w.stored(), x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn matmul_q8(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    // SAFETY: as above.
    unsafe { matmul(out, Bytes::<false>, w.stored(), x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) fn matmul_q4_vnni(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    // SAFETY: as above.
    unsafe { matmul(out, Nibbles::<true>, w.stored(), x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn matmul_q4(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    // SAFETY: as above.
    unsafe { matmul(out, Nibbles::<false>, w.stored(), x) }
}

/// Every row with every token.
///
/// # Safety
/// The caller has the instructions of [`Weights`], as those of what is called here. All of it becomes part of the
/// caller: a function of its own would lack them, or be called for each product.
#[inline(always)]
unsafe fn matmul<W: Weights>(
    out: Output<'_>,
    weights: W,
    stored: (&[i8], &[f16]),
    x: Q8Activations<'_>,
) {
    let n = x.blocks.n.max(1);
    let matrix = Matrix::new(stored, n, W::BYTES);
    let n_tokens = x.scales.len() / n;
    if n_tokens == 0 {
        return;
    }
    if n_tokens == 1 && n < LANES && LANES.is_multiple_of(n) {
        // SAFETY: as above.
        unsafe { short_rows::one_token(out, weights, matrix, x) }
    } else if n_tokens == 1 {
        // SAFETY: as above.
        unsafe { rows::one_token(out, weights, matrix, x) }
    } else if n_tokens < MANY && n_tokens * n.div_ceil(LANES) <= rows::MOST {
        // SAFETY: as above.
        unsafe { rows::few_tokens(out, weights, matrix, x) }
    } else {
        // SAFETY: as above.
        unsafe {
            crate::kernels::tiles::matmul::<_, PREPARED, KEPT>(out, Tiled(weights), matrix, x)
        }
    }
}
