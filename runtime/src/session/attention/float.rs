//! Attention over a cache of floats.

use core::ops::Range;
#[cfg(feature = "rayon")]
use std::vec::Vec;

use half::f16;

use super::{Place, group_size};
use crate::config::Config;
use crate::kernels::Isa;
#[cfg(feature = "rayon")]
use crate::kernels::Tile;
use crate::parts::{copy, part, part_mut};
use crate::{math, ops};

/// Keys or values of all layers, `[n_layer, n_head_kv, n_ctx, HS]`: attention reads those of a head one after the other.
#[derive(Debug)]
pub(crate) enum Floats<'a> {
    F32(&'a mut [f32]),
    /// Values beyond its range are stored as its largest, NaN as 0.
    F16(&'a mut [f16]),
}

/// A cache of floats.
#[derive(Debug)]
pub(crate) struct FloatCache<'a> {
    pub(crate) keys: Floats<'a>,
    pub(crate) values: Floats<'a>,
    /// `[n_ctx]`
    pub(crate) scores: &'a mut [f32],
    /// `[HS]`; empty where the cache is `f32`.
    pub(crate) head: &'a mut [f32],
    pub(crate) n_ctx: usize,
}

/// Keys and values, to be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct SharedFloats<'b, 'a> {
    keys: &'b Floats<'a>,
    values: &'b Floats<'a>,
    n_ctx: usize,
}

/// What attention on a thread works in, see [`FloatCache`].
#[cfg(feature = "rayon")]
#[derive(Debug, Default)]
pub(super) struct FloatRoom {
    scores: Vec<f32>,
    head: Vec<f32>,
}

impl Floats<'_> {
    pub(crate) fn write(&mut self, isa: Isa, start: usize, x: &[f32]) {
        match self {
            Self::F32(cache) => copy(part_mut(cache, start, x.len()), x),
            Self::F16(cache) => isa.narrow_f16(part_mut(cache, start, x.len()), x),
        }
    }

    /// `len` values from `start` on, through `head` if they must be converted.
    fn read<'b>(&'b self, isa: Isa, start: usize, len: usize, head: &'b mut [f32]) -> &'b [f32] {
        match self {
            Self::F32(cache) => part(cache, start, len),
            Self::F16(cache) => {
                isa.widen_f16(head, part(cache, start, len));
                head
            }
        }
    }
}

impl FloatCache<'_> {
    pub(super) fn write(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        keys: &[f32],
        values: &[f32],
    ) {
        let head_size = config.head_size().max(1);
        let heads = keys.chunks(head_size).zip(values.chunks(head_size));
        for (group, (key, value)) in heads.enumerate() {
            let start = head(config, place.layer, group, self.n_ctx) + place.position * head_size;
            self.keys.write(isa, start, key);
            self.values.write(isa, start, value);
        }
    }

    /// See [`super::Cache::attend`].
    pub(super) fn attend(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let layer = SharedFloats {
            keys: &self.keys,
            values: &self.values,
            n_ctx: self.n_ctx,
        };
        let scores = &mut *self.scores;
        layer.attend(isa, config, place, heads, queries, out, scores, self.head);
    }

    /// What threads may read at the same time.
    #[cfg(feature = "rayon")]
    pub(super) const fn shared(&self) -> SharedFloats<'_, '_> {
        SharedFloats {
            keys: &self.keys,
            values: &self.values,
            n_ctx: self.n_ctx,
        }
    }
}

impl SharedFloats<'_, '_> {
    /// With `scores` for the tokens so far at least, and `room` as [`FloatCache::head`].
    fn attend(
        &self,
        isa: Isa,
        config: &Config,
        place: Place,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
        room: &mut [f32],
    ) {
        let head_size = config.head_size().max(1);
        let scores = part_mut(scores, 0, place.position + 1);
        for (head, out) in heads.zip(out.chunks_exact_mut(head_size)) {
            let query = part(queries, head * head_size, head_size);
            let group = head / group_size(config);
            self.attend_head(isa, config, place, group, query, out, scores, room);
        }
    }

    fn attend_head(
        &self,
        isa: Isa,
        config: &Config,
        place: Place,
        group: usize,
        query: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
        room: &mut [f32],
    ) {
        let head_size = config.head_size();
        let start = head(config, place.layer, group, self.n_ctx);
        let n = scores.len() * head_size;
        let done = match (self.keys, self.values) {
            (Floats::F32(keys), Floats::F32(values)) => {
                let (keys, values) = (part(keys, start, n), part(values, start, n));
                isa.attend_f32(out, scores, query, keys, values)
            }
            (Floats::F16(keys), Floats::F16(values)) => {
                let (keys, values) = (part(keys, start, n), part(values, start, n));
                isa.attend_f16(out, scores, query, keys, values)
            }
            _ => false,
        };
        if done {
            return;
        }
        let scale = 1.0 / math::sqrt(head_size as f32);
        for (t, score) in scores.iter_mut().enumerate() {
            let key = (self.keys).read(isa, start + t * head_size, head_size, room);
            *score = ops::dot(query, key) * scale;
        }
        ops::softmax(scores);
        out.fill(0.0);
        for (t, probability) in scores.iter().enumerate() {
            let value = (self.values).read(isa, start + t * head_size, head_size, room);
            ops::axpy(out, *probability, value);
        }
    }
}

#[cfg(feature = "rayon")]
impl SharedFloats<'_, '_> {
    /// Whether [`Self::attend_tile`] is there.
    pub(super) const fn has_tiles(&self, isa: Isa) -> bool {
        matches!((self.keys, self.values), (Floats::F16(_), Floats::F16(_))) && isa.has_tiles()
    }

    /// See [`super::SharedCache::attend`].
    pub(super) fn attend_in(
        &self,
        room: &mut FloatRoom,
        isa: Isa,
        config: &Config,
        place: Place,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let FloatRoom { scores, head } = room;
        scores.resize(scores.len().max(place.position + 1), 0.0);
        head.resize(config.head_size(), 0.0);
        self.attend(isa, config, place, heads, queries, out, scores, head);
    }

    /// See [`super::SharedCache::attend_tile`].
    pub(super) fn attend_tile(
        &self,
        room: &mut FloatRoom,
        isa: Isa,
        config: &Config,
        place: Place,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let (Floats::F16(keys), Floats::F16(values)) = (self.keys, self.values) else {
            return;
        };
        let head_size = config.head_size();
        let n = place.position + Tile::TOKENS;
        let scores = &mut room.scores;
        scores.resize(scores.len().max(Tile::scores(n)), 0.0);
        for i in 0..config.n_head() {
            let start = head(config, place.layer, i / group_size(config), self.n_ctx);
            isa.attend_tile(Tile {
                out: out.get_mut(i * head_size..).unwrap_or_default(),
                out_stride: config.n_embd(),
                queries: queries.get(i * head_size..).unwrap_or_default(),
                query_stride: config.n_qkv(),
                scores,
                keys: part(keys, start, n * head_size),
                values: part(values, start, n * head_size),
                head_size,
                n: place.position + 1,
            });
        }
    }
}

/// Where the keys and values of a head begin.
fn head(config: &Config, layer: usize, group: usize, n_ctx: usize) -> usize {
    (layer * config.n_head_kv() + group) * n_ctx * config.head_size()
}
