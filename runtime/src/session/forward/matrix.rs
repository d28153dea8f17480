//! A matrix of a pass, and what belongs to its input and output.

use super::super::Session;
use super::super::attention::Place;
use super::heads::gates_first;
use super::{Pass, Stage, VALUE_WORK};
use crate::config::{Config, Norm, Positions};
use crate::kernels::Output;
use crate::layout::Tensor;
use crate::model::{Linear, NormWeights};
use crate::ops;
use crate::parts::{part, part_mut};
use crate::quant::{Activations, Q8Activations, WeightFormat};
use crate::threads::Product;

/// Matrices are cut between groups of so many rows, which kernels take together.
const ROW_GROUP: usize = 8;

impl<W: WeightFormat> Session<'_, W> {
    /// Makes the input of the stage's matrix.
    pub(super) fn input(&mut self, n: usize) -> usize {
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
        let config = self.model.config();
        let (x, cols) = match stage {
            Stage::MlpProj => (&mut *self.arena.wide, config.n_ff()),
            _ => (&mut *self.arena.branch, config.n_embd()),
        };
        let (blocks, isa) = (W::FORMAT.blocks(cols), self.isa);
        let quants = part_mut(self.arena.quants, 0, n * blocks.quants);
        let scales = part_mut(self.arena.quant_scales, 0, n * blocks.n);
        let (work, x) = (VALUE_WORK * n * cols, part_mut(x, 0, n * cols));
        let rows = ((quants, scales), x);
        self.threads.divide(n, work, rows, |((quants, scales), x)| {
            W::quantize(isa, quants, scales, x, cols);
        });
        self.pass.ready = true;
        work
    }

    /// Multiplies as many rows of the stage's matrix as `budget` allows; at least one.
    pub(super) fn rows(&mut self, linear: Linear<'_, W>, n: usize, budget: usize) -> usize {
        let config = self.model.config();
        let arena = &mut self.arena;
        let (out, x, cols) = match self.pass.stage {
            Stage::MlpProj => (&mut *arena.branch, &*arena.wide, config.n_ff()),
            Stage::Head => (&mut *arena.logits, &*arena.branch, config.n_embd()),
            _ => (&mut *arena.wide, &*arena.branch, config.n_embd()),
        };
        let row_work = n * cols;
        let first = self.pass.done;
        let height = height(self.pass, config, linear.rows);
        let above = if first < height { 0 } else { height };
        let end = match budget {
            usize::MAX => above + height,
            _ => {
                let affordable = (budget / row_work.max(1)).min(height).max(1);
                let end = (first + affordable).next_multiple_of(ROW_GROUP);
                end.min(above + height)
            }
        };
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
            values: out.get_mut(n * above..).unwrap_or_default(),
            stride: height,
            first: first - above,
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
    pub(super) fn output(&mut self, bias: Option<&[f32]>, n: usize) -> usize {
        let Pass { layer, stage, .. } = self.pass;
        let config = self.model.config();
        let arena = &mut self.arena;
        let (out, rows): (&mut [f32], usize) = match stage {
            Stage::MlpProj => (arena.branch, config.n_embd()),
            Stage::AttnProj => (arena.wide, config.n_embd()),
            Stage::Fc => (arena.wide, config.n_fc()),
            Stage::Head => (&mut [], 0),
            _ => (arena.wide, config.n_qkv()),
        };
        let out = part_mut(out, 0, n * rows);
        let last = layer + 1 == config.n_layer();
        let isa = self.isa;
        if let Some(bias) = bias {
            let height = height(self.pass, config, rows).max(1);
            for (bias, out) in bias.chunks(height).zip(out.chunks_mut((n * height).max(1))) {
                self.threads.divide(n, out.len(), out, |out| {
                    for out in out.chunks_exact_mut(bias.len().max(1)) {
                        isa.add(out, bias);
                    }
                });
            }
        }
        let work = VALUE_WORK * out.len();
        match stage {
            Stage::AttnProj | Stage::MlpProj => {
                let rows = (part_mut(arena.x, 0, out.len()), &*out);
                self.threads
                    .divide(n, out.len(), rows, |(x, out)| isa.add(x, out));
            }
            Stage::Qkv => self.keep(n),
            _ => {}
        }
        (self.pass.done, self.pass.ready) = (0, false);
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
        let config = self.model.config();
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
            arena.cache.write(self.isa, config, place, keys, values);
        }
    }

    /// Rows `first..first + n` of `x`, normalised, into the first rows of `branch`.
    fn normalize(&mut self, norm: NormWeights<'_>, first: usize, n: usize) {
        let n_embd = self.model.config().n_embd();
        let kind = self.model.config().norm();
        let x = part(self.arena.x, first * n_embd, n * n_embd);
        let rows = (part_mut(self.arena.branch, 0, x.len()), x);
        let (isa, work) = (self.isa, VALUE_WORK * x.len());
        self.threads.divide(n, work, rows, |(out, x)| {
            let out = out.chunks_exact_mut(n_embd.max(1));
            for (out, x) in out.zip(x.chunks_exact(n_embd.max(1))) {
                match kind {
                    Norm::LayerNorm if cfg!(feature = "layer-norm") => isa.vectorized(|| {
                        let stats = ops::layer_norm_stats(x);
                        ops::normalize(out, x, stats, norm.weight, norm.bias);
                    }),
                    Norm::RmsNorm if cfg!(feature = "rms-norm") => {
                        isa.rms_norm(out, x, norm.weight);
                    }
                    // Not in a configuration of this build.
                    _ => {}
                }
            }
        });
    }
}

/// How many of the `rows` of a matrix's output lie behind each other for a token, before those of the next token.
fn height(pass: Pass, config: &Config, rows: usize) -> usize {
    match pass.stage {
        Stage::Fc if pass.n > 1 && gates_first(config) => config.n_ff(),
        _ => rows,
    }
}
