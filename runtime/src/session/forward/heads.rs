//! Attention and the nonlinearity: what stands between matrices.

use super::super::Session;
#[cfg(feature = "rayon")]
use super::super::attention::Cache;
use super::super::attention::Place;
use super::{Pass, Stage, VALUE_WORK};
use crate::config::Mlp;
use crate::ops;
use crate::parts::{copy, part, part_mut};
use crate::quant::WeightFormat;
#[cfg(feature = "rayon")]
use crate::threads;

/// Vectors are cut between groups of so many values, where they are cut at all.
const VALUES: usize = 32;

impl<W: WeightFormat> Session<'_, W> {
    /// Attention of all heads of all tokens on several threads, if that is worth it; returns whether it was
    /// done.
    #[cfg(feature = "rayon")]
    pub(super) fn all_heads(&mut self) -> bool {
        let config = *self.model.config();
        let Pass { n, layer, done, .. } = self.pass;
        let position = self.position;
        let work = 2 * n * config.n_embd() * (position + n);
        let Cache::Float(cache) = &self.arena.cache else {
            return false;
        };
        if done > 0 || !self.threads.divides(work) {
            return false;
        }
        let (isa, cache, wide) = (self.isa, cache.shared(), &*self.arena.wide);
        let (n_head, head_size) = (config.n_head(), config.head_size());
        let out = part_mut(self.arena.branch, 0, n * config.n_embd());
        threads::for_each_chunk(out, head_size, position + n, |i, out, scores, room| {
            let (t, head) = (i / n_head, i % n_head);
            let query = part(wide, t * config.n_qkv() + head * head_size, head_size);
            let position = position + t;
            let group = head * config.n_head_kv() / n_head;
            let scores = part_mut(scores, 0, position + 1);
            let place = Place { layer, position };
            cache.attend(isa, &config, place, group, query, out, scores, room);
        });
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

    /// The nonlinearity of as many values as `budget` allows, in place; at least [`VALUES`]. With swiglu the
    /// rows close up from `2 n_ff` to `n_ff`.
    pub(super) fn activation(&mut self, budget: usize) -> usize {
        let config = self.model.config();
        let (mlp, n_ff, n_fc) = (config.mlp(), config.n_ff(), config.n_fc());
        let (t, i) = (self.pass.done / n_ff.max(1), self.pass.done % n_ff.max(1));
        let affordable = (budget / VALUE_WORK).min(n_ff).max(1);
        let len = affordable.next_multiple_of(VALUES).min(n_ff - i);
        let (done, row) = self
            .arena
            .wide
            .split_at_mut_checked(t * n_fc)
            .unwrap_or_default();
        match mlp {
            Mlp::Gelu if cfg!(feature = "gelu") => self
                .isa
                .vectorized(|| map(part_mut(row, i, len), ops::gelu)),
            Mlp::ReluSquared => map(part_mut(row, i, len), ops::relu_squared),
            Mlp::Swiglu if cfg!(feature = "swiglu") => {
                let (gates, ups) = row.split_at_mut_checked(n_ff).unwrap_or_default();
                let gates = part_mut(gates, i, len);
                let ups = part(ups, i, len);
                match W::FORMAT.is_integer() {
                    true => self.isa.swiglu_q16(gates, ups),
                    false => self.isa.swiglu(gates, ups),
                }
                // The first row is where it belongs.
                copy(part_mut(done, t * n_ff + i, len), gates);
            }
            _ => map(part_mut(row, i, len), ops::relu),
        }
        self.pass.done += len;
        if self.pass.done == self.pass.n * n_ff {
            (self.pass.stage, self.pass.done) = (Stage::MlpProj, 0);
        }
        VALUE_WORK * len
    }
}

#[inline(always)]
fn map(x: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in x {
        *value = function(*value);
    }
}
