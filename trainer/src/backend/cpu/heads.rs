//! Causal attention of one head of one sequence.
//!
//! Queries are taken in blocks against all keys up to the block's last position, so scores exist
//! for one block at a time. Backward makes the probabilities again from the saved logarithm of the
//! sum of exponentials. Products are those of [`panels`] and [`outer`]: keys and values are packed
//! once per head.
//!
//! # Source
//! Dao 2023, algorithms 1 and 2, with one block of keys per block of queries.

use minigpt_runtime::{math, ops};

use super::buffer::scratch;
use super::outer::Pairs;
use super::rows::Rows;
use super::wide::wide;
use super::{outer, panels};

/// Queries of a block.
const BLOCK: usize = 32;

/// Queries, keys and values of a head, each `[T, HS]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qkv<'a> {
    pub(super) q: Rows<'a>,
    pub(super) k: Rows<'a>,
    pub(super) v: Rows<'a>,
}

/// `out[t] = sum over s <= t of p[t, s] v[s]`, `p[t] = softmax(q[t] k^T / sqrt(HS))`
///
/// # Shapes
/// `out` `[T, HS]`, `log_sum_exp` `[T]`.
pub(super) fn forward(out: &mut [f32], log_sum_exp: &mut [f32], qkv: Qkv<'_>) {
    let (size, n_time) = (qkv.q.size(), log_sum_exp.len());
    let sizes = [
        panels::packed_len(size, n_time),
        panels::packed_len(n_time, size),
        BLOCK.min(n_time) * n_time,
    ];
    scratch(sizes, |[keys, values, scores]| {
        pack_keys(keys, qkv.k, n_time);
        panels::pack_rows(values, qkv.v, n_time);
        for first in (0..n_time).step_by(BLOCK) {
            let last = n_time.min(first + BLOCK);
            let scores = &mut scores[..(last - first) * last];
            panels::multiply_rows(scores, qkv.q.skip(first), keys, size, last);
            let log_sum_exp = &mut log_sum_exp[first..last];
            wide(
                #[inline(always)]
                || probabilities(scores, log_sum_exp, first),
            );
            let out = &mut out[first * size..last * size];
            panels::multiply_rows(out, Rows::whole(scores, last), values, n_time, size);
        }
    });
}

fn score_scale(size: usize) -> f32 {
    1.0 / math::sqrt(size as f32)
}

/// Packs keys for the product that makes scores, times the scores' scale.
fn pack_keys(packed: &mut [f32], keys: Rows<'_>, n_time: usize) {
    panels::pack_rows_transposed(packed, keys, n_time);
    let scale = score_scale(keys.size());
    packed.iter_mut().for_each(|value| *value *= scale);
}

/// Softmax of each row over the keys up to its own position; the others become 0.
#[inline(always)]
fn probabilities(scores: &mut [f32], log_sum_exp: &mut [f32], first: usize) {
    let keys = first + log_sum_exp.len();
    for (i, (row, log_sum_exp)) in scores.chunks_exact_mut(keys).zip(log_sum_exp).enumerate() {
        let (row, future) = row.split_at_mut(first + i + 1);
        future.fill(0.0);
        let (largest, sum) = ops::exponentials(row);
        let scale = 1.0 / sum;
        for score in row.iter_mut() {
            *score *= scale;
        }
        *log_sum_exp = largest + math::ln(sum);
    }
}

/// What one query head's backward is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) d_out: Rows<'a>,
    pub(super) out: Rows<'a>,
    pub(super) log_sum_exp: &'a [f32],
}

/// Backward of [`forward`]: overwrites `d_q`, adds to `d_k` and `d_v`.
///
/// `dv += p^T d_out`; `ds = p (d_out v^T - sum(d_out out)) / sqrt(HS)`; `dq = ds k`; `dk += ds^T q`
///
/// # Shapes
/// `d_q`, `d_k`, `d_v` `[T, HS]`.
pub(super) fn backward(
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_v: &mut [f32],
    given: Given<'_>,
    qkv: Qkv<'_>,
) {
    let (size, n_time) = (qkv.q.size(), given.log_sum_exp.len());
    let (across, block) = (panels::packed_len(size, n_time), BLOCK.min(n_time) * n_time);
    let sizes = [
        across,
        across,
        panels::packed_len(n_time, size),
        block,
        block,
    ];
    scratch(sizes, |[scored_keys, values, keys, p, d_s]| {
        pack_keys(scored_keys, qkv.k, n_time);
        panels::pack_rows_transposed(values, qkv.v, n_time);
        panels::pack_rows(keys, qkv.k, n_time);
        for first in (0..n_time).step_by(BLOCK) {
            let last = n_time.min(first + BLOCK);
            let len = (last - first) * last;
            let (p, d_s) = (&mut p[..len], &mut d_s[..len]);
            let (q, d_out) = (qkv.q.skip(first), given.d_out.skip(first));
            panels::multiply_rows(p, q, scored_keys, size, last);
            panels::multiply_rows(d_s, d_out, values, size, last);
            wide(
                #[inline(always)]
                || scores_backward(p, d_s, given, first, last),
            );
            let for_values = Pairs { d_out: p, x: d_out };
            let for_keys = Pairs { d_out: d_s, x: q };
            outer::add(&mut d_v[..last * size], for_values, 0, last, None);
            outer::add(&mut d_k[..last * size], for_keys, 0, last, None);
            let d_q = &mut d_q[first * size..last * size];
            panels::multiply_rows(d_q, Rows::whole(d_s, last), keys, n_time, size);
        }
    });
}

/// From scores and `d_out v^T` to probabilities and the gradient of `q k^T`.
///
/// # Shapes
/// `p`, `d_s` `[keys - first, keys]`.
#[inline(always)]
fn scores_backward(p: &mut [f32], d_s: &mut [f32], given: Given<'_>, first: usize, keys: usize) {
    let scale = score_scale(given.out.size());
    let rows = p.chunks_exact_mut(keys).zip(d_s.chunks_exact_mut(keys));
    for (i, (p, d_s)) in rows.enumerate() {
        let t = first + i;
        let mean = ops::dot(given.d_out.row(t), given.out.row(t));
        let log_sum_exp = given.log_sum_exp[t];
        p[t + 1..].fill(0.0);
        d_s[t + 1..].fill(0.0);
        for (p, d_s) in p[..=t].iter_mut().zip(&mut d_s[..=t]) {
            *p = math::exp(*p - log_sum_exp);
            *d_s = *p * (*d_s - mean) * scale;
        }
    }
}
