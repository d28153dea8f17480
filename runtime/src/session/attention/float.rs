//! Attention over a cache of floats.

use half::f16;

use super::Place;
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

    pub(super) fn attend(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        group: usize,
        query: &[f32],
        out: &mut [f32],
    ) {
        let scores = part_mut(self.scores, 0, place.position + 1);
        let layer = SharedFloats {
            keys: &self.keys,
            values: &self.values,
            n_ctx: self.n_ctx,
        };
        layer.attend(isa, config, place, group, query, out, scores, self.head);
    }

    /// What threads may read at the same time.
    #[cfg(feature = "rayon")]
    pub(in crate::session) const fn shared(&self) -> SharedFloats<'_, '_> {
        SharedFloats {
            keys: &self.keys,
            values: &self.values,
            n_ctx: self.n_ctx,
        }
    }
}

impl SharedFloats<'_, '_> {
    /// With `scores` for as many tokens as the context has, and `room` as [`FloatCache::head`].
    pub(in crate::session) fn attend(
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
    pub(in crate::session) const fn has_tiles(&self, isa: Isa) -> bool {
        matches!((self.keys, self.values), (Floats::F16(_), Floats::F16(_))) && isa.has_tiles()
    }

    /// [`Self::attend`] of a head of the tokens from `place` on.
    ///
    /// # Shapes
    /// `queries` those of all tokens from the head's first on, `out` `[TOKENS, n_embd]` from there on, `scores` as many
    /// as [`Tile::scores`] says of the last token.
    pub(in crate::session) fn attend_tile(
        &self,
        isa: Isa,
        config: &Config,
        place: Place,
        group: usize,
        queries: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
    ) {
        let (Floats::F16(keys), Floats::F16(values)) = (self.keys, self.values) else {
            return;
        };
        let head_size = config.head_size();
        let start = head(config, place.layer, group, self.n_ctx);
        let n = place.position + Tile::TOKENS;
        isa.attend_tile(Tile {
            out,
            out_stride: config.n_embd(),
            queries,
            query_stride: config.n_qkv(),
            scores,
            keys: part(keys, start, n * head_size),
            values: part(values, start, n * head_size),
            head_size,
            n: place.position + 1,
        });
    }
}

/// Where the keys and values of a head begin.
fn head(config: &Config, layer: usize, group: usize, n_ctx: usize) -> usize {
    (layer * config.n_head_kv() + group) * n_ctx * config.head_size()
}
