//! Attention over a cache of floats.

use half::f16;

use super::Place;
use crate::config::Config;
use crate::kernels::Isa;
#[cfg(feature = "rayon")]
use crate::kernels::Tile;
use crate::parts::{copy, part, part_mut};
use crate::{math, ops};

/// Keys or values of all layers, `[n_layer, n_ctx, n_kv]`.
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
        let row = (place.layer * self.n_ctx + place.position) * config.n_kv();
        self.keys.write(isa, row, keys);
        self.values.write(isa, row, values);
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
        let (head_size, n_kv) = (config.head_size(), config.n_kv());
        let column = place.layer * self.n_ctx * n_kv + group * head_size;
        let n = scores.len() * n_kv;
        let done = match (self.keys, self.values) {
            (Floats::F32(keys), Floats::F32(values)) => {
                let (keys, values) = (part_of(keys, column, n), part_of(values, column, n));
                isa.attend_f32(out, scores, query, keys, values, n_kv)
            }
            (Floats::F16(keys), Floats::F16(values)) => {
                let (keys, values) = (part_of(keys, column, n), part_of(values, column, n));
                isa.attend_f16(out, scores, query, keys, values, n_kv)
            }
            _ => false,
        };
        if done {
            return;
        }
        let scale = 1.0 / math::sqrt(head_size as f32);
        for (t, score) in scores.iter_mut().enumerate() {
            let key = self.keys.read(isa, column + t * n_kv, head_size, room);
            *score = ops::dot(query, key) * scale;
        }
        ops::softmax(scores);
        out.fill(0.0);
        for (t, probability) in scores.iter().enumerate() {
            let start = column + t * n_kv;
            let value = self.values.read(isa, start, head_size, room);
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
        let (head_size, n_kv) = (config.head_size(), config.n_kv());
        let column = place.layer * self.n_ctx * n_kv + group * head_size;
        isa.attend_tile(Tile {
            out,
            out_stride: config.n_embd(),
            queries,
            query_stride: config.n_qkv(),
            scores,
            keys: keys.get(column..).unwrap_or_default(),
            values: values.get(column..).unwrap_or_default(),
            stride: n_kv,
            head_size,
            n: place.position + 1,
        });
    }
}

/// Up to `len` values from `start` on.
fn part_of<T>(x: &[T], start: usize, len: usize) -> &[T] {
    let rest = x.get(start..).unwrap_or_default();
    part(rest, 0, len.min(rest.len()))
}
