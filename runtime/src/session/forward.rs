//! The forward pass, on the arena.

use super::Session;
use super::attention::attend;
use crate::config::{Mlp, Norm, Positions};
use crate::kernels::Isa;
use crate::model::{Linear, NormWeights};
use crate::ops;
use crate::quant::{Activations, Q8Activations, WeightFormat};

impl<W: WeightFormat> Session<'_, W> {
    /// Takes `tokens` through all blocks; their results are the rows of `arena.x`.
    pub(super) fn blocks(&mut self, tokens: &[u32]) {
        self.embed(tokens);
        for index in 0..self.model.config().n_layer() {
            self.attention(index, tokens.len());
            self.mlp(index, tokens.len());
        }
        self.position += tokens.len();
    }

    /// What positions need that do not depend on them.
    pub(super) fn prepare(&mut self) {
        let base = match self.model.config().positions() {
            Positions::Learned => return,
            Positions::Sinusoidal => ops::SINUSOID_BASE,
            Positions::Rope => self.model.config().rope_theta(),
        };
        ops::frequencies(self.arena.frequencies, base);
    }

    /// `x[t] = wte[token] + position`, and the angles of rope.
    fn embed(&mut self, tokens: &[u32]) {
        let config = *self.model.config();
        let (n_embd, head_size) = (config.n_embd(), config.head_size());
        let frequencies = &*self.arena.frequencies;
        for (t, token) in tokens.iter().enumerate() {
            let position = self.position + t;
            let x = &mut self.arena.x[t * n_embd..][..n_embd];
            let branch = &mut self.arena.branch[..n_embd];
            W::row(self.isa, x, self.model.wte(), *token as usize);
            match config.positions() {
                Positions::Learned => W::row(self.isa, branch, self.model.wpe(), position),
                Positions::Sinusoidal => ops::sinusoid(branch, position, frequencies),
                Positions::Rope => {
                    let table = &mut self.arena.rope[t * head_size..][..head_size];
                    ops::rope_table(table, position, frequencies);
                    continue;
                }
            }
            ops::axpy(x, 1.0, branch);
        }
    }

    /// `x += attn_proj(attention(c_attn(ln_1(x))))` for `n` tokens.
    fn attention(&mut self, index: usize, n: usize) {
        let layer = self.model.layer(index);
        let config = *self.model.config();
        let (n_embd, n_kv, n_qkv) = (config.n_embd(), config.n_kv(), config.n_qkv());
        self.normalize(layer.ln_1, 0, n);
        let arena = &mut self.arena;
        let (branch, wide) = (
            &mut arena.branch[..n * n_embd],
            &mut arena.wide[..n * n_qkv],
        );
        let quants = (&mut *arena.quants, &mut *arena.quant_scales);
        linear(self.isa, wide, layer.c_attn, branch, quants, n);
        for t in 0..n {
            let qkv = &mut wide[t * n_qkv..][..n_qkv];
            if config.positions() == Positions::Rope {
                let table = &arena.rope[t * config.head_size()..][..config.head_size()];
                let rotated = qkv[..n_embd + n_kv].chunks_exact_mut(config.head_size());
                rotated.for_each(|head| ops::rope(head, table));
            }
            let row = (index * self.n_ctx + self.position + t) * n_kv;
            arena.keys.write(row, &qkv[n_embd..n_embd + n_kv]);
            arena.values.write(row, &qkv[n_embd + n_kv..]);
        }
        for t in 0..n {
            let queries = &wide[t * n_qkv..][..n_embd];
            let out = &mut branch[t * n_embd..][..n_embd];
            let scores = &mut arena.scores[..=self.position + t];
            let cache = (&arena.keys, &arena.values);
            let row = index * self.n_ctx * n_kv;
            attend(
                self.isa, &config, out, queries, cache, row, scores, arena.head,
            );
        }
        let out = &mut wide[..n * n_embd];
        let quants = (&mut *arena.quants, &mut *arena.quant_scales);
        linear(self.isa, out, layer.attn_proj, branch, quants, n);
        ops::axpy(&mut arena.x[..n * n_embd], 1.0, out);
    }

    /// `x += mlp_proj(activation(c_fc(ln_2(x))))` for `n` tokens.
    fn mlp(&mut self, index: usize, n: usize) {
        let layer = self.model.layer(index);
        let config = *self.model.config();
        let (n_embd, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
        self.normalize(layer.ln_2, 0, n);
        let arena = &mut self.arena;
        let (branch, wide) = (&mut arena.branch[..n * n_embd], &mut arena.wide[..n * n_fc]);
        let quants = (&mut *arena.quants, &mut *arena.quant_scales);
        linear(self.isa, wide, layer.c_fc, branch, quants, n);
        activate(wide, config.mlp(), n_ff);
        let quants = (&mut *arena.quants, &mut *arena.quant_scales);
        linear(
            self.isa,
            branch,
            layer.mlp_proj,
            &wide[..n * n_ff],
            quants,
            n,
        );
        ops::axpy(&mut arena.x[..n * n_embd], 1.0, branch);
    }

    /// Logits of row `t` of `x`.
    pub(super) fn head(&mut self, t: usize) {
        let n_embd = self.model.config().n_embd();
        self.normalize(self.model.ln_f(), t, 1);
        let arena = &mut self.arena;
        let head: Linear<'_, W> = Linear {
            weight: self.model.lm_head(),
            bias: None,
        };
        let quants = (&mut *arena.quants, &mut *arena.quant_scales);
        linear(
            self.isa,
            arena.logits,
            head,
            &arena.branch[..n_embd],
            quants,
            1,
        );
    }

    /// Rows `first..first + n` of `x`, normalised, into the first rows of `branch`.
    fn normalize(&mut self, norm: NormWeights<'_>, first: usize, n: usize) {
        let n_embd = self.model.config().n_embd();
        let kind = self.model.config().norm();
        let rows = self.arena.x[first * n_embd..].chunks_exact(n_embd);
        let out = self.arena.branch.chunks_exact_mut(n_embd);
        for (out, x) in out.zip(rows).take(n) {
            let stats = match kind {
                Norm::LayerNorm => ops::layer_norm_stats(x),
                Norm::RmsNorm => (0.0, ops::rms_norm_stats(x)),
            };
            ops::normalize(out, x, stats, norm.weight, norm.bias);
        }
    }
}

/// `out[t] = weight * x[t] + bias`.
///
/// # Shapes
/// `out` `[T, rows]`, `x` `[T, cols]`; `quants` is room for `x` as integers.
fn linear<W: WeightFormat>(
    isa: Isa,
    out: &mut [f32],
    linear: Linear<'_, W>,
    x: &[f32],
    (quants, scales): (&mut [i8], &mut [f32]),
    n: usize,
) {
    let cols = x.len() / n;
    let blocks = W::FORMAT.blocks(cols);
    let (quants, scales) = (
        &mut quants[..n * blocks.quants],
        &mut scales[..n * blocks.n],
    );
    if W::FORMAT.is_integer() {
        isa.quantize(quants, scales, x, cols);
    }
    let q8 = Q8Activations {
        quants,
        scales,
        blocks,
    };
    let activations = Activations { values: x, q8 };
    W::matmul(isa, out, linear.weight, activations);
    if let Some(bias) = linear.bias {
        for out in out.chunks_exact_mut(bias.len()) {
            ops::axpy(out, 1.0, bias);
        }
    }
}

/// The MLP's nonlinearity, in place; with swiglu the rows close up from `2 n_ff` to `n_ff`.
fn activate(x: &mut [f32], mlp: Mlp, n_ff: usize) {
    let function = match mlp {
        Mlp::Relu => ops::relu,
        Mlp::Gelu => ops::gelu,
        Mlp::ReluSquared => ops::relu_squared,
        Mlp::Swiglu => {
            for t in 0..x.len() / (2 * n_ff) {
                for i in 0..n_ff {
                    let (gate, up) = (x[2 * t * n_ff + i], x[(2 * t + 1) * n_ff + i]);
                    x[t * n_ff + i] = ops::silu(gate) * up;
                }
            }
            return;
        }
    };
    for value in x {
        *value = function(*value);
    }
}
