//! The forward pass, in pieces of bounded work.
//!
//! Every pass, sliced in time or not, is this sequence of pieces: so slicing changes no bit.

mod heads;
mod matrix;

use super::Session;
use crate::config::{Config, Positions};
use crate::layout::Tensor;
use crate::ops;
use crate::parts::part_mut;
use crate::quant::WeightFormat;

/// What work on a value that is not a multiply-add counts as, in multiply-adds: norms, rounding,
/// nonlinearities. Without floating point they are hundreds of instructions.
const VALUE_WORK: usize = if cfg!(soft_float) { 128 } else { 16 };

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

/// What positions need that does not depend on them.
pub(super) fn prepare(frequencies: &mut [f32], config: &Config) {
    let base = match config.positions() {
        Positions::Sinusoidal if cfg!(feature = "sinusoidal") => ops::SINUSOID_BASE,
        Positions::Rope if cfg!(feature = "rope") => config.rope_theta(),
        _ => return,
    };
    ops::frequencies(frequencies, base);
}

impl<W: WeightFormat> Session<'_, W> {
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
        let config = self.model.config();
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
        let (mut before, mut budget) = (0, budget);
        if !self.pass.ready {
            before = self.input(n);
            if budget <= before {
                return before;
            }
            if budget < usize::MAX {
                budget -= before;
            }
        }
        let linear = |weight, bias| self.model.linear(layer, weight, bias);
        let linear = match stage {
            Stage::Qkv => linear(Tensor::CAttnWeight, Tensor::CAttnBias),
            Stage::AttnProj => linear(Tensor::AttnProjWeight, Tensor::AttnProjBias),
            Stage::Fc => linear(Tensor::CFcWeight, Tensor::CFcBias),
            Stage::MlpProj => linear(Tensor::MlpProjWeight, Tensor::MlpProjBias),
            _ => self.model.lm_head(),
        };
        let work = self.rows(linear, n, budget).saturating_add(before);
        if self.pass.done < linear.rows {
            return work;
        }
        work.saturating_add(self.output(linear.bias, n))
    }
}
