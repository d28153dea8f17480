//! AVX2 with FMA and F16C: every x86-64 since Haswell (2013) and Excavator (2015).

#[cfg(feature = "kv-float")]
mod attention;
mod floats;
mod gate;
mod head_integers;
mod integer_attention;
mod integers;

#[cfg(feature = "rayon")]
pub(super) use self::attention::softmax;

use core::arch::x86_64::*;

use half::f16;

use super::{Output, Row, scalar};
use crate::ops::LANES;
use crate::parts::copy;
use crate::quant::{BLOCK, Q4Matrix, Q8Activations, Q8Matrix};

/// How far ahead keys are asked for.
const AHEAD_BYTES: usize = 4096;

/// What the processor's cache is filled with at a time.
const LINE_BYTES: usize = 64;

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
        unsafe { integers::matmul_q8(out, w, x) }
    }

    pub(super) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
        // SAFETY: as above.
        unsafe { integers::matmul_q4(out, w, x) }
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

/// Lines of the processor's cache that so many bytes of keys take; none if they are few: short heads have small caches.
#[inline(always)]
fn lines(bytes: usize) -> usize {
    match bytes / LINE_BYTES {
        ..4 => 0,
        n => n,
    }
}

/// Asks for keys that come [`AHEAD_BYTES`] later, and for the values of these: a head's are too few for the processor to
/// find out which come next.
#[inline]
#[target_feature(enable = "avx2")]
fn ask_ahead(key: *const i8, value: *const i8, lines: usize) {
    for line in 0..lines {
        _mm_prefetch::<_MM_HINT_T0>(key.wrapping_add(AHEAD_BYTES + line * LINE_BYTES));
        _mm_prefetch::<_MM_HINT_T1>(value.wrapping_add(line * LINE_BYTES));
    }
}

/// The first values, and zeros.
#[inline(always)]
fn filled<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    let mut filled = [T::default(); LANES];
    copy(&mut filled, x);
    filled
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
