//! Products of `f32` and `f16` weights: a tile of rows and tokens, sixteen sums for each pair.
//!
//! The sums of a pair are one chain of fused multiply-adds, so the size of the tile changes no bit.

use core::arch::x86_64::*;

use half::f16;

use super::lanes_below;
use crate::kernels::{Output, chunk};
use crate::parts::{copy, part, part_mut};

/// Values of a register.
const WIDTH: usize = 16;

/// Rows of a tile.
const ROWS: usize = 4;

/// Tokens of a tile: with its rows as many sums as there are registers for.
const TOKENS: usize = 6;

/// Bytes of rows that stay in the second cache while the tokens of a tile, in the first, meet them.
const BLOCK_BYTES: usize = 1 << 17;

/// A format of weights.
///
/// # Safety
/// All functions need AVX-512 F, BW and VL.
trait Weight: Copy {
    unsafe fn load(w: &[Self; WIDTH]) -> __m512;

    /// Fewer, and zeros.
    unsafe fn load_some(w: &[Self]) -> __m512;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load(w: &[Self; WIDTH]) -> __m512 {
        // SAFETY: the array is 64 readable bytes; the load needs no alignment.
        unsafe { _mm512_loadu_ps(w.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_some(w: &[Self]) -> __m512 {
        let there = lanes_below(w.len()) as u16;
        // SAFETY: only as many are read as there are; the load needs no alignment.
        unsafe { _mm512_maskz_loadu_ps(there, w.as_ptr()) }
    }
}

impl Weight for f16 {
    #[inline(always)]
    unsafe fn load(w: &[Self; WIDTH]) -> __m512 {
        // SAFETY: the array is 32 readable bytes; the load needs no alignment.
        let halves = unsafe { _mm256_loadu_si256(w.as_ptr().cast()) };
        // SAFETY: as of the trait.
        unsafe { _mm512_cvtph_ps(halves) }
    }

    #[inline(always)]
    unsafe fn load_some(w: &[Self]) -> __m512 {
        let there = lanes_below(w.len()) as u16;
        // SAFETY: only as many are read as there are; the load needs no alignment.
        let halves = unsafe { _mm256_maskz_loadu_epi16(there, w.as_ptr().cast()) };
        // SAFETY: as of the trait.
        unsafe { _mm512_cvtph_ps(halves) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn matmul_f32(out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
    matmul(out, w, x, cols);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn matmul_f16(out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
    matmul(out, w, x, cols);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn matmul<W: Weight>(mut out: Output<'_>, w: &[W], x: &[f32], cols: usize) {
    let block = (BLOCK_BYTES / (cols * size_of::<W>()))
        .max(1)
        .next_multiple_of(ROWS);
    for w in w.chunks(block * cols) {
        for (tile, x) in x.chunks(TOKENS * cols).enumerate() {
            let first = tile * TOKENS * out.stride + out.first;
            let (out, place) = (&mut *out.values, (first, out.stride));
            match x.len() / cols {
                1 => one_token(part_mut(out, first, w.len() / cols), w, x),
                2 => tokens::<W, 2>(out, place, w, x, cols),
                3 => tokens::<W, 3>(out, place, w, x, cols),
                4 => tokens::<W, 4>(out, place, w, x, cols),
                5 => tokens::<W, 5>(out, place, w, x, cols),
                _ => tokens::<W, TOKENS>(out, place, w, x, cols),
            }
        }
        out.first += w.len() / cols;
    }
}

/// The rows of a tile. Where some are missing the last one stands in; what it gives is dropped.
#[inline(always)]
fn tile<W>(w: &[W], cols: usize) -> [&[W]; ROWS] {
    let mut rows = [w; ROWS];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = part(w, (r * cols).min(w.len() - cols), cols);
    }
    rows
}

/// Products of the rows with one token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn one_token<W: Weight>(out: &mut [f32], w: &[W], x: &[f32]) {
    for (out, w) in out.chunks_mut(ROWS).zip(w.chunks(ROWS * x.len())) {
        let sums = reduce(one_by_one(tile(w, x.len()), x));
        match out.as_mut_array() {
            Some(out) => *out = sums,
            None => copy(out, &sums),
        }
    }
}

/// Products of the rows with `T` tokens; those of each go to `first` and `stride` farther on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn tokens<W: Weight, const T: usize>(
    out: &mut [f32],
    (mut first, stride): (usize, usize),
    w: &[W],
    x: &[f32],
    cols: usize,
) {
    let mut tokens = [x; T];
    for (t, token) in tokens.iter_mut().enumerate() {
        *token = part(x, t * cols, cols);
    }
    for w in w.chunks(ROWS * cols) {
        let n = if w.len() == ROWS * cols {
            ROWS
        } else {
            w.len() / cols
        };
        dots(out, (first, stride, n), tile(w, cols), &tokens);
        first += n;
    }
}

/// The work for each of up to six tokens, as many as [`TOKENS`], written out.
macro_rules! each_token {
    ($t:ident, $n:ident, $work:block) => {
        each_token!(@ $t, $n, $work, 0 1 2 3 4 5)
    };
    (@ $t:ident, $n:ident, $work:block, $($number:literal)*) => {
        $(if $number < $n {
            let $t = $number;
            $work
        })*
    };
}

/// Products of a tile's rows, of which `n` are wanted, with tokens of the same width.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn dots<W: Weight, const T: usize>(
    out: &mut [f32],
    (first, stride, n): (usize, usize, usize),
    rows: [&[W]; ROWS],
    tokens: &[&[f32]; T],
) {
    let cols = rows[0].len();
    let whole = cols / WIDTH * WIDTH;
    for len in rows
        .iter()
        .map(|row| row.len())
        .chain(tokens.iter().map(|token| token.len()))
    {
        assert!(len == cols, "rows and tokens have the same width");
    }
    // What a loop behind this one indexed would be stored at each step.
    let mut sums = [[_mm512_setzero_ps(); ROWS]; T];
    for start in (0..whole).step_by(WIDTH) {
        let mut w = [_mm512_setzero_ps(); ROWS];
        for r in 0..ROWS {
            // SAFETY: all rows have `cols` values, and `start + WIDTH` is at most that.
            let row: &[W; WIDTH] = unsafe { chunk(rows[r], start) };
            // SAFETY: this function has the instructions.
            w[r] = unsafe { W::load(row) };
        }
        for t in 0..T {
            // SAFETY: all tokens have `cols` values too.
            let token = unsafe { chunk(tokens[t], start) };
            // SAFETY: as above.
            let x = unsafe { f32::load(token) };
            for r in 0..ROWS {
                sums[t][r] = _mm512_fmadd_ps(w[r], x, sums[t][r]);
            }
        }
    }
    if whole < cols {
        let mut w = [_mm512_setzero_ps(); ROWS];
        for r in 0..ROWS {
            // SAFETY: as above.
            w[r] = unsafe { W::load_some(&rows[r][whole..]) };
        }
        each_token!(t, T, {
            // SAFETY: as above.
            let x = unsafe { f32::load_some(&tokens[t][whole..]) };
            for r in 0..ROWS {
                sums[t][r] = _mm512_fmadd_ps(w[r], x, sums[t][r]);
            }
        });
    }
    each_token!(t, T, {
        let out = part_mut(out, first + t * stride, n);
        match out.as_mut_array() {
            Some(out) => *out = reduce(sums[t]),
            None => copy(out, &reduce(sums[t])),
        }
    });
}

/// Sums of each row with one token, row after row: the processor fetches ahead what is read in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn one_by_one<W: Weight>(rows: [&[W]; ROWS], x: &[f32]) -> [__m512; ROWS] {
    let (x_chunks, x_rest) = x.as_chunks::<WIDTH>();
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (sum, row) in sums.iter_mut().zip(rows) {
        let (chunks, rest) = row.as_chunks::<WIDTH>();
        for (w, x) in chunks.iter().zip(x_chunks) {
            // SAFETY: this function has the instructions.
            let w = unsafe { W::load(w) };
            // SAFETY: as above.
            let x = unsafe { f32::load(x) };
            *sum = _mm512_fmadd_ps(w, x, *sum);
        }
        if !rest.is_empty() {
            // SAFETY: as above.
            let w = unsafe { W::load_some(rest) };
            // SAFETY: as above.
            let x = unsafe { f32::load_some(x_rest) };
            *sum = _mm512_fmadd_ps(w, x, *sum);
        }
    }
    sums
}

/// Sums of each of four registers.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn reduce([a, b, c, d]: [__m512; ROWS]) -> [f32; ROWS] {
    let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    let abcd = _mm512_add_ps(
        _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
        _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
    );
    let half = _mm256_add_ps(
        _mm512_castps512_ps256(abcd),
        _mm512_extractf32x8_ps::<1>(abcd),
    );
    let four = _mm_add_ps(
        _mm256_castps256_ps128(half),
        _mm256_extractf128_ps::<1>(half),
    );
    let mut out = [0.0; ROWS];
    // SAFETY: the array is 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), four) };
    out
}
