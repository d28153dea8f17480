//! Keys and values of the tokens so far, and attention to them.

mod float;
mod integer;

pub(crate) use self::float::{FloatCache, Floats};
pub(crate) use self::integer::{BaseScale, CacheShape, IntegerCache};
use crate::config::Config;
use crate::kernels::Isa;

/// Keys and values of all layers, with the room that attention needs.
#[derive(Debug)]
pub(crate) enum Cache<'a> {
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
    pub(super) fn write(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        keys: &[f32],
        values: &[f32],
    ) {
        match self {
            Self::Float(cache) => cache.write(isa, config, place, keys, values),
            Self::Integer(cache) => cache.write(isa, place, keys, values),
        }
    }

    /// Attention of one head of the token at `place` to those before it and itself.
    ///
    /// `out = sum_t softmax_t(query . k[t, g] / sqrt(HS)) v[t, g]`, `g` the group of `head`.
    ///
    /// # Shapes
    /// `out`, `query` `[HS]`.
    pub(super) fn attend(
        &mut self,
        isa: Isa,
        config: &Config,
        place: Place,
        head: usize,
        query: &[f32],
        out: &mut [f32],
    ) {
        let group = head * config.n_head_kv() / config.n_head().max(1);
        match self {
            Self::Float(cache) => cache.attend(isa, config, place, group, query, out),
            Self::Integer(cache) => cache.attend(isa, place, group, query, out),
        }
    }
}
