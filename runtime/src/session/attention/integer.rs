//! Attention over a cache of 8-bit integers, in integers.
//!
//! `value = integer * 2^exponent`, with one exponent for a token's keys of a head and one for its values.
//! Scores are powers of 2 with a fixed point and stay integers up to the weights of the values, so a core
//! without floating point pays for two conversions a head and not for every token.

use core::ops::Range;

use super::Place;
use crate::config::Config;
use crate::kernels::{Attention, BaseScale, Isa};
use crate::parts::{copy, part, part_mut};

/// Bits of a key or value without its sign.
const BITS: i32 = 7;

/// How the integers of one layer lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheShape {
    pub(crate) n_layer: usize,
    /// Tokens, rounded up to pairs.
    pub(crate) n_ctx: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) head_size: usize,
    /// `head_size` filled up to whole words.
    pub(crate) width: usize,
}

impl CacheShape {
    /// For a context of `n_ctx` tokens.
    pub(crate) const fn new(config: &Config, n_ctx: usize) -> Self {
        let head_size = config.head_size();
        Self {
            n_layer: config.n_layer(),
            n_ctx: n_ctx.next_multiple_of(2),
            n_head_kv: config.n_head_kv(),
            head_size,
            width: head_size.next_multiple_of(4),
        }
    }

    /// Integers of all keys.
    pub(crate) const fn integers(&self) -> u64 {
        self.exponents() * self.width as u64
    }

    /// Bits of a query without its sign: as many as leave products with keys below `2^30`.
    const fn query_bits(&self) -> i32 {
        let sum_bits = usize::BITS - self.width.leading_zeros();
        let bits = 30 - BITS - sum_bits as i32;
        if bits < 15 { bits } else { 15 }
    }

    /// Exponents of all keys.
    pub(crate) const fn exponents(&self) -> u64 {
        self.n_layer as u64 * self.n_head_kv as u64 * self.n_ctx as u64
    }
}

/// A cache of integers.
#[derive(Debug)]
pub(crate) struct IntegerCache<'a> {
    pub(crate) shape: CacheShape,
    /// `[n_layer, n_head_kv, n_ctx, width]`
    pub(crate) keys: &'a mut [i8],
    /// `[n_layer, n_head_kv, n_ctx / 2, width / 2, 2 tokens, 2]`: what two tokens have in a pair of columns is one
    /// word, for instructions that multiply pairs.
    pub(crate) values: &'a mut [i8],
    /// `[n_layer, n_head_kv, n_ctx]`
    pub(crate) key_exponents: &'a mut [i8],
    /// The same.
    pub(crate) value_exponents: &'a mut [i8],
    /// Queries of a token, or its keys or its values on their way into the cache, `[n_head, width]`.
    pub(crate) heads: &'a mut [i16],
    /// `[n_head]`
    pub(crate) head_exponents: &'a mut [i8],
    /// `[n_ctx]`
    pub(crate) scores: &'a mut [i32],
    /// `[width]`
    pub(crate) sums: &'a mut [i32],
    /// `log2(e) / sqrt(HS)`.
    pub(crate) scale: BaseScale,
}

impl IntegerCache<'_> {
    pub(super) fn write(&mut self, isa: Isa, place: Place, keys: &[f32], values: &[f32]) {
        let CacheShape {
            n_ctx,
            n_head_kv,
            head_size,
            width,
            ..
        } = self.shape;
        let heads = part_mut(self.heads, 0, n_head_kv * width);
        let exponents = part_mut(self.head_exponents, 0, n_head_kv);
        let first = place.layer * n_head_kv * n_ctx + place.position;
        isa.integers(heads, exponents, keys, head_size, BITS);
        let mut at = first;
        for (head, exponent) in heads.chunks_exact(width.max(1)).zip(&*exponents) {
            part_mut(self.key_exponents, at, 1).fill(*exponent);
            let row = part_mut(self.keys, at * width, width);
            for (out, integer) in row.iter_mut().zip(head) {
                *out = *integer as i8;
            }
            at += n_ctx;
        }
        isa.integers(heads, exponents, values, head_size, BITS);
        let mut at = first;
        for (head, exponent) in heads.chunks_exact(width.max(1)).zip(&*exponents) {
            part_mut(self.value_exponents, at, 1).fill(*exponent);
            let odd = at & 1;
            let pair = part_mut(self.values, (at - odd) * width, 2 * width);
            let words = pair.as_chunks_mut::<4>().0.iter_mut();
            for (word, columns) in words.zip(head.as_chunks::<2>().0) {
                let columns = columns.map(|integer| integer as i8);
                copy(part_mut(word, 2 * odd, 2), &columns);
            }
            at += n_ctx;
        }
    }

    /// Makes the queries of a token, `[n_head, HS]`, the ones that [`Self::attend`] asks with.
    pub(super) fn ask(&mut self, isa: Isa, queries: &[f32]) {
        let CacheShape { head_size, .. } = self.shape;
        let bits = self.shape.query_bits();
        isa.integers(self.heads, self.head_exponents, queries, head_size, bits);
    }

    /// See [`super::Cache::attend`].
    pub(super) fn attend(
        &mut self,
        isa: Isa,
        place: Place,
        group: usize,
        heads: Range<usize>,
        out: &mut [f32],
    ) {
        let CacheShape {
            n_ctx,
            n_head_kv,
            width,
            ..
        } = self.shape;
        let n = place.position + 1;
        let even = n.next_multiple_of(2);
        let first = (place.layer * n_head_kv + group) * n_ctx;
        let attention = Attention {
            n,
            width,
            keys: part(self.keys, first * width, even * width),
            key_exponents: part(self.key_exponents, first, n),
            values: part(self.values, first * width, even * width),
            value_exponents: part(self.value_exponents, first, even),
            scores: part_mut(self.scores, 0, even),
            sums: self.sums,
            scale: self.scale,
        };
        let queries = part_mut(self.heads, heads.start * width, heads.len() * width);
        let exponents = part(self.head_exponents, heads.start, heads.len());
        isa.attend(attention, queries, exponents, out);
    }
}
