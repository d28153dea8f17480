//! Attention and the nonlinearity: what stands between matrices.

use super::super::Session;
#[cfg(feature = "rayon")]
use super::super::attention::Cache;
use super::super::attention::Place;
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
        let Cache::Float(cache) = &self.arena.cache else {
            return false;
        };
        let (isa, cache) = (self.isa, cache.shared());
        let tiles = n >= Tile::TOKENS && cache.has_tiles(isa);
        if done > 0 || !(tiles || self.threads.divides(work)) {
            return false;
        }
        let (n_head, head_size, n_qkv) = (config.n_head(), config.head_size(), config.n_qkv());
        let group_size = n_head / config.n_head_kv();
        let place = |t| Place {
            layer,
            position: position + t,
        };
        let wide = &*self.arena.wide;
        let queries = |t, head| {
            let start = t * n_qkv + head * head_size;
            wide.get(start..).unwrap_or_default()
        };
        // Heads that are one piece of work: a tile's, or one.
        let count = if tiles { Tile::TOKENS * n_head } else { 1 };
        let attend = |i, out: &mut [f32], scores: &mut [f32], room: &mut [f32]| {
            if tiles && out.len() == count * head_size {
                let t = i * Tile::TOKENS;
                for head in 0..n_head {
                    let (query, group) = (queries(t, head), head / group_size);
                    let out = out.get_mut(head * head_size..).unwrap_or_default();
                    cache.attend_tile(isa, &config, place(t), group, query, out, scores);
                }
                return;
            }
            for (j, out) in out.chunks_exact_mut(head_size).enumerate() {
                let (t, head) = ((i * count + j) / n_head, (i * count + j) % n_head);
                let (place, group) = (place(t), head / group_size);
                let query = part(queries(t, head), 0, head_size);
                let scores = part_mut(scores, 0, place.position + 1);
                cache.attend(isa, &config, place, group, query, out, scores, room);
            }
        };
        let out = part_mut(self.arena.branch, 0, n * config.n_embd());
        let room = (Tile::scores(position + n), head_size);
        threads::for_each_chunk(self.threads, out, count * head_size, room, attend);
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
            _ => self.threads.divide(len, work, gates, |x| match mlp {
                Mlp::Gelu if cfg!(feature = "gelu") => isa.vectorized(|| map(x, ops::gelu)),
                Mlp::ReluSquared => map(x, ops::relu_squared),
                _ => map(x, ops::relu),
            }),
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
