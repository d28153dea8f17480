//! Keys and values of the tokens so far, and attention to them.

#[cfg(feature = "kv-float")]
mod float;
mod integer;

use core::ops::Range;

#[cfg(feature = "kv-float")]
pub(crate) use self::float::{FloatCache, Floats};
pub(crate) use self::integer::{CacheShape, IntegerCache};
use crate::config::Config;
use crate::kernels::Isa;
#[cfg(feature = "kv-float")]
use crate::parts::part;

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
        let group_size = (config.n_head() / config.n_head_kv().max(1)).max(1);
        match self {
            #[cfg(feature = "kv-float")]
            Self::Float(cache) => {
                let head_size = config.head_size();
                let outs = out.chunks_exact_mut(head_size.max(1));
                for (head, out) in heads.zip(outs) {
                    let query = part(queries, head * head_size, head_size);
                    let group = head / group_size;
                    cache.attend(isa, config, place, group, query, out);
                }
            }
            Self::Integer(cache) => {
                if heads.start == 0 {
                    cache.ask(isa, queries);
                }
                cache.attend(isa, place, group_size, heads, out);
            }
        }
    }
}
