//! Sums of values with weights.

use core::arch::x86_64::*;

use super::{NARROW, store, words_below};
use crate::ops::LANES;
use crate::parts::part;

/// Registers of the values of two tokens that are summed up together.
const WIDE: usize = 4;

/// Columns of such a register.
const COLUMNS: usize = 16;

/// See [`crate::kernels::scalar::Loops::weighted_sums`].
#[target_feature(enable = "avx2")]
pub(super) fn weighted_sums(out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
    let width = out.len();
    let values = part(values, 0, weights.len() * width);
    assert!(
        values.len() == weights.len() * width
            && weights.len().is_multiple_of(2)
            && width.is_multiple_of(4),
        "each pair of tokens has values of whole words"
    );
    if let Some(out) = out.as_mut_array() {
        // SAFETY: the length was checked.
        return unsafe { sum_narrow(out, weights, lead, values.as_ptr()) };
    }
    let mut column = 0;
    while column < width {
        let (out, values) = (&mut out[column..], values.as_ptr().wrapping_add(2 * column));
        let columns = out.len().min(WIDE * COLUMNS);
        let out = &mut out[..columns];
        match columns.div_ceil(COLUMNS) {
            // SAFETY: each pair of tokens has values of `width` columns, and so many are left of them.
            1 => unsafe { sum_columns::<1>(out, weights, lead, values, width) },
            // SAFETY: as above.
            2 => unsafe { sum_columns::<2>(out, weights, lead, values, width) },
            // SAFETY: as above.
            3 => unsafe { sum_columns::<3>(out, weights, lead, values, width) },
            // SAFETY: as above.
            _ => unsafe { sum_columns::<WIDE>(out, weights, lead, values, width) },
        }
        column += columns;
    }
}

/// [`weighted_sums`] of up to `N` registers of columns.
///
/// # Safety
/// Where `values` begin lie those of these columns of a pair of tokens, `2 * width` bytes later those of the next, and
/// so on for each two of `weights`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum_columns<const N: usize>(
    out: &mut [i32],
    weights: &[i32],
    lead: u32,
    values: *const i8,
    width: usize,
) {
    let there = words_below((out.len() - (N - 1) * COLUMNS) / 2);
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
    let mut row = values;
    let (eights, rest) = weights.as_chunks::<LANES>();
    for weights in eights {
        // SAFETY: the array is 32 readable bytes; the load needs no alignment.
        let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
        let pairs = pairs(weights, lead);
        for i in 0..LANES as i32 / 2 {
            let pair = _mm256_permutevar8x32_epi32(pairs, _mm256_set1_epi32(2 * i));
            // SAFETY: as the caller promises.
            unsafe { add_products(&mut sums, row, pair, there) };
            row = row.wrapping_add(2 * width);
        }
    }
    let left = words_below(rest.len());
    // SAFETY: only numbers of `rest` are read; the load needs no alignment.
    let last = unsafe { _mm256_maskload_epi32(rest.as_ptr(), left) };
    let pairs = pairs(last, lead);
    for i in 0..rest.len() as i32 / 2 {
        let pair = _mm256_permutevar8x32_epi32(pairs, _mm256_set1_epi32(2 * i));
        // SAFETY: as above.
        unsafe { add_products(&mut sums, row, pair, there) };
        row = row.wrapping_add(2 * width);
    }
    for (out, [even, odd]) in out.chunks_mut(COLUMNS).zip(sums) {
        let low = _mm256_unpacklo_epi32(even, odd);
        let high = _mm256_unpackhi_epi32(even, odd);
        store(out, _mm256_permute2x128_si256::<0x20>(low, high));
        let later = out.get_mut(LANES..).unwrap_or_default();
        store(later, _mm256_permute2x128_si256::<0x31>(low, high));
    }
}

/// [`weighted_sums`] of eight columns, for two pairs of tokens at a time.
///
/// # Safety
/// Where `values` begin lie those of all pairs.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum_narrow(out: &mut [i32; NARROW], weights: &[i32], lead: u32, values: *const i8) {
    let mut sums = [[_mm256_setzero_si256(); 2]];
    let mut rows = values;
    for weights in weights.chunks(LANES) {
        let left = words_below(weights.len());
        // SAFETY: only numbers of `weights` are read; the load needs no alignment.
        let eight = unsafe { _mm256_maskload_epi32(weights.as_ptr(), left) };
        let pairs = pairs(eight, lead);
        for i in 0..weights.len().div_ceil(4) {
            let order = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
            let order = _mm256_add_epi32(order, _mm256_set1_epi32(4 * i as i32));
            let two = _mm256_permutevar8x32_epi32(pairs, order);
            let there = words_below((weights.len() - 4 * i) / 2 * (NARROW / 2));
            // SAFETY: as the caller promises.
            unsafe { add_products(&mut sums, rows, two, there) };
            rows = rows.wrapping_add(4 * NARROW);
        }
    }
    let [even, odd] = sums[0].map(|x| {
        let (low, high) = (_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        _mm_add_epi32(low, high)
    });
    let (low, high) = (_mm_unpacklo_epi32(even, odd), _mm_unpackhi_epi32(even, odd));
    store(out, _mm256_set_m128i(high, low));
}

/// Adds the values of a pair of tokens times the pair's weights: those of even columns, and those of odd ones. Of the
/// last register the words that are `there`.
///
/// # Safety
/// The other registers and these words lie there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_products<const N: usize>(
    sums: &mut [[__m256i; 2]; N],
    row: *const i8,
    pair: __m256i,
    there: __m256i,
) {
    for (i, [even, odd]) in sums.iter_mut().enumerate() {
        let place = row.wrapping_add(2 * i * COLUMNS);
        let values = if i + 1 < N {
            // SAFETY: as the caller promises; the load needs no alignment.
            unsafe { _mm256_loadu_si256(place.cast()) }
        } else {
            // SAFETY: as above.
            unsafe { _mm256_maskload_epi32(place.cast(), there) }
        };
        let lower = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(values));
        let upper = _mm256_srai_epi16::<8>(values);
        *even = _mm256_add_epi32(*even, _mm256_madd_epi16(lower, pair));
        *odd = _mm256_add_epi32(*odd, _mm256_madd_epi16(upper, pair));
    }
}

/// In each lane of 64 bits the upper 15 of the 31 bits of two weights times `2^lead`.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(weights: __m256i, lead: u32) -> __m256i {
    let full = _mm256_sll_epi32(weights, _mm_cvtsi32_si128(lead.cast_signed()));
    let upper = _mm256_srli_epi32::<16>(full);
    _mm256_or_si256(upper, _mm256_srli_epi64::<16>(upper))
}
