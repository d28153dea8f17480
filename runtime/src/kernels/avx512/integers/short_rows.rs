//! One token with rows of 1, 2 or 4 blocks, which lie one after the other: eight blocks of several rows are taken for one
//! row, at two places of the matrix as in [`super::rows`], and only their sums are parted.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;

use super::load::pair_scales;
use super::rows::{ROWS, Token, order};
use super::weights::Weights;
use crate::kernels::Output;
use crate::kernels::tiles::Matrix;
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};
use crate::quant::{BLOCK, Q8Activations};

/// Every row with the only token.
///
/// # Safety
/// As of [`super::matmul`].
#[inline(always)]
pub(super) unsafe fn one_token<W: Weights>(
    out: Output<'_>,
    weights: W,
    matrix: Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let (n, n_rows) = (matrix.n, matrix.n_rows());
    // Rows that are taken for one.
    let height = LANES / n;
    let (mut quants, mut scales) = ([0; LANES * BLOCK], [0.0; LANES]);
    for quants in quants.chunks_mut(n * BLOCK) {
        copy(quants, x.quants);
    }
    for scales in scales.chunks_mut(n) {
        copy(scales, x.scales);
    }
    // SAFETY: as above, here and below.
    let token = unsafe { Token::new(weights, &quants, &scales, false) };
    let n_groups = n_rows.div_ceil(height);
    let half = n_groups.div_ceil(ROWS);
    for group in 0..half {
        let groups = [group, (group + half).min(n_groups - 1)];
        let bytes = groups.map(|group| rest(matrix.bytes, group * W::BYTES));
        let scales = groups.map(|group| rest(matrix.scales, group * LANES));
        // SAFETY: as above.
        let sums = unsafe {
            let a = weights.products(weights.group(bytes[0]), &token.quants);
            let b = weights.products(weights.group(bytes[1]), &token.quants);
            let scales = _mm512_permutexvar_ps(order::<W>(), pair_scales(scales));
            sums::<W>(token.scaled(weights.dots([a, b]), scales), n)
        };
        for (i, group) in groups.into_iter().enumerate() {
            let first = group * height;
            let out = part_mut(out.values, out.first + first, height.min(n_rows - first));
            copy(out, part(&sums, i * height, out.len()));
        }
    }
}

/// [`crate::ops::reduce`] of each `n` blocks, those of the first place before those of the other.
#[inline(always)]
unsafe fn sums<W: Weights>(products: __m512, n: usize) -> [f32; 2 * LANES] {
    let mut places = [0; 2 * LANES];
    for (lane, block) in (0..).zip(W::ORDER) {
        places[block as usize] = lane;
    }
    let mut sums = [0.0; 2 * LANES];
    // SAFETY: as above; the arrays are 64 bytes, to be read and to be written, and need no alignment.
    unsafe {
        let places = _mm512_loadu_si512(places.as_ptr().cast());
        // What is added to the zero of a sum is not -0.
        let products = _mm512_add_ps(_mm512_setzero_ps(), products);
        let blocks = _mm512_permutexvar_ps(places, products);
        let all = match n {
            1 => blocks,
            2 => _mm512_add_ps(blocks, _mm512_movehdup_ps(blocks)),
            _ => {
                let pairs = _mm512_add_ps(blocks, _mm512_permute_ps::<0b01_00_11_10>(blocks));
                _mm512_add_ps(pairs, _mm512_movehdup_ps(pairs))
            }
        };
        let firsts = match n {
            1 => u16::MAX,
            2 => 0b0101_0101_0101_0101,
            _ => 0b0001_0001_0001_0001,
        };
        _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_maskz_compress_ps(firsts, all));
    }
    sums
}

/// `x` from `start` on.
#[inline(always)]
fn rest<T>(x: &[T], start: usize) -> &[T] {
    x.get(start..).unwrap_or_default()
}
