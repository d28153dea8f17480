//! Attention and the nonlinearity: what stands between matrices.

use super::super::Session;
use super::super::attention::Place;
#[cfg(feature = "rayon")]
use super::super::attention::Room;
use super::{Pass, Stage, VALUE_WORK};
use crate::config::{Config, Mlp};
#[cfg(feature = "rayon")]
use crate::kernels::Tile;
use crate::ops;
use crate::parts::{copy, part, part_mut};
use crate::quant::{GROUP, WeightFormat};
#[cfg(feature = "rayon")]
use crate::threads;

/// Vectors are cut between groups of so many values, where they are cut at all.
const VALUES: usize = 32;

impl<W: WeightFormat> Session<'_, W> {
    /// Attention of all heads of all tokens, on several threads or several tokens together, if that is worth it;
    /// returns whether it was done.
    #[cfg(feature = "rayon")]
    pub(super) fn all_heads(&mut self) -> bool {
        let config = *self.model.config();
        let Pass { n, layer, done, .. } = self.pass;
        let position = self.position;
        let work = 2 * n * config.n_embd() * (position + n);
        let (isa, cache) = (self.isa, self.arena.cache.shared());
        let parts = self.threads.parts(work);
        // Pieces of several heads of fewer tokens would leave threads without any.
        let several = n >= Tile::TOKENS * parts;
        let tiles = several && cache.has_tiles(isa);
        if done > 0 || !(tiles || parts > 1) {
            return false;
        }
        let (n_embd, n_qkv) = (config.n_embd(), config.n_qkv());
        let (n_head, head_size) = (config.n_head(), config.head_size());
        let place = |t| Place {
            layer,
            position: position + t,
        };
        let wide = &*self.arena.wide;
        let queries = |t| wide.get(t * n_qkv..).unwrap_or_default();
        // Heads that are one piece of work: those of a tile, of a token, or one.
        let count = match tiles {
            true => Tile::TOKENS * n_head,
            false if several => n_head,
            false => 1,
        };
        let attend = |i, out: &mut [f32], room: &mut Room| {
            let (t, head) = (i * count / n_head, i * count % n_head);
            if tiles && out.len() == Tile::TOKENS * n_embd {
                return cache.attend_tile(room, isa, &config, place(t), queries(t), out);
            }
            for (t, out) in (t..).zip(out.chunks_mut(n_embd)) {
                let heads = head..head + out.len() / head_size;
                cache.attend(room, isa, &config, place(t), heads, queries(t), out);
            }
        };
        let out = part_mut(self.arena.branch, 0, n * n_embd);
        threads::for_each_chunk(parts > 1, out, count * head_size, attend);
        self.pass.stage = Stage::AttnProj;
        true
    }

    /// Attention of as many heads of one token as `budget` allows; at least one.
    pub(super) fn heads(&mut self, budget: usize) -> usize {
        let config = self.model.config();
        let (n_head, head_size) = (config.n_head().max(1), config.head_size());
        let Pass { n, layer, done, .. } = self.pass;
        let (t, first) = (done / n_head, done % n_head);
        let place = Place {
            layer,
            position: self.position + t,
        };
        let work = (place.position + 1) * (2 * head_size + VALUE_WORK);
        let count = (budget / work.max(1)).max(1).min(n_head - first);
        let arena = &mut self.arena;
        let queries = part(arena.wide, t * config.n_qkv(), config.n_embd());
        let out = part_mut(arena.branch, done * head_size, count * head_size);
        let heads = first..first + count;
        arena
            .cache
            .attend(self.isa, config, place, heads, queries, out);
        self.pass.done += count;
        if self.pass.done == n * n_head {
            (self.pass.stage, self.pass.done) = (Stage::AttnProj, 0);
        }
        count * work
    }

    /// The nonlinearity of as many values as `budget` allows, in place; at least [`VALUES`].
    pub(super) fn activation(&mut self, budget: usize) -> usize {
        let config = self.model.config();
        let (mlp, n_ff, n) = (config.mlp(), config.n_ff(), self.pass.n);
        let width = match gates_first(config) {
            true => n * n_ff,
            false => n_ff,
        };
        let (t, i) = (self.pass.done / width.max(1), self.pass.done % width.max(1));
        let affordable = (budget / VALUE_WORK).clamp(1, width.max(1));
        let len = affordable.next_multiple_of(VALUES).min(width - i);
        let wide = &mut *self.arena.wide;
        let (done, row) = wide
            .split_at_mut_checked(t * config.n_fc())
            .unwrap_or_default();
        let (gates, ups) = row.split_at_mut_checked(width).unwrap_or_default();
        let (gates, ups) = (part_mut(gates, i, len), part(ups, i, len));
        let (isa, work) = (self.isa, VALUE_WORK * len);
        match mlp {
            Mlp::Swiglu if cfg!(feature = "swiglu") => {
                let rows = (&mut *gates, ups);
                self.threads.divide(len, work, rows, |(gates, ups)| {
                    match W::FORMAT.is_integer() {
                        true => isa.swiglu_q16(gates, ups),
                        false => isa.swiglu(gates, ups),
                    }
                });
                // Rows that were apart close up.
                copy(part_mut(done, t * n_ff + i, len), gates);
            }
            Mlp::Gelu if cfg!(feature = "gelu") => self.threads.divide(len, work, gates, |x| {
                isa.vectorized(|| map(x, ops::gelu));
            }),
            Mlp::ReluSquared => self
                .threads
                .divide(len, len, gates, |x| map(x, ops::relu_squared)),
            _ => self.threads.divide(len, len, gates, |x| map(x, ops::relu)),
        }
        self.pass.done += len;
        if self.pass.done == n * n_ff {
            (self.pass.stage, self.pass.done) = (Stage::MlpProj, 0);
        }
        work
    }
}

/// Whether the gates of all tokens of a chunk come before all that they let through. A matrix is cut there, if it
/// can be; without gates it is as if it were.
pub(super) fn gates_first(config: &Config) -> bool {
    config.mlp() != Mlp::Swiglu || config.n_ff().is_multiple_of(GROUP)
}

#[inline(always)]
fn map(x: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in x {
        *value = function(*value);
    }
}
