//! Swiglu.

use core::arch::x86_64::*;

use super::load;
use crate::kernels::scalar::{self, SIGMOID};
use crate::ops::LANES;

/// See [`scalar::swiglu_q16`]. Casts that saturate and divisions of integers are what the compiler has no vectors
/// for.
#[target_feature(enable = "avx2")]
pub(super) fn swiglu_q16(gates: &mut [f32], ups: &[f32]) {
    let n = gates.len().min(ups.len());
    let (gates, gates_rest) = gates[..n].as_chunks_mut::<LANES>();
    let (ups, ups_rest) = ups[..n].as_chunks::<LANES>();
    for (gate, up) in gates.iter_mut().zip(ups) {
        let x = load(gate);
        let sigmoid = _mm256_cvtepi32_ps(sigmoid_q16(x));
        let sigmoid = _mm256_mul_ps(sigmoid, _mm256_set1_ps(1.0 / 65_536.0));
        let product = _mm256_mul_ps(_mm256_mul_ps(x, load(up)), sigmoid);
        // SAFETY: the array is 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(gate.as_mut_ptr(), product) };
    }
    scalar::swiglu_q16(gates_rest, ups_rest);
}

/// The sigmoid of [`scalar::swiglu_q16`], step by step.
#[inline]
#[target_feature(enable = "avx2")]
fn sigmoid_q16(x: __m256) -> __m256i {
    let number = |x| _mm256_set1_epi32(x);
    let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
    let size = cast(_mm256_mul_ps(size, _mm256_set1_ps(67_108_864.0)));
    let power = upper_half(size, number(SIGMOID.log2_e));
    let whole = _mm256_srli_epi32::<24>(power);
    let part = _mm256_slli_epi32::<7>(_mm256_and_si256(power, number(0xFF_FFFF)));
    let [cubic, square, linear] = SIGMOID.exp2.map(number);
    let u = _mm256_add_epi32(square, upper_half(cubic, part));
    let u = _mm256_add_epi32(linear, upper_half(u, part));
    let u = _mm256_add_epi32(number(1 << 30), upper_half(u, part));
    // Shifts by 32 and more leave nothing.
    let u = _mm256_srlv_epi32(u, whole);
    let below = _mm256_add_epi32(number(1 << 15), _mm256_srli_epi32::<15>(u));
    let upper = inverse(below);
    let lower = _mm256_sub_epi32(number(1 << 16), upper);
    let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps());
    _mm256_blendv_epi8(upper, lower, _mm256_castps_si256(negative))
}

/// `x as i32` of each, which are not negative.
#[inline]
#[target_feature(enable = "avx2")]
fn cast(x: __m256) -> __m256i {
    let small = _mm256_cvttps_epi32(x);
    let number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
    let large = _mm256_cmp_ps::<_CMP_GE_OQ>(x, _mm256_set1_ps(2_147_483_648.0));
    let largest = _mm256_set1_epi32(i32::MAX);
    let x = _mm256_blendv_epi8(small, largest, _mm256_castps_si256(large));
    _mm256_and_si256(x, number)
}

/// `a * b >> 32` of each.
#[inline]
#[target_feature(enable = "avx2")]
fn upper_half(a: __m256i, b: __m256i) -> __m256i {
    let even = _mm256_srli_epi64::<32>(_mm256_mul_epi32(a, b));
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
    _mm256_blend_epi32::<0b1010_1010>(even, odd)
}

/// `2^31 / x` of each, in `2^15..=2^16`, rounded down: the quotient has 53 bits, of which 17 are whole.
#[inline]
#[target_feature(enable = "avx2")]
fn inverse(x: __m256i) -> __m256i {
    let inverse = |x| {
        let x = _mm256_div_pd(_mm256_set1_pd(2_147_483_648.0), _mm256_cvtepi32_pd(x));
        _mm256_cvttpd_epi32(x)
    };
    let low = _mm256_castsi128_si256(inverse(_mm256_castsi256_si128(x)));
    _mm256_inserti128_si256::<1>(low, inverse(_mm256_extracti128_si256::<1>(x)))
}
