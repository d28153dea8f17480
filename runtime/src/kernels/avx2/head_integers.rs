//! Queries, keys and values as integers with an exponent a head.

use core::arch::x86_64::*;

use super::{filled, load};
use crate::kernels::attention::{KEPT_BITS, Row};
use crate::kernels::scalar::exponent_and_factor;
use crate::math::ROUND;
use crate::ops::LANES;
use crate::parts::{copy, part_mut};

/// See [`crate::kernels::Isa::integers`].
#[target_feature(enable = "avx2")]
pub(super) fn integers(
    out: &mut [i16],
    exponents: &mut [i8],
    x: &[f32],
    head_size: usize,
    bits: i32,
) {
    let width = out.len() / exponents.len().max(1);
    let heads = out.chunks_exact_mut(width.max(1)).zip(exponents);
    for ((out, exponent), x) in heads.zip(x.chunks_exact(head_size.max(1))) {
        let scale = Scale::of(x, bits);
        *exponent = scale.exponent as i8;
        let mut rest = x;
        let (chunks, last) = out.as_chunks_mut();
        for out in chunks {
            store(out, eight(&mut rest, scale));
        }
        if !last.is_empty() {
            let mut integers = [0; LANES];
            store(&mut integers, eight(&mut rest, scale));
            copy(last, &integers);
        }
    }
}

/// See [`crate::kernels::Isa::keep`].
#[target_feature(enable = "avx2")]
pub(super) fn keep(row: Row<'_>, x: &[f32]) {
    for (i, x) in x.chunks_exact(row.head_size.max(1)).enumerate() {
        let scale = Scale::of(x, KEPT_BITS);
        part_mut(row.exponents, i * row.n_ctx, 1).fill(scale.exponent as i8);
        let start = i * row.n_ctx * row.width;
        let mut rest = x;
        for first in (0..row.width).step_by(LANES) {
            let eight = eight(&mut rest, scale);
            let (bytes, mut integers) = (_mm_packs_epi16(eight, eight), [0i8; LANES]);
            // SAFETY: the array is 8 writable bytes; the store needs no alignment.
            unsafe { _mm_storel_epi64(integers.as_mut_ptr().cast(), bytes) };
            // Whole words.
            let n = LANES.min(row.width - first);
            if row.in_pairs {
                let out = row
                    .integers
                    .get_mut(start + 2 * first..)
                    .unwrap_or_default();
                let pairs = integers.as_chunks::<2>().0.iter().take(n / 2);
                for (out, pair) in out.chunks_mut(4).zip(pairs) {
                    if let Some(out) = out.first_chunk_mut() {
                        *out = *pair;
                    }
                }
            } else {
                let out = part_mut(row.integers, start + first, n);
                match out.as_mut_array() {
                    Some(out) => *out = integers,
                    None => copy(out, &integers),
                }
            }
        }
    }
}

/// How values of a head become integers.
#[derive(Clone, Copy)]
struct Scale {
    exponent: i32,
    factor: f32,
    /// Integers are below this, and not below its negative.
    limit: i32,
}

impl Scale {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(x: &[f32], bits: i32) -> Self {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut lanes = _mm256_setzero_si256();
        for x in chunks {
            lanes = _mm256_max_epi32(lanes, magnitudes(load(x)));
        }
        lanes = _mm256_max_epi32(lanes, magnitudes(load(&filled(rest))));
        let mut magnitudes = [0u32; LANES];
        // SAFETY: the array is 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(magnitudes.as_mut_ptr().cast(), lanes) };
        let largest = magnitudes.into_iter().fold(0, u32::max);
        let (exponent, factor) = exponent_and_factor(largest, bits);
        Self {
            exponent,
            factor,
            limit: 1 << bits,
        }
    }
}

/// The bits of values without their sign; 0 for NaN.
#[inline]
#[target_feature(enable = "avx2")]
fn magnitudes(x: __m256) -> __m256i {
    let number = _mm256_cmp_ps::<_CMP_ORD_Q>(x, x);
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
    _mm256_castps_si256(_mm256_and_ps(number, magnitude))
}

/// Takes eight values from `x`, or what is left and zeros, and makes them integers of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn eight(x: &mut &[f32], scale: Scale) -> __m128i {
    let values = match x.split_first_chunk() {
        Some((chunk, rest)) => {
            *x = rest;
            load(chunk)
        }
        None => {
            let last = filled(x);
            *x = &[];
            load(&last)
        }
    };
    let scaled = _mm256_mul_ps(values, _mm256_set1_ps(scale.factor));
    let scaled = _mm256_and_ps(scaled, _mm256_cmp_ps::<_CMP_ORD_Q>(scaled, scaled));
    let rounded = _mm256_castps_si256(_mm256_add_ps(scaled, _mm256_set1_ps(ROUND)));
    let integers = _mm256_sub_epi32(rounded, _mm256_set1_epi32(ROUND.to_bits().cast_signed()));
    let integers = _mm256_min_epi32(integers, _mm256_set1_epi32(scale.limit - 1));
    let integers = _mm256_max_epi32(integers, _mm256_set1_epi32(-scale.limit));
    _mm_packs_epi32(
        _mm256_castsi256_si128(integers),
        _mm256_extracti128_si256::<1>(integers),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [i16; LANES], x: __m128i) {
    // SAFETY: the array is 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), x) };
}
