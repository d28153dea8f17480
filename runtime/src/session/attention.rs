//! Keys and values of the tokens so far, and attention to them.

#[cfg(feature = "kv-float")]
mod float;
mod integer;

use core::ops::Range;

#[cfg(feature = "rayon")]
use self::float::SharedFloats;
#[cfg(feature = "kv-float")]
pub(crate) use self::float::{FloatCache, Floats};
#[cfg(feature = "rayon")]
use self::integer::SharedIntegers;
pub(crate) use self::integer::{CacheShape, IntegerCache};
use crate::config::Config;
use crate::kernels::Isa;

/// Keys and values of all layers, with the room that attention needs.
#[derive(Debug)]
pub(crate) enum Cache<'a> {
    #[cfg(feature = "kv-float")]
    Float(FloatCache<'a>),
    Integer(IntegerCache<'a>),
}

/// A token's place in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) layer: usize,
    pub(super) position: usize,
}

impl Cache<'_> {
    /// Keeps a token's keys and values, `[n_kv]` both.
    #[cfg_attr(
        not(feature = "kv-float"),
        expect(unused_variables, reason = "integers know their shape")
    )]
    pub(super) fn write(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        keys: &[f32],
        values: &[f32],
    ) {
        match self {
            #[cfg(feature = "kv-float")]
            Self::Float(cache) => cache.write(isa, config, place, keys, values),
            Self::Integer(cache) => cache.write(isa, place, keys, values),
        }
    }

    /// Attention of `heads` of the token at `place` to those before it and itself; a token's head 0 comes first.
    ///
    /// `out = sum_t softmax_t(query . k[t, g] / sqrt(HS)) v[t, g]`, `g` the group.
    ///
    /// # Shapes
    /// `out` `[heads, HS]`, `queries` those of all heads of the token, `[n_head, HS]`.
    pub(super) fn attend(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        match self {
            #[cfg(feature = "kv-float")]
            Self::Float(cache) => cache.attend(isa, config, place, heads, queries, out),
            Self::Integer(cache) => {
                if heads.start == 0 {
                    cache.ask(isa, queries);
                }
                cache.attend(isa, place, group_size(config), heads, out);
            }
        }
    }

    /// What threads may read at the same time.
    #[cfg(feature = "rayon")]
    pub(super) const fn shared(&self) -> SharedCache<'_, '_> {
        match self {
            Self::Float(cache) => SharedCache::Float(cache.shared()),
            Self::Integer(cache) => SharedCache::Integer(cache.shared()),
        }
    }
}

/// Keys and values of all layers, to be read.
#[cfg(feature = "rayon")]
#[derive(Clone, Copy, Debug)]
pub(super) enum SharedCache<'b, 'a> {
    Float(SharedFloats<'b, 'a>),
    Integer(SharedIntegers<'b>),
}

#[cfg(feature = "rayon")]
impl SharedCache<'_, '_> {
    /// See [`Cache::attend`].
    pub(super) fn attend(
        &self,
        room: &mut Room,
        isa: Isa,
        config: &Config,
        place: Place,
        heads: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        match self {
            Self::Float(cache) => {
                cache.attend_in(&mut room.floats, isa, config, place, heads, queries, out);
            }
            Self::Integer(cache) => {
                let (room, group_size) = (&mut room.integers, group_size(config));
                cache.attend_in(room, isa, place, group_size, heads, queries, out);
            }
        }
    }

    /// Whether [`Self::attend_tile`] is there.
    pub(super) const fn has_tiles(&self, isa: Isa) -> bool {
        match self {
            Self::Float(cache) => cache.has_tiles(isa),
            Self::Integer(_) => false,
        }
    }

    /// [`Self::attend`] of all heads of the tokens of a [`crate::kernels::Tile`], the first at `place`.
    ///
    /// # Shapes
    /// `queries` those of all tokens from the first on, `out` `[TOKENS, n_embd]`.
    pub(super) fn attend_tile(
        &self,
        room: &mut Room,
        isa: Isa,
        config: &Config,
        place: Place,
        queries: &[f32],
        out: &mut [f32],
    ) {
        if let Self::Float(cache) = self {
            cache.attend_tile(&mut room.floats, isa, config, place, queries, out);
        }
    }
}

/// What attention on a thread works in, whatever the cache.
#[cfg(feature = "rayon")]
#[derive(Debug, Default)]
pub(crate) struct Room {
    floats: float::FloatRoom,
    integers: integer::IntegerRoom,
}

/// Heads that share keys and values.
fn group_size(config: &Config) -> usize {
    (config.n_head() / config.n_head_kv().max(1)).max(1)
}
