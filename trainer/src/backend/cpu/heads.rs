//! Causal attention of one head of one sequence.
//!
//! Queries are taken in blocks against all keys up to the block's last position, so scores exist
//! for one block at a time. Backward makes the probabilities again from the saved logarithm of the
//! sum of exponentials.
//!
//! # Source
//! Dao 2023, algorithms 1 and 2, with one block of keys per block of queries.

use minigpt_runtime::{math, ops};

use super::buffer::scratch;
use super::gemm::{Matrix, Write, gemm};
use super::wide::wide;

/// Queries of a block.
const BLOCK: usize = 32;

/// Rows of a head inside the rows of its sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    size: usize,
}

impl<'a> Rows<'a> {
    /// Columns `first..first + size` of rows of `stride` numbers.
    pub(super) fn new(data: &'a [f32], first: usize, size: usize, stride: usize) -> Self {
        Self {
            data: &data[first..],
            stride,
            size,
        }
    }

    fn part(self, first: usize, n: usize) -> Matrix<'a> {
        Matrix::new(&self.data[first * self.stride..], n, self.size, self.stride)
    }

    fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..i * self.stride + self.size]
    }
}

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
    let (size, n_time) = (qkv.q.size, log_sum_exp.len());
    scratch([BLOCK * n_time], |[scores]| {
        for first in (0..n_time).step_by(BLOCK) {
            let n = BLOCK.min(n_time - first);
            let keys = first + n;
            let scores = &mut scores[..n * keys];
            let k = qkv.k.part(0, keys).transposed();
            let q = qkv.q.part(first, n);
            gemm(scores, keys, q, k, score_scale(size), Write::Over);
            let log_sum_exp = &mut log_sum_exp[first..keys];
            wide(
                #[inline(always)]
                || probabilities(scores, log_sum_exp, first),
            );
            let p = Matrix::new(scores, n, keys, keys);
            let out = &mut out[first * size..keys * size];
            gemm(out, size, p, qkv.v.part(0, keys), 1.0, Write::Over);
        }
    });
}

fn score_scale(size: usize) -> f32 {
    1.0 / math::sqrt(size as f32)
}

/// Softmax of each row over the keys up to its own position; the others become 0.
#[inline(always)]
fn probabilities(scores: &mut [f32], log_sum_exp: &mut [f32], first: usize) {
    let keys = first + log_sum_exp.len();
    for (i, (row, log_sum_exp)) in scores.chunks_exact_mut(keys).zip(log_sum_exp).enumerate() {
        let (row, future) = row.split_at_mut(first + i + 1);
        future.fill(0.0);
        let largest = ops::max(row);
        for score in row.iter_mut() {
            *score = math::exp(*score - largest);
        }
        let sum = ops::sum(row);
        for score in row.iter_mut() {
            *score *= 1.0 / sum;
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
    let (size, n_time) = (qkv.q.size, given.log_sum_exp.len());
    scratch([BLOCK * n_time, BLOCK * n_time], |[p, d_s]| {
        for first in (0..n_time).step_by(BLOCK) {
            let n = BLOCK.min(n_time - first);
            let keys = first + n;
            let (p, d_s) = (&mut p[..n * keys], &mut d_s[..n * keys]);
            let (q, d_out) = (qkv.q.part(first, n), given.d_out.part(first, n));
            let (k, v) = (qkv.k.part(0, keys), qkv.v.part(0, keys));
            gemm(p, keys, q, k.transposed(), score_scale(size), Write::Over);
            gemm(d_s, keys, d_out, v.transposed(), 1.0, Write::Over);
            wide(
                #[inline(always)]
                || scores_backward(p, d_s, given, first, n),
            );
            let (p, d_s) = (
                Matrix::new(p, n, keys, keys),
                Matrix::new(d_s, n, keys, keys),
            );
            let (d_k, d_v) = (&mut d_k[..keys * size], &mut d_v[..keys * size]);
            gemm(d_v, size, p.transposed(), d_out, 1.0, Write::Add);
            gemm(d_k, size, d_s.transposed(), q, 1.0, Write::Add);
            let d_q = &mut d_q[first * size..keys * size];
            gemm(d_q, size, d_s, k, 1.0, Write::Over);
        }
    });
}

/// From scores and `d_out v^T` to probabilities and the gradient of `q k^T`.
///
/// # Shapes
/// `p`, `d_s` `[n, first + n]`.
#[inline(always)]
fn scores_backward(p: &mut [f32], d_s: &mut [f32], given: Given<'_>, first: usize, n: usize) {
    let (keys, scale) = (first + n, score_scale(given.out.size));
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
