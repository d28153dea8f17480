//! Attention over a cache of 8-bit integers, in integers.
//!
//! `value = integer * 2^exponent`, with one exponent for a token's keys of a head and one for its values.
//! Scores are powers of 2 with a fixed point and stay integers up to the weights of the values, so a core
//! without floating point pays for two conversions a head and not for every token.

use core::ops::Range;
#[cfg(feature = "rayon")]
use std::vec::Vec;

use super::Place;
use crate::config::Config;
use crate::kernels::{Attention, BaseScale, Heads, Isa, KEPT_BITS, Row};
use crate::parts::{part, part_mut};

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
        let bits = 30 - KEPT_BITS - sum_bits as i32;
        if bits < 15 { bits } else { 15 }
    }

    /// Exponents of all keys.
    pub(crate) const fn exponents(&self) -> u64 {
        self.n_layer as u64 * self.n_head_kv as u64 * self.n_ctx as u64
    }
}

/// Keys and values of all layers, to be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct SharedIntegers<'b> {
    shape: CacheShape,
    keys: &'b [i8],
    values: &'b [i8],
    key_exponents: &'b [i8],
    value_exponents: &'b [i8],
    scale: BaseScale,
}

/// What attention on a thread works in, see [`IntegerCache`].
#[cfg(feature = "rayon")]
#[derive(Debug, Default)]
pub(super) struct IntegerRoom {
    heads: Vec<i16>,
    head_exponents: Vec<i8>,
    scores: Vec<i32>,
    sums: Vec<i32>,
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
    /// Queries of a token, `[n_head, width]`.
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
    /// See [`super::Cache::write`].
    pub(super) fn write(&mut self, isa: Isa, place: Place, keys: &[f32], values: &[f32]) {
        let CacheShape {
            n_ctx,
            n_head_kv,
            head_size,
            width,
            ..
        } = self.shape;
        let first = place.layer * n_head_kv * n_ctx + place.position;
        let odd = first % 2;
        let row = |integers, exponents, in_pairs| Row {
            integers,
            exponents,
            head_size,
            width,
            n_ctx,
            in_pairs,
        };
        let integers = rest(self.keys, first * width);
        let exponents = rest(self.key_exponents, first);
        isa.keep(row(integers, exponents, false), keys);
        let integers = rest(self.values, (first - odd) * width + 2 * odd);
        let exponents = rest(self.value_exponents, first);
        isa.keep(row(integers, exponents, true), values);
    }

    /// Makes the queries of a token, `[n_head, HS]`, the ones that [`Self::attend`] asks with.
    pub(super) fn ask(&mut self, isa: Isa, queries: &[f32]) {
        let CacheShape { head_size, .. } = self.shape;
        let bits = self.shape.query_bits();
        isa.integers(self.heads, self.head_exponents, queries, head_size, bits);
    }

    /// See [`super::Cache::attend`]. `group_size` heads share keys and values.
    #[cfg_attr(any(kernel_dsp, kernel_thumb2), inline(never))]
    pub(super) fn attend(
        &mut self,
        isa: Isa,
        place: Place,
        group_size: usize,
        heads: Range<usize>,
        out: &mut [f32],
    ) {
        let width = self.shape.width;
        let shared = SharedIntegers {
            shape: self.shape,
            keys: self.keys,
            values: self.values,
            key_exponents: self.key_exponents,
            value_exponents: self.value_exponents,
            scale: self.scale,
        };
        let heads = Heads {
            first: heads.start,
            queries: part_mut(self.heads, heads.start * width, heads.len() * width),
            exponents: part(self.head_exponents, heads.start, heads.len()),
            out,
        };
        shared.attend(isa, place, group_size, heads, self.scores, self.sums);
    }

    /// What threads may read at the same time.
    #[cfg(feature = "rayon")]
    pub(super) const fn shared(&self) -> SharedIntegers<'_> {
        SharedIntegers {
            shape: self.shape,
            keys: self.keys,
            values: self.values,
            key_exponents: self.key_exponents,
            value_exponents: self.value_exponents,
            scale: self.scale,
        }
    }
}

impl SharedIntegers<'_> {
    /// With room for `scores` and `sums` as [`IntegerCache`] has it.
    #[inline(always)]
    fn attend(
        &self,
        isa: Isa,
        place: Place,
        group_size: usize,
        heads: Heads<'_>,
        scores: &mut [i32],
        sums: &mut [i32],
    ) {
        let CacheShape {
            n_ctx,
            n_head_kv,
            width,
            ..
        } = self.shape;
        let exponents = n_head_kv * n_ctx;
        let (first, integers) = (place.layer * exponents, exponents * width);
        let attention = Attention {
            n: place.position + 1,
            n_ctx,
            width,
            group_size,
            keys: part(self.keys, first * width, integers),
            key_exponents: part(self.key_exponents, first, exponents),
            values: part(self.values, first * width, integers),
            value_exponents: part(self.value_exponents, first, exponents),
            scores,
            sums,
            scale: self.scale,
        };
        isa.attend(attention, heads);
    }

    /// See [`super::SharedCache::attend`].
    #[cfg(feature = "rayon")]
    pub(super) fn attend_in(
        &self,
        room: &mut IntegerRoom,
        isa: Isa,
        place: Place,
        group_size: usize,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let CacheShape {
            n_ctx,
            head_size,
            width,
            ..
        } = self.shape;
        let IntegerRoom {
            heads: integers,
            head_exponents: exponents,
            scores,
            sums,
        } = room;
        integers.resize(heads.len() * width, 0);
        exponents.resize(heads.len(), 0);
        scores.resize(scores.len().max(n_ctx), 0);
        sums.resize(width, 0);
        let (first, bits) = (heads.start, self.shape.query_bits());
        let queries = part(queries, first * head_size, heads.len() * head_size);
        isa.integers(integers, exponents, queries, head_size, bits);
        let heads = Heads {
            first,
            queries: integers,
            exponents,
            out,
        };
        self.attend(isa, place, group_size, heads, scores, sums);
    }
}

/// `x` from `start` on.
fn rest<T>(x: &mut [T], start: usize) -> &mut [T] {
    x.get_mut(start..).unwrap_or_default()
}
