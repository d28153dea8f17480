//! Attention in integers: the weights of the values. What else there is gains little from longer registers.

use core::arch::x86_64::*;

use super::{Avx512, lanes_below};
use crate::kernels::attention::{SCORE_FRACTION, ScoreScale};
use crate::kernels::scalar::{EXP2, Loops};

/// Scores of a register.
const LANES: usize = 16;

impl Loops for Avx512 {
    #[inline(always)]
    fn largest(self, exponents: &[i8]) -> i32 {
        self.avx2.largest(exponents)
    }

    #[inline(always)]
    fn scores(
        self,
        out: &mut [i32],
        query: &[i16],
        exponents: &[i8],
        keys: &[i8],
        values: &[i8],
        scale: ScoreScale,
    ) -> i32 {
        self.avx2.scores(out, query, exponents, keys, values, scale)
    }

    #[inline(always)]
    fn weights(self, x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32) {
        // SAFETY: `self` exists only where the features were found.
        unsafe { weights(x, exponents, most, most_exponent) }
    }

    #[inline(always)]
    fn weighted_sums(self, out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
        self.avx2.weighted_sums(out, weights, lead, values);
    }
}

/// With the table of powers in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn weights(x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32) {
    let mut table = [_mm512_setzero_si512(); EXP2.len() / LANES];
    for (table, powers) in table.iter_mut().zip(EXP2.as_chunks::<LANES>().0) {
        // SAFETY: the array is 64 readable bytes; the load needs no alignment.
        *table = unsafe { _mm512_loadu_si512(powers.as_ptr().cast()) };
    }
    let (most, most_exponent) = (_mm512_set1_epi32(most), _mm512_set1_epi32(most_exponent));
    let (mut sums, mut all) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (x, exponents) in x.chunks_mut(LANES).zip(exponents.chunks(LANES)) {
        let there = lanes_below(x.len().min(exponents.len())) as u16;
        // SAFETY: only numbers of `x` are read; the load needs no alignment.
        let score = unsafe { _mm512_maskz_loadu_epi32(there, x.as_ptr()) };
        // SAFETY: only exponents that are there are read; the load needs no alignment.
        let exponents = unsafe { _mm_maskz_loadu_epi8(there, exponents.as_ptr()) };
        let below = _mm512_sub_epi32(most, score);
        // From 32 on the instruction leaves nothing, as it should.
        let whole = _mm512_srli_epi32::<SCORE_FRACTION>(below);
        let power = _mm512_maskz_srlv_epi32(there, power(&table, below), whole);
        sums = _mm512_add_epi32(sums, _mm512_srli_epi32::<10>(power));
        let shift = _mm512_sub_epi32(most_exponent, _mm512_cvtepi8_epi32(exponents));
        let weight = _mm512_srlv_epi32(power, shift);
        all = _mm512_or_si512(all, weight);
        // SAFETY: only numbers of `x` are written; the store needs no alignment.
        unsafe { _mm512_mask_storeu_epi32(x.as_mut_ptr(), there, weight) };
    }
    let (sum, all) = (_mm512_reduce_add_epi32(sums), _mm512_reduce_or_epi32(all));
    (sum.cast_unsigned(), all.cast_unsigned())
}

/// What the lower 7 bits of each lane choose of the table: an instruction looks at 5 of them.
#[inline]
#[target_feature(enable = "avx512f")]
fn power(table: &[__m512i; EXP2.len() / LANES], below: __m512i) -> __m512i {
    let [a, b, c, d, e, f, g, h] = *table;
    let bit = |bit| _mm512_test_epi32_mask(below, _mm512_set1_epi32(bit));
    let (sixth, seventh) = (bit(32), bit(64));
    let lower = _mm512_permutex2var_epi32(a, below, b);
    let lower = _mm512_mask_blend_epi32(sixth, lower, _mm512_permutex2var_epi32(c, below, d));
    let upper = _mm512_permutex2var_epi32(e, below, f);
    let upper = _mm512_mask_blend_epi32(sixth, upper, _mm512_permutex2var_epi32(g, below, h));
    _mm512_mask_blend_epi32(seventh, lower, upper)
}
