//! Products of `f32` and `f16` weights: a tile of rows and tokens, eight sums for each pair.
//!
//! The sums of a pair are one chain of fused multiply-adds, so the size of the tile changes no bit.

use core::arch::x86_64::*;

use half::f16;

use super::{filled, load, load_f16, reduce_four, store};
use crate::kernels::{Output, chunk};
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};

/// Rows of a tile.
const ROWS: usize = 4;

/// Tokens of a tile: with its rows as many sums as there are registers for.
const TOKENS: usize = 2;

/// Bytes of rows that stay in the second cache while all tokens meet them.
const BLOCK_BYTES: usize = 1 << 17;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_f32(out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
    matmul(out, w, x, cols, |w| load(w));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_f16(out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
    matmul(out, w, x, cols, |w| load_f16(w));
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn matmul<W: Copy + Default>(
    out: Output<'_>,
    w: &[W],
    x: &[f32],
    cols: usize,
    widen: impl Fn(&[W; LANES]) -> __m256 + Copy,
) {
    let n_rows = w.len() / cols;
    if x.len() == cols {
        let out = part_mut(out.values, out.first, n_rows);
        return one_token(out, w, x, widen);
    }
    let row = |row: usize| part(w, row.min(n_rows - 1) * cols, cols);
    let block = (BLOCK_BYTES / (cols * size_of::<W>()))
        .max(1)
        .next_multiple_of(ROWS);
    for first in (0..n_rows).step_by(block) {
        let rows = first..n_rows.min(first + block);
        for (tile, x) in x.chunks(TOKENS * cols).enumerate() {
            for first in rows.clone().step_by(ROWS) {
                let tile_rows = [row(first), row(first + 1), row(first + 2), row(first + 3)];
                let place = tile * TOKENS * out.stride + out.first + first;
                let place = (place, out.stride, ROWS.min(n_rows - first));
                match x.len() / cols {
                    1 => tokens::<W, 1>(out.values, place, tile_rows, x, widen),
                    _ => tokens::<W, TOKENS>(out.values, place, tile_rows, x, widen),
                }
            }
        }
    }
}

/// Products of all rows with the only token, a row of each quarter of the matrix together: the processor fetches ahead
/// what one instruction reads in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token<W: Copy + Default>(
    out: &mut [f32],
    w: &[W],
    x: &[f32],
    widen: impl Fn(&[W; LANES]) -> __m256 + Copy,
) {
    let n_rows = out.len();
    let quarter = n_rows.div_ceil(ROWS);
    for row in 0..quarter {
        let places = [0, 1, 2, 3].map(|i| (row + i * quarter).min(n_rows - 1));
        let rows = places.map(|row| part(w, row * x.len(), x.len()));
        let [sums] = sums(rows, [x], widen);
        for (place, sum) in places.into_iter().zip(sums) {
            part_mut(out, place, 1).fill(sum);
        }
    }
}

/// Products of four rows, of which some are wanted, with `T` tokens.
///
/// `place`: where those of the first token go, how much farther on those of the next, and how many rows are wanted.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tokens<W: Copy + Default, const T: usize>(
    out: &mut [f32],
    (first, stride, n): (usize, usize, usize),
    rows: [&[W]; ROWS],
    x: &[f32],
    widen: impl Fn(&[W; LANES]) -> __m256 + Copy,
) {
    let cols = rows[0].len();
    let mut tokens = [x; T];
    for (t, token) in tokens.iter_mut().enumerate() {
        *token = part(x, t * cols, cols);
    }
    let sums = sums(rows, tokens, widen);
    for (t, sums) in sums.iter().enumerate() {
        let out = part_mut(out, first + t * stride, n);
        match out.as_mut_array() {
            Some(out) => *out = *sums,
            None => copy(out, sums),
        }
    }
}

/// The products of four rows with each token, all of the same width.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sums<W: Copy + Default, const T: usize>(
    rows: [&[W]; ROWS],
    tokens: [&[f32]; T],
    widen: impl Fn(&[W; LANES]) -> __m256,
) -> [[f32; ROWS]; T] {
    let cols = rows[0].len();
    for len in rows
        .iter()
        .map(|row| row.len())
        .chain(tokens.map(<[_]>::len))
    {
        assert!(len == cols, "rows and tokens have the same width");
    }
    let whole = cols / LANES * LANES;
    let mut sums = [[_mm256_setzero_ps(); ROWS]; T];
    for start in (0..whole).step_by(LANES) {
        let mut x = [_mm256_setzero_ps(); T];
        for t in 0..T {
            // SAFETY: all tokens have `cols` values, and `start + LANES` is at most that.
            x[t] = load(unsafe { chunk(tokens[t], start) });
        }
        for r in 0..ROWS {
            // SAFETY: all rows have `cols` values too.
            let w = widen(unsafe { chunk(rows[r], start) });
            for t in 0..T {
                sums[t][r] = _mm256_fmadd_ps(w, x[t], sums[t][r]);
            }
        }
    }
    if whole < cols {
        let mut x = [_mm256_setzero_ps(); T];
        for t in 0..T {
            x[t] = load(&filled(&tokens[t][whole..]));
        }
        for r in 0..ROWS {
            let w = widen(&filled(&rows[r][whole..]));
            for t in 0..T {
                sums[t][r] = _mm256_fmadd_ps(w, x[t], sums[t][r]);
            }
        }
    }
    let mut out = [[0.0; ROWS]; T];
    for t in 0..T {
        store(&mut out[t], reduce_four(sums[t]));
    }
    out
}
