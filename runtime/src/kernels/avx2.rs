//! AVX2 with FMA and F16C: every x86-64 since Haswell (2013) and Excavator (2015).
//!
//! `q8`: `maddubs` multiplies unsigned by signed bytes, so the weight's sign moves to the
//! activation. |w| is at most 128 and |x| at most 127, so a pair's sum fits `i16` and nothing
//! saturates. Eight blocks end as the eight lanes of the specification.

#[cfg(feature = "kv-float")]
mod attention;
mod floats;
mod gate;
mod head_integers;
mod integer_attention;

#[cfg(feature = "rayon")]
pub(super) use self::attention::softmax;

use core::arch::x86_64::*;

use half::f16;

use super::{Output, Row, scalar};
use crate::ops::LANES;
use crate::parts::copy;
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET, Q4Matrix, Q8Activations, Q8Matrix};

/// Proof that AVX2, FMA and F16C are present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        let present = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        #[cfg(not(feature = "std"))]
        let present = cfg!(all(
            target_feature = "avx2",
            target_feature = "fma",
            target_feature = "f16c"
        ));
        present.then_some(Self(()))
    }

    pub(super) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        // SAFETY: `self` exists only where the features were found.
        unsafe { floats::matmul_f32(out, w, x, cols) }
    }

    pub(super) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        // SAFETY: as above.
        unsafe { floats::matmul_f16(out, w, x, cols) }
    }

    pub(super) fn matmul_q8(self, out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
        // SAFETY: as above.
        unsafe { matmul_q8(out, w, x) }
    }

    pub(super) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
        // SAFETY: as above.
        unsafe { matmul_q4(out, w, x) }
    }

    pub(super) fn quantize(self, quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
        // SAFETY: as above.
        unsafe { quantize(quants, scales, x, cols) }
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn attend_f32(
        self,
        out: &mut [f32],
        scores: &mut [f32],
        query: &[f32],
        keys: &[f32],
        values: &[f32],
    ) {
        // SAFETY: as above.
        unsafe { attention::attend_f32(out, scores, query, keys, values) }
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn attend_f16(
        self,
        out: &mut [f32],
        scores: &mut [f32],
        query: &[f32],
        keys: &[f16],
        values: &[f16],
    ) {
        // SAFETY: as above.
        unsafe { attention::attend_f16(out, scores, query, keys, values) }
    }

    pub(super) fn integers(
        self,
        out: &mut [i16],
        exponents: &mut [i8],
        x: &[f32],
        head_size: usize,
        bits: i32,
    ) {
        // SAFETY: as above.
        unsafe { head_integers::integers(out, exponents, x, head_size, bits) }
    }

    pub(super) fn keep(self, row: Row<'_>, x: &[f32]) {
        // SAFETY: as above.
        unsafe { head_integers::keep(row, x) }
    }

    /// Does `work`, whose loops the compiler may write with these instructions.
    pub(super) fn vectorized<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: as above.
        unsafe { vectorized(work) }
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn narrow_f16(self, out: &mut [f16], x: &[f32]) {
        // SAFETY: as above.
        unsafe { narrow_f16(out, x) }
    }

    pub(super) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        // SAFETY: as above.
        unsafe { gate::swiglu_q16(gates, ups) }
    }

    pub(super) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        // SAFETY: as above.
        unsafe { widen_f16(out, x) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    work()
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

/// [`crate::ops::reduce`] of four registers.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce_four(lanes: [__m256; 4]) -> __m128 {
    let mut halves = [_mm_setzero_ps(); 4];
    for (half, lanes) in halves.iter_mut().zip(lanes) {
        *half = _mm_add_ps(
            _mm256_castps256_ps128(lanes),
            _mm256_extractf128_ps::<1>(lanes),
        );
    }
    let [a, b, c, d] = halves;
    let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[f32; LANES]) -> __m256 {
    // SAFETY: the array is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_f16(x: &[f16; LANES]) -> __m256 {
    // SAFETY: the array is 16 readable bytes; the load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(x.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [f32; 4], x: __m128) {
    // SAFETY: the array is 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), x) };
}

/// The first values, and zeros.
#[inline(always)]
fn filled<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    let mut filled = [T::default(); LANES];
    copy(&mut filled, x);
    filled
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_i8(x: &[i8; BLOCK]) -> __m256i {
    // SAFETY: the array is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_q8(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    super::matmul(out, w.rows(), x.rows(), |w, x| {
        dot_blocks(w.quants, w.scales, x, |w: &[i8; BLOCK]| load_i8(w))
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_q4(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    super::matmul(out, w.rows(), x.rows(), |w, x| {
        dot_blocks(w.nibbles, w.scales, x, |w| load_q4(w))
    });
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

#[target_feature(enable = "avx2")]
fn quantize(quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
    let blocks = x.chunks_exact(cols).flat_map(|row| row.chunks(BLOCK));
    let quants = quants.as_chunks_mut::<BLOCK>().0.iter_mut();
    for ((x, quants), scale) in blocks.zip(quants).zip(scales) {
        *scale = match x.as_array::<BLOCK>() {
            Some(x) => quantize_block(quants, x),
            None => scalar::quantize_block(quants, x),
        };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn quantize_block(quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32 {
    let [a, b, c, d] = x.as_chunks::<LANES>().0 else {
        unreachable!("32 = 4 * 8")
    };
    let x = [load(a), load(b), load(c), load(d)];
    let sign = _mm256_set1_ps(-0.0);
    let mut largest = _mm256_setzero_ps();
    for x in x {
        // Of NaN and a number the second operand is taken: NaN is passed over, as in `scalar`.
        largest = _mm256_max_ps(_mm256_andnot_ps(sign, x), largest);
    }
    let four = _mm_max_ps(
        _mm256_castps256_ps128(largest),
        _mm256_extractf128_ps::<1>(largest),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    let largest = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    let (scale, inverse) = scalar::scale(largest);
    let inverse = _mm256_set1_ps(inverse);
    let [a, b, c, d] = x.map(|x| {
        let scaled = _mm256_mul_ps(x, inverse);
        let number = _mm256_cmp_ps::<_CMP_ORD_Q>(scaled, scaled);
        _mm256_cvtps_epi32(_mm256_and_ps(scaled, number))
    });
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    // The packs work within 128-bit halves; this puts the groups of four back in order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let bytes = _mm256_permutevar8x32_epi32(bytes, order);
    // SAFETY: the array is 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(quants.as_mut_ptr().cast(), bytes) };
    scale
}

#[target_feature(enable = "avx2,f16c")]
fn widen_f16(out: &mut [f32], x: &[f16]) {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    for (out, x) in out.iter_mut().zip(x) {
        let x = load_f16(x);
        // SAFETY: the array is 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), x) };
    }
    scalar::widen_f16(out_rest, x_rest);
}

#[cfg(feature = "kv-float")]
#[target_feature(enable = "avx2,f16c")]
fn narrow_f16(out: &mut [f16], x: &[f32]) {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let most = _mm256_set1_ps(f16::MAX.to_f32());
    let least = _mm256_set1_ps(f16::MIN.to_f32());
    for (out, x) in out.iter_mut().zip(x) {
        let x = load(x);
        let x = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
        let x = _mm256_max_ps(_mm256_min_ps(x, most), least);
        let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
        // SAFETY: the array is 16 writable bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), half) };
    }
    scalar::narrow_f16(out_rest, x_rest);
}
