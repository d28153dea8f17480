//! Products of integer weights, in the order of the specification.
//!
//! Few tokens meet the rows one by one, many meet sixteen rows at a time ([`tiles`]). One by one, `maddubs`
//! multiplies unsigned by signed bytes, so the weight's sign moves to the activation. |w| is at most 128 and |x| at
//! most 127, so a pair's sum fits `i16` and nothing saturates. Eight blocks end as the eight lanes of the
//! specification.

mod tiles;

use core::arch::x86_64::*;

use half::f16;

use super::{load, load_f16};
use crate::kernels::Output;
use crate::kernels::tiles::{Format, MOST_BLOCKS, Matrix};
use crate::ops::LANES;
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET, Q4Matrix, Q8Activations, Q8Matrix};

/// Fewer tokens than this do not pay for what [`tiles`] does to weights of eight bits first.
const MANY_Q8: usize = 8;

/// Those that do not pay for it with weights of four bits.
const MANY_Q4: usize = 3;

/// Blocks of tokens that meet a tile while it is kept: with what is prepared of them they stay in the second cache.
const PREPARED_Q8: usize = 1024;

/// Those of `q4`, of which less is prepared.
const PREPARED_Q4: usize = 4096;

/// The longest rows of `q8`: of longer ones fewer tokens would meet a tile than pay for it.
const MOST_Q8: usize = PREPARED_Q8 / MANY_Q8;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q8(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    if are_many(x, MANY_Q8, MOST_Q8) {
        // SAFETY: `are_many` knows the blocks.
        return unsafe {
            as_tiles::<_, PREPARED_Q8, { MOST_Q8 / 2 }>(out, tiles::Bytes, w.stored(), x)
        };
    }
    crate::kernels::matmul(out, w.rows(), x.rows(), |w, x| {
        dot_blocks(w.quants, w.scales, x, |w: &[i8; BLOCK]| load_i8(w))
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q4(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    if are_many(x, MANY_Q4, MOST_BLOCKS) {
        // SAFETY: as above.
        return unsafe {
            as_tiles::<_, PREPARED_Q4, { MOST_BLOCKS / 2 }>(out, tiles::Nibbles, w.stored(), x)
        };
    }
    crate::kernels::matmul(out, w.rows(), x.rows(), |w, x| {
        dot_blocks(w.nibbles, w.scales, x, |w| load_q4(w))
    });
}

/// Whether there are so many tokens, of at most so many blocks.
fn are_many(x: Q8Activations<'_>, many: usize, most: usize) -> bool {
    let n = x.blocks.n;
    (1..=most).contains(&n) && x.scales.len() >= many * n
}

/// [`crate::kernels::tiles::matmul`] of what is stored. By itself, so that one token does not pay for its room on the
/// stack.
///
/// # Safety
/// Rows have a block at least.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn as_tiles<F: Format, const PREPARED: usize, const KEPT: usize>(
    out: Output<'_>,
    format: F,
    stored: (&[i8], &[f16]),
    x: Q8Activations<'_>,
) {
    let matrix = Matrix::new(stored, x.blocks.n, F::BYTES);
    // SAFETY: this function has the instructions, the rest is the caller's.
    unsafe { crate::kernels::tiles::matmul::<_, PREPARED, KEPT>(out, format, matrix, x) }
}

/// Dot product of a row of blocks of `BYTES` with one token's activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_blocks<const BYTES: usize>(
    w: &[i8],
    w_scales: &[f16],
    (x, x_scales): (&[i8], &[f32]),
    load_w: impl Fn(&[i8; BYTES]) -> __m256i,
) -> f32 {
    let mut lanes = _mm256_setzero_ps();
    let (w_groups, w_rest) = w.as_chunks::<BYTES>().0.as_chunks::<LANES>();
    let (x_groups, x_rest) = x.as_chunks::<BLOCK>().0.as_chunks::<LANES>();
    let (w_scales, w_scales_rest) = w_scales.as_chunks::<LANES>();
    let (x_scales, x_scales_rest) = x_scales.as_chunks::<LANES>();
    let groups = w_groups.iter().zip(x_groups);
    for ((w, x), (w_scale, x_scale)) in groups.zip(w_scales.iter().zip(x_scales)) {
        let mut sums = [_mm256_setzero_si256(); LANES];
        for i in 0..LANES {
            sums[i] = dot_block(load_w(&w[i]), load_i8(&x[i]));
        }
        lanes = add_scaled(lanes, sums, load_f16(w_scale), load(x_scale));
    }
    if !w_rest.is_empty() {
        // Lanes without a block get 0 * 0: they keep their sum to the bit.
        let mut sums = [_mm256_setzero_si256(); LANES];
        let (mut w_scale, mut x_scale) = ([f16::ZERO; LANES], [0.0; LANES]);
        for i in 0..w_rest.len() {
            sums[i] = dot_block(load_w(&w_rest[i]), load_i8(&x_rest[i]));
            w_scale[i] = w_scales_rest[i];
            x_scale[i] = x_scales_rest[i];
        }
        lanes = add_scaled(lanes, sums, load_f16(&w_scale), load(&x_scale));
    }
    reduce(lanes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_i8(x: &[i8; BLOCK]) -> __m256i {
    // SAFETY: the array is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// The integers of a block of four bits.
#[inline]
#[target_feature(enable = "avx2")]
fn load_q4(block: &[i8; Q4_BYTES]) -> __m256i {
    // SAFETY: the array is 16 readable bytes; the load needs no alignment.
    let twice = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(block.as_ptr().cast()) });
    let halves = _mm256_srlv_epi64(twice, _mm256_setr_epi64x(0, 0, 4, 4));
    let stored = _mm256_and_si256(halves, _mm256_set1_epi8(15));
    _mm256_sub_epi8(stored, _mm256_set1_epi8(Q4_OFFSET))
}

/// Eight partial sums of a block's dot product.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_block(w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// `lanes[i] + f32(sum of sums[i]) * (w_scale[i] * x_scale[i])`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_scaled(lanes: __m256, sums: [__m256i; LANES], w_scale: __m256, x_scale: __m256) -> __m256 {
    let [a, b, c, d, e, f, g, h] = sums;
    let abcd = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let efgh = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
    let exact = _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(abcd, efgh),
        _mm256_permute2x128_si256::<0x31>(abcd, efgh),
    );
    let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(exact), _mm256_mul_ps(w_scale, x_scale));
    _mm256_add_ps(lanes, scaled)
}

/// [`crate::ops::reduce`] on a register.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(lanes: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(lanes),
        _mm256_extractf128_ps::<1>(lanes),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
