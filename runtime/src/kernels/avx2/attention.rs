//! Attention of one head over a cache of floats, in the order of [`crate::ops`].

use core::arch::x86_64::*;

use half::f16;

use super::{ask_ahead, filled, lines, load, load_f16, reduce_four, store};
use crate::math;
use crate::ops::{self, LANES};
use crate::parts::{copy, part};

/// Registers of a head that are summed up together.
const WIDE: usize = 8;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_f32(
    out: &mut [f32],
    scores: &mut [f32],
    query: &[f32],
    keys: &[f32],
    values: &[f32],
) {
    attend(out, scores, query, keys, values, |x| load(x));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_f16(
    out: &mut [f32],
    scores: &mut [f32],
    query: &[f32],
    keys: &[f16],
    values: &[f16],
) {
    attend(out, scores, query, keys, values, |x| load_f16(x));
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend<T: Copy + Default>(
    out: &mut [f32],
    scores: &mut [f32],
    query: &[f32],
    keys: &[T],
    values: &[T],
    widen: impl Fn(&[T; LANES]) -> __m256,
) {
    let head_size = query.len();
    match head_size {
        8 => dots::<T, 1>(scores, query, keys, values, &widen),
        16 => dots::<T, 2>(scores, query, keys, values, &widen),
        32 => dots::<T, 4>(scores, query, keys, values, &widen),
        64 => dots::<T, 8>(scores, query, keys, values, &widen),
        _ => dots::<T, 0>(scores, query, keys, values, &widen),
    }
    softmax(scores);
    let mut columns = 0;
    while columns < out.len() {
        let out = &mut out[columns..];
        let values = values.get(columns..).unwrap_or_default();
        columns += match out.len() {
            n if n >= WIDE * LANES => {
                weighted_sum::<T, WIDE>(out, scores, values, head_size, &widen)
            }
            n if n >= 4 * LANES => weighted_sum::<T, 4>(out, scores, values, head_size, &widen),
            n if n >= 2 * LANES => weighted_sum::<T, 2>(out, scores, values, head_size, &widen),
            _ => weighted_sum::<T, 1>(out, scores, values, head_size, &widen),
        };
    }
}

/// `scores[t] = query . keys[t] / sqrt(HS)`, where a head has `N` eights of values; for 0, any number of values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<T: Copy + Default, const N: usize>(
    scores: &mut [f32],
    query: &[f32],
    keys: &[T],
    values: &[T],
    widen: impl Fn(&[T; LANES]) -> __m256,
) {
    let head_size = query.len();
    let scale = _mm_set1_ps(1.0 / math::sqrt(head_size as f32));
    let lines = lines(4 * head_size * size_of::<T>());
    let mut wide = [_mm256_setzero_ps(); N];
    for (wide, query) in wide.iter_mut().zip(query.as_chunks().0) {
        *wide = load(query);
    }
    let (fours, rest) = scores.as_chunks_mut::<4>();
    let n_fours = fours.len();
    let size = head_size.max(1);
    let cache = keys.chunks(4 * size).zip(values.chunks(4 * size));
    for (scores, (keys, values)) in fours.iter_mut().zip(cache) {
        ask_ahead(keys.as_ptr().cast(), values.as_ptr().cast(), lines);
        let mut lanes = [_mm256_setzero_ps(); 4];
        if N > 0 {
            let keys = keys.as_chunks().0.chunks_exact(N.max(1));
            for (lanes, key) in lanes.iter_mut().zip(keys) {
                for (query, key) in wide.iter().zip(key) {
                    *lanes = _mm256_add_ps(*lanes, _mm256_mul_ps(*query, widen(key)));
                }
            }
        } else {
            for (lanes, key) in lanes.iter_mut().zip(keys.chunks_exact(size)) {
                *lanes = products(query, key, &widen);
            }
        }
        store(scores, _mm_mul_ps(reduce_four(lanes), scale));
    }
    let mut lanes = [_mm256_setzero_ps(); 4];
    let keys = keys.chunks_exact(size).skip(4 * n_fours);
    for (lanes, key) in lanes.iter_mut().zip(keys) {
        *lanes = products(query, key, &widen);
    }
    let mut last = [0.0; 4];
    store(&mut last, _mm_mul_ps(reduce_four(lanes), scale));
    copy(rest, &last);
}

/// The lanes of a dot product.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn products<T: Copy + Default>(
    query: &[f32],
    key: &[T],
    widen: impl Fn(&[T; LANES]) -> __m256,
) -> __m256 {
    let (query, query_rest) = query.as_chunks::<LANES>();
    let (key, key_rest) = key.as_chunks::<LANES>();
    let mut lanes = _mm256_setzero_ps();
    for (query, key) in query.iter().zip(key) {
        lanes = _mm256_add_ps(lanes, _mm256_mul_ps(load(query), widen(key)));
    }
    if !query_rest.is_empty() {
        // Lanes without a value get 0 * 0: they keep their sum to the bit.
        let (query, key) = (filled(query_rest), filled(key_rest));
        lanes = _mm256_add_ps(lanes, _mm256_mul_ps(load(&query), widen(&key)));
    }
    lanes
}

/// [`ops::softmax`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn softmax(x: &mut [f32]) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut most = _mm256_set1_ps(f32::NEG_INFINITY);
    for x in chunks {
        // Of NaN and a number the second operand is taken: NaN is passed over.
        most = _mm256_max_ps(load(x), most);
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: the array is 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), most) };
    let largest = ops::max(&lanes).max(ops::max(rest));
    for value in x.iter_mut() {
        *value = math::exp(*value - largest);
    }
    let scale = 1.0 / ops::sum(x);
    for value in x.iter_mut() {
        *value *= scale;
    }
}

/// `out[i] = sum_t(weights[t] * values[t, i])` for `i` up to `8 N`; returns that.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weighted_sum<T: Copy + Default, const N: usize>(
    out: &mut [f32],
    weights: &[f32],
    values: &[T],
    head_size: usize,
    widen: impl Fn(&[T; LANES]) -> __m256,
) -> usize {
    let n = out.len().min(N * LANES);
    let mut sums = [_mm256_setzero_ps(); N];
    let rows = values.chunks(head_size.max(1)).zip(weights);
    for (row, weight) in rows {
        let weight = _mm256_set1_ps(*weight);
        let (chunks, _) = row.as_chunks();
        match chunks.first_chunk::<N>() {
            Some(row) if n == N * LANES => {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(weight, widen(value)));
                }
            }
            _ => {
                for (sum, value) in sums.iter_mut().zip(part(row, 0, n).chunks(LANES)) {
                    let value = match value.as_array() {
                        Some(value) => widen(value),
                        None => widen(&filled(value)),
                    };
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(weight, value));
                }
            }
        }
    }
    for (out, sum) in out.chunks_mut(LANES).zip(sums) {
        let (low, high) = (_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let mut lanes = [[0.0; 4]; 2];
        store(&mut lanes[0], low);
        store(&mut lanes[1], high);
        copy(out, lanes.as_flattened());
    }
    n
}
