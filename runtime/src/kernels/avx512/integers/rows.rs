//! Few tokens with rows in order, at two places of the matrix: the processor fetches ahead what one instruction reads
//! in order. A row of the upper half and one of the lower half share registers.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::MANY;
use super::load::{Group, pair_scales, registers, transpose, twice};
use super::weights::Weights;
use crate::kernels::Output;
use crate::kernels::tiles::{MOST_BLOCKS, Matrix};
use crate::ops::LANES;
use crate::parts::{part, part_mut};
use crate::quant::{BLOCK, Q8Activations};

/// Eights of blocks of all tokens.
pub(super) const MOST: usize = 128;

/// Rows that share a register.
pub(super) const ROWS: usize = 2;

/// What a token has of eight blocks.
pub(super) struct Token {
    /// As [`Weights::arrange`] has them; of few tokens [`transpose`]d.
    pub(super) quants: Group,
    /// Offset times activations of each block, in [`Weights::ORDER`], as the scales.
    off: __m512i,
    scales: __m512,
}

/// Every row with the only token.
#[inline(always)]
pub(super) unsafe fn one_token<W: Weights>(
    out: Output<'_>,
    weights: W,
    matrix: Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let mut room = [const { MaybeUninit::uninit() }; MOST_BLOCKS / LANES];
    // SAFETY: as of [`super::matmul`], here and below.
    let token = unsafe { Token::prepare(&mut room, weights, x) };
    for rows in pairs(matrix) {
        // SAFETY: as above.
        let sums = unsafe {
            let mut sums = _mm512_setzero_ps();
            for (i, x) in token.iter().enumerate() {
                let [a, b] = groups(weights, matrix, rows, i);
                let a = weights.products(a, &x.quants);
                let b = weights.products(b, &x.quants);
                let scales = scales::<W>(matrix, rows, i);
                sums = _mm512_add_ps(sums, x.scaled(weights.dots([a, b]), scales));
            }
            weights.reduce(sums)
        };
        put(out.values, out.first, rows, sums);
    }
}

/// Every row with each of several tokens, fewer than [`MANY`], which together have at most [`MOST`] eights of blocks.
#[inline(always)]
pub(super) unsafe fn few_tokens<W: Weights>(
    out: Output<'_>,
    weights: W,
    matrix: Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let mut room = [const { MaybeUninit::uninit() }; MOST];
    // SAFETY: as above.
    let tokens = unsafe { Token::prepare(&mut room, weights, x) };
    let n_tokens = x.scales.len() / matrix.n;
    for rows in pairs(matrix) {
        // SAFETY: as above.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); MANY];
            for (i, tokens) in tokens.chunks(n_tokens).enumerate() {
                let [a, b] = groups(weights, matrix, rows, i);
                let (a, b) = (transpose(a), transpose(b));
                let scales = scales::<W>(matrix, rows, i);
                for (sum, x) in sums.iter_mut().zip(tokens) {
                    let mut dots = [_mm512_setzero_si512(); ROWS];
                    for i in 0..4 {
                        dots[0] = weights.add(dots[0], a[i], x.quants[i]);
                        dots[1] = weights.add(dots[1], b[i], x.quants[i]);
                    }
                    *sum = _mm512_add_ps(*sum, x.scaled(weights.join(dots), scales));
                }
            }
            for (t, sums) in sums.iter().take(n_tokens).enumerate() {
                let first = t * out.stride + out.first;
                put(out.values, first, rows, weights.reduce(*sums));
            }
        }
    }
}

/// A row of the upper half, and the one as far down in the lower half; where that is missing the last.
#[inline(always)]
fn pairs(matrix: Matrix<'_>) -> impl Iterator<Item = [usize; ROWS]> {
    let n = matrix.n_rows();
    let half = n.div_ceil(ROWS);
    (0..half).map(move |row| [row, (row + half).min(n - 1)])
}

/// Eight blocks of each row, from block `8 * i` on. What lies behind a row's last, the next row, will meet zeros.
#[inline(always)]
unsafe fn groups<W: Weights>(
    weights: W,
    matrix: Matrix<'_>,
    rows: [usize; ROWS],
    i: usize,
) -> [Group; ROWS] {
    let [a, b] = rows.map(|row| {
        let start = row * matrix.row_bytes + i * W::BYTES;
        matrix.bytes.get(start..).unwrap_or_default()
    });
    // SAFETY: as above.
    unsafe { [weights.group(a), weights.group(b)] }
}

/// Their scales, zeros behind the last.
#[inline(always)]
unsafe fn scales<W: Weights>(matrix: Matrix<'_>, rows: [usize; ROWS], i: usize) -> __m512 {
    let scales = rows.map(|row| {
        let row = part(matrix.scales, row * matrix.n, matrix.n);
        row.get(i * LANES..).unwrap_or_default()
    });
    // SAFETY: as above.
    unsafe { _mm512_permutexvar_ps(order::<W>(), pair_scales(scales)) }
}

/// Products of two rows to their places.
#[inline(always)]
fn put(out: &mut [f32], first: usize, rows: [usize; ROWS], products: [f32; ROWS]) {
    for (row, product) in rows.into_iter().zip(products) {
        part_mut(out, first + row, 1).fill(product);
    }
}

#[inline(always)]
pub(super) unsafe fn order<W: Weights>() -> __m512i {
    // SAFETY: the array is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(W::ORDER.as_ptr().cast()) }
}

impl Token {
    /// All tokens, first the first eight blocks of each. Of several they are transposed.
    #[inline(always)]
    unsafe fn prepare<'r, W: Weights>(
        room: &'r mut [MaybeUninit<Self>],
        weights: W,
        x: Q8Activations<'_>,
    ) -> &'r [Self] {
        let n = x.blocks.n;
        let n_tokens = x.scales.len() / n;
        let places = (0..n.div_ceil(LANES)).flat_map(|i| (0..n_tokens).map(move |t| (t, i)));
        let mut ready = 0;
        for (place, (t, i)) in room.iter_mut().zip(places) {
            let quants = part(x.quants, t * x.blocks.quants, x.blocks.quants);
            let scales = part(x.scales, t * n, n);
            let quants = quants.get(i * LANES * BLOCK..).unwrap_or_default();
            let scales = scales.get(i * LANES..).unwrap_or_default();
            // SAFETY: as above.
            place.write(unsafe { Self::new(weights, quants, scales, n_tokens > 1) });
            ready += 1;
        }
        // SAFETY: so many were written.
        unsafe { room[..ready].assume_init_ref() }
    }

    #[inline(always)]
    pub(super) unsafe fn new<W: Weights>(
        weights: W,
        quants: &[i8],
        scales: &[f32],
        transposes: bool,
    ) -> Self {
        // SAFETY: as above.
        unsafe {
            let x = weights.arrange(registers(quants));
            let offset = _mm512_set1_epi8(W::OFFSET);
            Self {
                quants: if transposes { transpose(x) } else { x },
                off: weights.dots([weights.products([offset; 4], &x); ROWS]),
                scales: _mm512_permutexvar_ps(order::<W>(), twice(scales)),
            }
        }
    }

    /// Products of two rows, of which the offset is taken off.
    #[inline(always)]
    pub(super) unsafe fn scaled(&self, dots: __m512i, scales: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(dots, self.off));
            _mm512_mul_ps(exact, _mm512_mul_ps(scales, self.scales))
        }
    }
}
