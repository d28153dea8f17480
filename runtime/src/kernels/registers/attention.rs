//! Attention of one head over a cache of floats, in the order of [`crate::ops`].

use super::Registers;
use super::floats::{columns, rest};
use crate::math;
use crate::ops::{self, LANES};
use crate::parts::{copy, part};

/// Chunks of a head that are summed up together.
const WIDE: usize = 4;

/// See [`crate::kernels::Isa::attend_f32`]; `widen` reads the cache.
#[inline(always)]
pub(in crate::kernels) fn attend<R: Registers, T: Copy + Default>(
    isa: R,
    out: &mut [f32],
    scores: &mut [f32],
    query: &[f32],
    keys: &[T],
    values: &[T],
    widen: impl Fn(&[T; LANES]) -> [R::Floats; 2],
) {
    let head_size = query.len();
    let scale = isa.splat(1.0 / math::sqrt(head_size as f32));
    for (four, scores) in scores.chunks_mut(4).enumerate() {
        let dots = [0, 1, 2, 3].map(|i| match i < scores.len() {
            true => products(
                isa,
                query,
                part(keys, (4 * four + i) * head_size, head_size),
                &widen,
            ),
            false => isa.splat(0.0),
        });
        let mut scaled = [0.0; 4];
        isa.store(&mut scaled, isa.mul(columns(isa, dots), scale));
        copy(scores, &scaled);
    }
    ops::softmax(scores);
    let mut done = 0;
    while done < out.len() {
        let out = out.get_mut(done..).unwrap_or_default();
        let values = values.get(done..).unwrap_or_default();
        done += match out.len() {
            n if n >= WIDE * LANES => {
                weighted_sum::<R, T, WIDE>(isa, out, scores, values, head_size, &widen)
            }
            n if n >= 2 * LANES => {
                weighted_sum::<R, T, 2>(isa, out, scores, values, head_size, &widen)
            }
            _ => weighted_sum::<R, T, 1>(isa, out, scores, values, head_size, &widen),
        };
    }
}

/// The lanes of a dot product, 4 to 7 added to 0 to 3.
#[inline(always)]
fn products<R: Registers, T: Copy + Default>(
    isa: R,
    query: &[f32],
    key: &[T],
    widen: impl Fn(&[T; LANES]) -> [R::Floats; 2],
) -> R::Floats {
    let mut lanes = [isa.splat(0.0); 2];
    let mut add = |query: &[f32; LANES], key: &[T; LANES]| {
        let (query, key) = (isa.load(query), widen(key));
        lanes = [0, 1].map(|i| isa.add(lanes[i], isa.mul(query[i], key[i])));
    };
    let (query_chunks, key_chunks) = (query.as_chunks::<LANES>(), key.as_chunks::<LANES>());
    for (query, key) in query_chunks.0.iter().zip(key_chunks.0) {
        add(query, key);
    }
    if !query_chunks.1.is_empty() {
        // Lanes without a value get 0 * 0: they keep their sum to the bit.
        add(&rest(query), &rest(key));
    }
    isa.add(lanes[0], lanes[1])
}

/// `out[i] = sum_t(weights[t] * values[t, i])` for `i` up to `8 N`; returns that.
#[inline(always)]
fn weighted_sum<R: Registers, T: Copy + Default, const N: usize>(
    isa: R,
    out: &mut [f32],
    weights: &[f32],
    values: &[T],
    head_size: usize,
    widen: impl Fn(&[T; LANES]) -> [R::Floats; 2],
) -> usize {
    let n = out.len().min(N * LANES);
    let mut sums = [[isa.splat(0.0); 2]; N];
    for (row, weight) in values.chunks(head_size.max(1)).zip(weights) {
        let weight = isa.splat(*weight);
        let add = |sum: &mut [R::Floats; 2], value: &[T; LANES]| {
            let value = widen(value);
            *sum = [0, 1].map(|i| isa.add(sum[i], isa.mul(weight, value[i])));
        };
        match row.get(..N * LANES) {
            Some(row) if n == N * LANES => {
                for (sum, value) in sums.iter_mut().zip(row.as_chunks().0) {
                    add(sum, value);
                }
            }
            _ => {
                for (sum, value) in sums.iter_mut().zip(part(row, 0, n).chunks(LANES)) {
                    match value.as_array() {
                        Some(value) => add(sum, value),
                        None => add(sum, &rest(value)),
                    }
                }
            }
        }
    }
    for (out, sum) in out.chunks_mut(LANES).zip(sums) {
        let mut lanes = [[0.0; 4]; 2];
        isa.store(&mut lanes[0], sum[0]);
        isa.store(&mut lanes[1], sum[1]);
        copy(out, lanes.as_flattened());
    }
    n
}
