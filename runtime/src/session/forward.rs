//! The forward pass, in pieces of bounded work.
//!
//! Every pass, sliced in time or not, is this sequence of pieces: so slicing changes no bit.

use super::Session;
#[cfg(feature = "rayon")]
use super::attention::Cache;
use super::attention::Place;
use crate::config::{Mlp, Norm, Positions};
use crate::kernels::Output;
use crate::layout::Tensor;
use crate::model::{Linear, NormWeights};
use crate::ops;
use crate::parts::{copy, part, part_mut};
use crate::quant::{Activations, Q8Activations, WeightFormat};
#[cfg(feature = "rayon")]
use crate::threads;
use crate::threads::Product;

/// What work on a value that is not a multiply-add counts as, in multiply-adds: norms, rounding,
/// nonlinearities. Without floating point they are hundreds of instructions.
const VALUE_WORK: usize = if cfg!(soft_float) { 128 } else { 16 };

/// Matrices are cut between groups of so many rows, which kernels take together.
const ROW_GROUP: usize = 8;

/// Vectors are cut between groups of so many values, where they are cut at all.
const VALUES: usize = 32;

/// Where a chunk of tokens stands on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Tokens of the chunk.
    n: usize,
    /// The token of the chunk whose logits are asked for.
    row: Option<usize>,
    layer: usize,
    stage: Stage,
    /// Whether the input of the stage's matrix is made.
    ready: bool,
    /// Rows of the stage's matrix, or heads or values of all tokens, that are done.
    done: usize,
}

/// The parts of a pass, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// `wide = c_attn(ln_1(x))`, positions and the cache.
    Qkv,
    /// `branch = attention(wide)`.
    Heads,
    /// `x += attn_proj(branch)`.
    AttnProj,
    /// `wide = c_fc(ln_2(x))`.
    Fc,
    /// `wide = activation(wide)`.
    Activation,
    /// `x += mlp_proj(wide)`.
    MlpProj,
    /// `logits = lm_head(ln_f(x))`.
    Head,
    Done,
}

impl Pass {
    /// Nothing to do.
    pub(super) const NONE: Self = Self {
        n: 0,
        row: None,
        layer: 0,
        stage: Stage::Done,
        ready: false,
        done: 0,
    };

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }
}

impl<W: WeightFormat> Session<'_, W> {
    /// What positions need that does not depend on them.
    pub(super) fn prepare(&mut self) {
        let base = match self.model.config().positions() {
            Positions::Sinusoidal if cfg!(feature = "sinusoidal") => ops::SINUSOID_BASE,
            Positions::Rope if cfg!(feature = "rope") => self.model.config().rope_theta(),
            _ => return,
        };
        ops::frequencies(self.arena.frequencies, base);
    }

    /// Puts `tokens`, at most a chunk, at the beginning; logits are made of token `row` of them.
    pub(super) fn start(&mut self, tokens: &[u32], row: Option<usize>) {
        self.embed(tokens);
        self.pass = Pass {
            n: tokens.len(),
            row,
            layer: 0,
            stage: Stage::Qkv,
            ready: false,
            done: 0,
        };
    }

    /// Makes logits of token `row` of the chunk that went through last.
    pub(super) fn start_head(&mut self, row: usize) {
        self.pass = Pass {
            n: 0,
            row: Some(row),
            layer: 0,
            stage: Stage::Head,
            ready: false,
            done: 0,
        };
    }

    /// Goes on for about `budget` multiply-adds, up to one piece more; for `usize::MAX` to the end.
    pub(super) fn advance(&mut self, budget: usize) {
        let mut left = budget;
        while !self.pass.is_done() && left > 0 {
            let work = self.piece(left);
            if budget < usize::MAX {
                left = left.saturating_sub(work);
            }
        }
    }

    /// `x[t] = wte[token] + position`, and the angles of rope.
    fn embed(&mut self, tokens: &[u32]) {
        let config = *self.model.config();
        let (n_embd, head_size) = (config.n_embd(), config.head_size());
        let frequencies = &*self.arena.frequencies;
        for (t, token) in tokens.iter().enumerate() {
            let position = self.position + t;
            let x = part_mut(self.arena.x, t * n_embd, n_embd);
            let branch = part_mut(self.arena.branch, 0, n_embd);
            let wte = *token as usize;
            self.model.embedding(self.isa, x, Tensor::Wte, wte);
            match config.positions() {
                Positions::Sinusoidal if cfg!(feature = "sinusoidal") => {
                    ops::sinusoid(branch, position, frequencies);
                }
                Positions::Rope if cfg!(feature = "rope") => {
                    let table = part_mut(self.arena.rope, t * head_size, head_size);
                    ops::rope_table(table, position, frequencies);
                    continue;
                }
                _ => {
                    self.model
                        .embedding(self.isa, branch, Tensor::Wpe, position);
                }
            }
            self.isa.add(x, branch);
        }
    }

    /// Does a piece of the pass and returns its work in multiply-adds, at most `budget` where it can
    /// be divided.
    fn piece(&mut self, budget: usize) -> usize {
        let Pass {
            n, layer, stage, ..
        } = self.pass;
        match stage {
            #[cfg(feature = "rayon")]
            Stage::Heads if budget == usize::MAX && self.all_heads() => return 0,
            Stage::Heads => return self.heads(budget),
            Stage::Activation => return self.activation(budget),
            Stage::Done => return 0,
            _ => {}
        }
        let n = if stage == Stage::Head { 1 } else { n };
        if !self.pass.ready {
            return self.input(n);
        }
        let linear = |weight, bias| self.model.linear(layer, weight, bias);
        let linear = match stage {
            Stage::Qkv => linear(Tensor::CAttnWeight, Tensor::CAttnBias),
            Stage::AttnProj => linear(Tensor::AttnProjWeight, Tensor::AttnProjBias),
            Stage::Fc => linear(Tensor::CFcWeight, Tensor::CFcBias),
            Stage::MlpProj => linear(Tensor::MlpProjWeight, Tensor::MlpProjBias),
            _ => self.model.lm_head(),
        };
        let work = self.rows(linear, n, budget);
        if self.pass.done < linear.rows {
            return work;
        }
        work.saturating_add(self.output(linear.bias, n))
    }

    /// Makes the input of the stage's matrix.
    fn input(&mut self, n: usize) -> usize {
        let Pass {
            layer, stage, row, ..
        } = self.pass;
        let norm = |weight, bias| Some(self.model.norm(layer, weight, bias));
        let (norm, first) = match stage {
            Stage::Qkv => (norm(Tensor::Ln1Weight, Tensor::Ln1Bias), 0),
            Stage::Fc => (norm(Tensor::Ln2Weight, Tensor::Ln2Bias), 0),
            Stage::Head => (norm(Tensor::LnFWeight, Tensor::LnFBias), row.unwrap_or(0)),
            _ => (None, 0),
        };
        if let Some(norm) = norm {
            self.normalize(norm, first, n);
        }
        let config = *self.model.config();
        let (x, cols) = match stage {
            Stage::MlpProj => (&mut *self.arena.wide, config.n_ff()),
            _ => (&mut *self.arena.branch, config.n_embd()),
        };
        let (quants, scales) = (&mut *self.arena.quants, &mut *self.arena.quant_scales);
        W::quantize(self.isa, quants, scales, part_mut(x, 0, n * cols), cols);
        self.pass.ready = true;
        VALUE_WORK * n * cols
    }

    /// Multiplies as many rows of the stage's matrix as `budget` allows; at least one.
    fn rows(&mut self, linear: Linear<'_, W>, n: usize, budget: usize) -> usize {
        let config = *self.model.config();
        let arena = &mut self.arena;
        let (out, x, cols) = match self.pass.stage {
            Stage::MlpProj => (&mut *arena.branch, &*arena.wide, config.n_ff()),
            Stage::Head => (&mut *arena.logits, &*arena.branch, config.n_embd()),
            _ => (&mut *arena.wide, &*arena.branch, config.n_embd()),
        };
        let row_work = n * cols;
        let affordable = (budget / row_work.max(1)).min(linear.rows).max(1);
        let first = self.pass.done;
        let end = (first + affordable)
            .next_multiple_of(ROW_GROUP)
            .min(linear.rows);
        let blocks = W::FORMAT.blocks(cols);
        let activations = Activations {
            values: part(x, 0, row_work),
            q8: Q8Activations {
                quants: part(arena.quants, 0, n * blocks.quants),
                scales: part(arena.quant_scales, 0, n * blocks.n),
                blocks,
            },
        };
        let out = Output {
            values: out,
            stride: linear.rows,
            first,
        };
        let product = Product::<'_, '_, W> {
            out,
            matrix: linear.weight,
            rows: first..end,
            x: activations,
            cols,
        };
        product.compute(self.isa, self.threads);
        self.pass.done = end;
        (end - first).saturating_mul(row_work)
    }

    /// Does with the output of the stage's matrix what belongs to it, and moves on to the next stage.
    fn output(&mut self, bias: Option<&[f32]>, n: usize) -> usize {
        let Pass { layer, stage, .. } = self.pass;
        let config = *self.model.config();
        let (n_embd, n_fc) = (config.n_embd(), config.n_fc());
        let arena = &mut self.arena;
        let out = match stage {
            Stage::MlpProj => part_mut(arena.branch, 0, n * n_embd),
            Stage::AttnProj => part_mut(arena.wide, 0, n * n_embd),
            Stage::Fc => part_mut(arena.wide, 0, n * n_fc),
            Stage::Head => part_mut(arena.logits, 0, 0),
            _ => part_mut(arena.wide, 0, n * config.n_qkv()),
        };
        if let Some(bias) = bias {
            for out in out.chunks_exact_mut(bias.len().max(1)) {
                self.isa.add(out, bias);
            }
        }
        let work = VALUE_WORK * out.len();
        match stage {
            Stage::AttnProj | Stage::MlpProj => self.isa.add(arena.x, out),
            Stage::Qkv => self.keep(n),
            _ => {}
        }
        (self.pass.done, self.pass.ready) = (0, false);
        let last = layer + 1 == config.n_layer();
        (self.pass.stage, self.pass.layer) = match stage {
            Stage::Qkv => (Stage::Heads, layer),
            Stage::AttnProj => (Stage::Fc, layer),
            Stage::Fc => (Stage::Activation, layer),
            Stage::MlpProj if !last => (Stage::Qkv, layer + 1),
            Stage::MlpProj if self.pass.row.is_some() => (Stage::Head, 0),
            _ => (Stage::Done, 0),
        };
        if self.pass.is_done() {
            self.position += self.pass.n;
        }
        work
    }

    /// Rotates queries and keys of `n` tokens, and keeps keys and values.
    fn keep(&mut self, n: usize) {
        let config = *self.model.config();
        let (n_embd, n_kv, n_qkv) = (config.n_embd(), config.n_kv(), config.n_qkv());
        let head_size = config.head_size();
        let arena = &mut self.arena;
        for t in 0..n {
            let qkv = part_mut(arena.wide, t * n_qkv, n_qkv);
            if config.positions() == Positions::Rope {
                let table = part(arena.rope, t * head_size, head_size);
                self.isa.rope(part_mut(qkv, 0, n_embd + n_kv), table);
            }
            let place = Place {
                layer: self.pass.layer,
                position: self.position + t,
            };
            let (keys, values) = (part(qkv, n_embd, n_kv), part(qkv, n_embd + n_kv, n_kv));
            arena.cache.write(self.isa, &config, place, keys, values);
        }
    }

    /// Attention of all heads of all tokens on several threads, if that is worth it; returns whether it was
    /// done.
    #[cfg(feature = "rayon")]
    fn all_heads(&mut self) -> bool {
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

    /// Attention of as many heads of a group of one token as `budget` allows; at least one.
    fn heads(&mut self, budget: usize) -> usize {
        let config = self.model.config();
        let (n_head, head_size) = (config.n_head().max(1), config.head_size());
        let Pass { n, layer, done, .. } = self.pass;
        let (t, first) = (done / n_head, done % n_head);
        let place = Place {
            layer,
            position: self.position + t,
        };
        let work = (place.position + 1) * (2 * head_size + VALUE_WORK);
        let group = (n_head / config.n_head_kv().max(1)).max(1);
        let count = (budget / work.max(1)).max(1).min(group - first % group);
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

    /// Rows `first..first + n` of `x`, normalised, into the first rows of `branch`.
    fn normalize(&mut self, norm: NormWeights<'_>, first: usize, n: usize) {
        let n_embd = self.model.config().n_embd();
        let kind = self.model.config().norm();
        let rows = part(self.arena.x, first * n_embd, n * n_embd).chunks_exact(n_embd.max(1));
        let out = self.arena.branch.chunks_exact_mut(n_embd.max(1));
        for (out, x) in out.zip(rows) {
            match kind {
                Norm::LayerNorm if cfg!(feature = "layer-norm") => {
                    self.isa.vectorized(|| {
                        let stats = ops::layer_norm_stats(x);
                        ops::normalize(out, x, stats, norm.weight, norm.bias);
                    });
                }
                Norm::RmsNorm if cfg!(feature = "rms-norm") => {
                    self.isa.rms_norm(out, x, norm.weight);
                }
                // Not in a configuration of this build.
                _ => {}
            }
        }
    }

    /// The nonlinearity of as many values as `budget` allows, in place; at least [`VALUES`]. With swiglu the
    /// rows close up from `2 n_ff` to `n_ff`.
    fn activation(&mut self, budget: usize) -> usize {
        let config = *self.model.config();
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
