//! Keys and values of the tokens so far, and attention to them.

use half::f16;

use crate::config::Config;
use crate::kernels::Isa;
use crate::quant::nearest_f16;
use crate::{math, ops};

/// Keys or values of all layers, `[n_layer, n_ctx, n_kv]`.
#[derive(Debug)]
pub(crate) enum Cache<'a> {
    F32(&'a mut [f32]),
    /// Values beyond its range are stored as its largest, NaN as 0.
    F16(&'a mut [f16]),
}

impl Cache<'_> {
    pub(super) fn write(&mut self, start: usize, x: &[f32]) {
        match self {
            Self::F32(cache) => cache[start..start + x.len()].copy_from_slice(x),
            Self::F16(cache) => {
                for (cache, x) in cache[start..].iter_mut().zip(x) {
                    *cache = nearest_f16(*x);
                }
            }
        }
    }

    /// `len` values from `start` on, through `head` if they must be converted.
    fn read<'b>(&'b self, isa: Isa, start: usize, len: usize, head: &'b mut [f32]) -> &'b [f32] {
        match self {
            Self::F32(cache) => &cache[start..start + len],
            Self::F16(cache) => {
                isa.widen_f16(head, &cache[start..start + len]);
                head
            }
        }
    }
}

/// Attention of one token to those before it and itself, all heads.
///
/// `out[h] = sum_t softmax_t(q[h] . k[t, g] / sqrt(HS)) v[t, g]`, `g` the group of head `h`.
///
/// # Shapes
/// `out`, `queries` `[C]`; `keys`, `values` `[n, n_kv]` from value `row` on; `scores` `[n]`; `head` `[HS]`, or
/// nothing where the cache is `f32`.
pub(super) fn attend(
    isa: Isa,
    config: &Config,
    out: &mut [f32],
    queries: &[f32],
    (keys, values): (&Cache<'_>, &Cache<'_>),
    row: usize,
    scores: &mut [f32],
    head: &mut [f32],
) {
    let (head_size, n_kv) = (config.head_size(), config.n_kv());
    let scale = 1.0 / math::sqrt(head_size as f32);
    let group = config.n_head() / config.n_head_kv();
    let heads = queries
        .chunks_exact(head_size)
        .zip(out.chunks_exact_mut(head_size));
    for (h, (query, out)) in heads.enumerate() {
        let column = row + h / group * head_size;
        for (t, score) in scores.iter_mut().enumerate() {
            *score = ops::dot(query, keys.read(isa, column + t * n_kv, head_size, head)) * scale;
        }
        ops::softmax(scores);
        out.fill(0.0);
        for (t, probability) in scores.iter().enumerate() {
            let value = values.read(isa, column + t * n_kv, head_size, head);
            ops::axpy(out, *probability, value);
        }
    }
}
