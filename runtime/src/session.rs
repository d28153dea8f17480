//! A conversation with a model: its keys and values so far, and the forward pass.

use core::fmt;

use crate::arena::{ARENA_ALIGNMENT, Arena, Cache, MemoryPlan, SessionOptions};
use crate::config::{Mlp, Norm, Positions};
use crate::kernels::Isa;
use crate::model::{Linear, Model, NormWeights};
use crate::ops;
use crate::quant::{Activations, Q8Activations, WeightFormat, nearest_f16};

/// One sequence of tokens on its way through a model, in the caller's memory.
///
/// Sizes are those of the model's [`crate::Config`]; `T` is the number of tokens that go through
/// together.
#[derive(Debug)]
pub struct Session<'a, W: WeightFormat> {
    model: Model<'a, W>,
    isa: Isa,
    arena: Arena<'a>,
    n_ctx: usize,
    n_chunk: usize,
    position: usize,
}

/// Why a session cannot do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The arena does not begin at a multiple of 16 bytes.
    ArenaMisaligned {
        /// Its address modulo 16.
        offset: usize,
    },
    /// The arena is too small.
    ArenaTooSmall {
        /// Bytes of the plan.
        needed: u64,
        /// Bytes of the arena.
        given: u64,
    },
    /// The tokens do not fit into the context any more.
    ContextFull {
        /// Tokens that fit in all.
        n_ctx: usize,
        /// Tokens that are there.
        position: usize,
        /// Tokens that were to be added.
        added: usize,
    },
    /// There is nothing to predict from.
    NoTokens,
    /// An id that the model has no row for.
    UnknownToken {
        /// The id.
        token: u32,
        /// Rows of the embedding.
        n_vocab: usize,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ArenaMisaligned { offset } => write!(
                f,
                "the arena begins {offset} bytes after a multiple of {ARENA_ALIGNMENT}"
            ),
            Self::ArenaTooSmall { needed, given } => {
                write!(f, "the arena has {given} bytes and needs {needed}")
            }
            Self::ContextFull {
                n_ctx,
                position,
                added,
            } => write!(
                f,
                "{added} more tokens do not fit: the context holds {n_ctx} and {position} are in it"
            ),
            Self::NoTokens => f.write_str("no tokens to predict from"),
            Self::UnknownToken { token, n_vocab } => {
                write!(f, "token {token} is outside the vocabulary of {n_vocab}")
            }
        }
    }
}

impl core::error::Error for SessionError {}

impl<'a, W: WeightFormat> Session<'a, W> {
    /// Starts an empty sequence in `memory`.
    ///
    /// # Errors
    /// [`SessionError::ArenaMisaligned`] and [`SessionError::ArenaTooSmall`].
    pub fn new(
        model: Model<'a, W>,
        memory: &'a mut [u8],
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        Self::with_isa(model, memory, options, Isa::detect())
    }

    /// [`Self::new`] with a chosen instruction set.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_isa(
        model: Model<'a, W>,
        memory: &'a mut [u8],
        options: &SessionOptions,
        isa: Isa,
    ) -> Result<Self, SessionError> {
        let offset = memory.as_ptr().addr() % ARENA_ALIGNMENT;
        if offset != 0 {
            return Err(SessionError::ArenaMisaligned { offset });
        }
        let needed = MemoryPlan::new(model.config(), W::FORMAT, options).total();
        let given = memory.len() as u64;
        if given < needed {
            return Err(SessionError::ArenaTooSmall { needed, given });
        }
        let n_ctx = options.context(model.config());
        Ok(Self {
            model,
            isa,
            arena: Arena::carve(memory, model.config(), W::FORMAT, options),
            n_ctx,
            n_chunk: options.n_chunk.clamp(1, n_ctx),
            position: 0,
        })
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model<'a, W> {
        &self.model
    }

    /// The kernels in use.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Longest context in tokens.
    #[must_use]
    pub const fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Tokens in the context.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Forgets everything.
    pub const fn reset(&mut self) {
        self.position = 0;
    }

    /// Forgets all but the first `n_tokens` tokens.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.position = self.position.min(n_tokens);
    }

    /// Adds `tokens` to the context and predicts what follows the last of them.
    ///
    /// Reading a prompt and decoding token by token are the same call; how a sequence is divided
    /// into calls changes no bit of the result. After an error the session is as it was.
    ///
    /// # Shapes
    /// Returns logits `[V]`, to be changed as the sampler likes.
    /// # Errors
    /// [`SessionError::NoTokens`], [`SessionError::ContextFull`], [`SessionError::UnknownToken`].
    pub fn forward(&mut self, tokens: &[u32]) -> Result<&mut [f32], SessionError> {
        self.check(tokens)?;
        for chunk in tokens.chunks(self.n_chunk) {
            self.blocks(chunk);
        }
        let last = (tokens.len() - 1) % self.n_chunk;
        self.head(last);
        Ok(self.arena.logits)
    }

    /// [`Self::forward`], but predicts what follows each of `tokens`: calls `each` with a token's
    /// index and its logits `[V]`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_each(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        self.check(tokens)?;
        for (i, chunk) in tokens.chunks(self.n_chunk).enumerate() {
            self.blocks(chunk);
            for t in 0..chunk.len() {
                self.head(t);
                each(i * self.n_chunk + t, self.arena.logits);
            }
        }
        Ok(())
    }

    /// Makes room in a full context: keeps the first `n_keep` tokens of `history` and the later
    /// half of the rest, and reads them anew.
    ///
    /// Keys and values know their position, so they cannot simply be moved; reading anew costs one
    /// pass over half a context for every half a context generated, and the result is exactly that
    /// of a fresh session. `history` are the tokens in the context, which the session does not keep;
    /// returns the logits after the last of them and writes the tokens kept to its front, their
    /// number first.
    ///
    /// # Errors
    /// As [`Self::forward`]; [`SessionError::NoTokens`] if nothing would be kept.
    pub fn slide(
        &mut self,
        history: &mut [u32],
        n_keep: usize,
    ) -> Result<(usize, &mut [f32]), SessionError> {
        let n_keep = n_keep.min(history.len()).min(self.n_ctx - 1);
        let later = (history.len() - n_keep).div_ceil(2);
        let later = later.min(self.n_ctx - n_keep);
        history.copy_within(history.len() - later.., n_keep);
        let kept = n_keep + later;
        self.reset();
        let logits = self.forward(&history[..kept])?;
        Ok((kept, logits))
    }

    fn check(&self, tokens: &[u32]) -> Result<(), SessionError> {
        let n_vocab = self.model.config().n_vocab();
        if tokens.is_empty() {
            return Err(SessionError::NoTokens);
        }
        if tokens.len() > self.n_ctx - self.position {
            return Err(SessionError::ContextFull {
                n_ctx: self.n_ctx,
                position: self.position,
                added: tokens.len(),
            });
        }
        match tokens.iter().find(|token| **token as usize >= n_vocab) {
            Some(&token) => Err(SessionError::UnknownToken { token, n_vocab }),
            None => Ok(()),
        }
    }

    /// Takes `tokens` through all blocks; their results are the rows of `arena.x`.
    fn blocks(&mut self, tokens: &[u32]) {
        self.embed(tokens);
        for index in 0..self.model.config().n_layer() {
            self.attention(index, tokens.len());
            self.mlp(index, tokens.len());
        }
        self.position += tokens.len();
    }

    /// `x[t] = wte[token] + position`, and the angles of rope.
    fn embed(&mut self, tokens: &[u32]) {
        let config = *self.model.config();
        let (n_embd, head_size) = (config.n_embd(), config.head_size());
        for (t, token) in tokens.iter().enumerate() {
            let position = self.position + t;
            let x = &mut self.arena.x[t * n_embd..][..n_embd];
            let branch = &mut self.arena.branch[..n_embd];
            W::row(self.isa, x, self.model.wte(), *token as usize);
            match config.positions() {
                Positions::Learned => W::row(self.isa, branch, self.model.wpe(), position),
                Positions::Sinusoidal => ops::sinusoid(branch, position),
                Positions::Rope => {
                    let table = &mut self.arena.rope[t * head_size..][..head_size];
                    ops::rope_table(table, position, config.rope_theta());
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
    fn head(&mut self, t: usize) {
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

/// Attention of one token to those before it and itself, all heads.
///
/// `out[h] = sum_t softmax_t(q[h] . k[t, g] / sqrt(HS)) v[t, g]`, `g` the group of head `h`.
///
/// # Shapes
/// `out`, `queries` `[C]`; `keys`, `values` `[n, n_kv]` from value `row` on; `scores` `[n]`; `head` `[HS]`.
fn attend(
    isa: Isa,
    config: &crate::Config,
    out: &mut [f32],
    queries: &[f32],
    (keys, values): (&Cache<'_>, &Cache<'_>),
    row: usize,
    scores: &mut [f32],
    head: &mut [f32],
) {
    let (head_size, n_kv) = (config.head_size(), config.n_kv());
    let scale = 1.0 / crate::math::sqrt(head_size as f32);
    let group = config.n_head() / config.n_head_kv();
    let heads = queries
        .chunks_exact(head_size)
        .zip(out.chunks_exact_mut(head_size));
    for (h, (query, out)) in heads.enumerate() {
        let column = row + h / group * head_size;
        for (t, score) in scores.iter_mut().enumerate() {
            *score = ops::dot(query, keys.read(isa, column + t * n_kv, head)) * scale;
        }
        ops::softmax(scores);
        out.fill(0.0);
        for (t, probability) in scores.iter().enumerate() {
            let value = values.read(isa, column + t * n_kv, head);
            ops::axpy(out, *probability, value);
        }
    }
}

impl Cache<'_> {
    fn write(&mut self, start: usize, x: &[f32]) {
        match self {
            Self::F32(cache) => cache[start..start + x.len()].copy_from_slice(x),
            Self::F16(cache) => {
                for (cache, x) in cache[start..].iter_mut().zip(x) {
                    *cache = nearest_f16(*x);
                }
            }
        }
    }

    /// `head.len()` values from `start` on, through `head` if they must be converted.
    fn read<'b>(&'b self, isa: Isa, start: usize, head: &'b mut [f32]) -> &'b [f32] {
        match self {
            Self::F32(cache) => &cache[start..start + head.len()],
            Self::F16(cache) => {
                isa.widen_f16(head, &cache[start..start + head.len()]);
                head
            }
        }
    }
}
