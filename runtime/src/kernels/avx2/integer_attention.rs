//! The loops of attention in integers.

mod sums;

use core::arch::x86_64::*;

use super::{Avx2, ask_ahead, filled, lines};
use crate::kernels::attention::{SCORE_FRACTION, ScoreScale};
use crate::kernels::scalar::{EXP2, Loops};
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};

/// Keys that share a query's loads.
const KEYS: usize = 8;

/// Values of a key that are multiplied together.
const CHUNK: usize = 16;

/// Values of a key of which two are multiplied together.
const NARROW: usize = 8;

impl Loops for Avx2 {
    #[inline(always)]
    fn largest(self, exponents: &[i8]) -> i32 {
        // SAFETY: `self` exists only where the features were found.
        unsafe { largest(exponents) }
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
        // SAFETY: as above.
        unsafe { scores(out, query, exponents, keys, values, scale) }
    }

    #[inline(always)]
    fn weights(self, x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { weights(x, exponents, most, most_exponent) }
    }

    #[inline(always)]
    fn weighted_sums(self, out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
        // SAFETY: as above.
        unsafe { sums::weighted_sums(out, weights, lead, values) }
    }
}

#[target_feature(enable = "avx2")]
fn largest(exponents: &[i8]) -> i32 {
    if exponents.is_empty() {
        return 0;
    }
    let mut few = [i8::MIN; 32];
    let last = exponents.last_chunk().unwrap_or_else(|| {
        copy(&mut few, exponents);
        &few
    });
    // SAFETY: the array is 32 readable bytes; the load needs no alignment.
    let mut most = unsafe { _mm256_loadu_si256(last.as_ptr().cast()) };
    for chunk in exponents.as_chunks::<32>().0 {
        // SAFETY: as above.
        most = _mm256_max_epi8(most, unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) });
    }
    let (low, high) = (
        _mm256_castsi256_si128(most),
        _mm256_extracti128_si256::<1>(most),
    );
    let pairs = _mm256_max_epi16(_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high));
    let (low, high) = (
        _mm256_castsi256_si128(pairs),
        _mm256_extracti128_si256::<1>(pairs),
    );
    // The instruction finds the smallest, and knows no signs.
    let below = _mm_sub_epi16(_mm_set1_epi16(i16::MAX), _mm_max_epi16(low, high));
    i32::from(i16::MAX) - (_mm_cvtsi128_si32(_mm_minpos_epu16(below)) & 0xFFFF)
}

#[target_feature(enable = "avx2")]
fn scores(
    out: &mut [i32],
    query: &[i16],
    exponents: &[i8],
    keys: &[i8],
    values: &[i8],
    scale: ScoreScale,
) -> i32 {
    let (n, width) = (exponents.len(), query.len());
    let (out, keys) = (part_mut(out, 0, n), part(keys, 0, n * width));
    assert!(
        out.len() == n && keys.len() == n * width && width.is_multiple_of(4),
        "each token has a score and a key of whole words"
    );
    let lines = lines(KEYS * width);
    let mut most = _mm256_set1_epi32(i32::MIN);
    let (groups, rest) = exponents.as_chunks::<KEYS>();
    let (mut key, mut value) = (keys.as_ptr(), values.as_ptr());
    for (out, exponents) in out.chunks_mut(KEYS).zip(groups) {
        ask_ahead(key, value, lines);
        let dots = match query.as_array() {
            // SAFETY: as many keys as exponents, of the query's width.
            Some(query) => unsafe { narrow_dots(query, key) },
            // SAFETY: as above.
            None => reduce(unsafe { products(query, key, width, KEYS - 1) }),
        };
        let scores = scaled(dots, exponents, scale);
        most = _mm256_max_epi32(most, scores);
        store(out, scores);
        key = key.wrapping_add(KEYS * width);
        value = value.wrapping_add(KEYS * width);
    }
    if let Some(last) = rest.last() {
        // It stands in for those that are missing.
        let mut exponents = [*last; KEYS];
        copy(&mut exponents, rest);
        // SAFETY: as above.
        let dots = unsafe { products(query, key, width, rest.len() - 1) };
        let scores = scaled(reduce(dots), &exponents, scale);
        most = _mm256_max_epi32(most, scores);
        store(&mut out[n - rest.len()..], scores);
    }
    let mut lanes = [0; LANES];
    store(&mut lanes, most);
    lanes.into_iter().fold(i32::MIN, i32::max)
}

/// The lanes of the dot products of a query with keys that lie `width` apart, up to the one whose index is `last`,
/// which stands in for those behind it.
///
/// # Safety
/// These keys are there and have as many values as the query, a multiple of four.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn products(query: &[i16], key: *const i8, width: usize, last: usize) -> [__m256i; KEYS] {
    let mut keys = [key; KEYS];
    for (i, key) in keys.iter_mut().enumerate() {
        *key = key.wrapping_add(i.min(last) * width);
    }
    let mut lanes = [_mm256_setzero_si256(); KEYS];
    let (chunks, rest) = query.as_chunks::<CHUNK>();
    let mut column = 0;
    for query in chunks {
        // SAFETY: the array is 32 readable bytes; the load needs no alignment.
        let query = unsafe { _mm256_loadu_si256(query.as_ptr().cast()) };
        for (lanes, key) in lanes.iter_mut().zip(keys) {
            // SAFETY: the caller knows that they are there; the load needs no alignment.
            let key = unsafe { _mm_loadu_si128(key.wrapping_add(column).cast()) };
            let product = _mm256_madd_epi16(query, _mm256_cvtepi8_epi16(key));
            *lanes = _mm256_add_epi32(*lanes, product);
        }
        column += CHUNK;
    }
    if !rest.is_empty() {
        let there = words_below(rest.len() / 2);
        // SAFETY: only values of `rest` are read; the load needs no alignment.
        let query = unsafe { _mm256_maskload_epi32(rest.as_ptr().cast(), there) };
        let there = _mm256_castsi256_si128(words_below(rest.len() / 4));
        for (lanes, key) in lanes.iter_mut().zip(keys) {
            // SAFETY: as above, and no others are read.
            let key = unsafe { _mm_maskload_epi32(key.wrapping_add(column).cast(), there) };
            let product = _mm256_madd_epi16(query, _mm256_cvtepi8_epi16(key));
            *lanes = _mm256_add_epi32(*lanes, product);
        }
    }
    lanes
}

/// The dot products of a query of eight values with eight keys.
///
/// # Safety
/// They lie there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn narrow_dots(query: &[i16; NARROW], key: *const i8) -> __m256i {
    // SAFETY: the array is 16 readable bytes; the load needs no alignment.
    let query = unsafe { _mm_loadu_si128(query.as_ptr().cast()) };
    let query = _mm256_broadcastsi128_si256(query);
    let mut pairs = [_mm256_setzero_si256(); KEYS / 2];
    for (i, pair) in pairs.iter_mut().enumerate() {
        let place = key.wrapping_add(2 * i * NARROW);
        // SAFETY: as the caller promises; the load needs no alignment.
        let keys = unsafe { _mm_loadu_si128(place.cast()) };
        *pair = _mm256_madd_epi16(query, _mm256_cvtepi8_epi16(keys));
    }
    let [a, b, c, d] = pairs;
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(reduce_halves(a, b, c, d), order)
}

/// Of each register the sum of its lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(lanes: [__m256i; KEYS]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = lanes;
    let (low, high) = (reduce_halves(a, b, c, d), reduce_halves(e, f, g, h));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    )
}

/// Of each half of four registers the sum of its lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce_halves(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}

/// Scores of these dot products.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled(dots: __m256i, exponents: &[i8; KEYS], scale: ScoreScale) -> __m256i {
    let multiplier = _mm256_set1_epi32(scale.multiplier);
    let even = _mm256_mul_epi32(dots, multiplier);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(dots), multiplier);
    let high = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
    let shift = _mm256_sub_epi32(_mm256_set1_epi32(scale.shift), widened(exponents));
    // From 32 on the instruction shifts as by 31.
    _mm256_srav_epi32(high, shift)
}

#[target_feature(enable = "avx2")]
fn weights(x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32) {
    let (most, most_exponent) = (_mm256_set1_epi32(most), _mm256_set1_epi32(most_exponent));
    let (mut sums, mut all) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for (x, exponents) in x.chunks_mut(LANES).zip(exponents.chunks(LANES)) {
        let there = words_below(x.len());
        let exponents = match exponents.as_array() {
            Some(exponents) => *exponents,
            None => filled(exponents),
        };
        // SAFETY: only numbers of `x` are read; the load needs no alignment.
        let score = unsafe { _mm256_maskload_epi32(x.as_ptr(), there) };
        let below = _mm256_sub_epi32(most, score);
        let place = _mm256_and_si256(below, _mm256_set1_epi32(EXP2.len() as i32 - 1));
        // SAFETY: the places are those of the table.
        let power = unsafe { _mm256_i32gather_epi32::<4>(EXP2.as_ptr().cast(), place) };
        // From 32 on the instruction leaves nothing, as it should.
        let whole = _mm256_srli_epi32::<{ SCORE_FRACTION as i32 }>(below);
        let power = _mm256_and_si256(_mm256_srlv_epi32(power, whole), there);
        sums = _mm256_add_epi32(sums, _mm256_srli_epi32::<10>(power));
        let shift = _mm256_sub_epi32(most_exponent, widened(&exponents));
        let weight = _mm256_srlv_epi32(power, shift);
        all = _mm256_or_si256(all, weight);
        store(x, weight);
    }
    let (mut sum_lanes, mut all_lanes) = ([0; LANES], [0; LANES]);
    store(&mut sum_lanes, sums);
    store(&mut all_lanes, all);
    let (mut sum, mut bits) = (0u32, 0);
    for (lane, all) in sum_lanes.into_iter().zip(all_lanes) {
        sum = sum.wrapping_add(lane.cast_unsigned());
        bits |= all.cast_unsigned();
    }
    (sum, bits)
}

/// Ones in the first `n` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn words_below(n: usize) -> __m256i {
    let places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), places)
}

#[inline]
#[target_feature(enable = "avx2")]
fn widened(exponents: &[i8; LANES]) -> __m256i {
    // SAFETY: the array is 8 readable bytes; the load needs no alignment.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(exponents.as_ptr().cast()) })
}

/// The first lanes, as many as there is room for.
#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [i32], x: __m256i) {
    if let Some(out) = out.first_chunk_mut::<LANES>() {
        // SAFETY: the array is 32 writable bytes; the store needs no alignment.
        return unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), x) };
    }
    let there = words_below(out.len());
    // SAFETY: only as many numbers are written as there are; the store needs no alignment.
    unsafe { _mm256_maskstore_epi32(out.as_mut_ptr(), there, x) };
}
