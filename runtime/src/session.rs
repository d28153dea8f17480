//! A conversation with a model: its keys and values so far, and the forward pass.

mod attention;
mod error;
mod forward;
#[cfg(test)]
mod tests;

pub(crate) use self::attention::Cache;
pub use self::error::SessionError;
use crate::arena::{ARENA_ALIGNMENT, Arena, MemoryPlan, SessionOptions};
use crate::kernels::Isa;
use crate::model::Model;
use crate::quant::WeightFormat;

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
        let mut session = Self {
            model,
            isa,
            arena: Arena::carve(memory, model.config(), W::FORMAT, options),
            n_ctx,
            n_chunk: options.n_chunk.clamp(1, n_ctx),
            position: 0,
        };
        session.prepare();
        Ok(session)
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
    /// of a fresh session. `history` are the tokens in the context, which the session does not keep,
    /// and any that were to follow them; returns the logits after the last of them and writes the
    /// tokens kept to its front, their number first.
    ///
    /// Afterwards at least one more token fits, and the last token of `history` is always kept: a
    /// larger `n_keep` than leaves room for both counts as the largest that does. After an error the
    /// session and `history` are as they were.
    ///
    /// # Errors
    /// [`SessionError::NoTokens`] if `history` is empty, [`SessionError::UnknownToken`],
    /// [`SessionError::ContextTooShort`] if the context holds a single token.
    pub fn slide(
        &mut self,
        history: &mut [u32],
        n_keep: usize,
    ) -> Result<(usize, &mut [f32]), SessionError> {
        self.check_ids(history)?;
        let n_ctx = self.n_ctx;
        if n_ctx < 2 {
            return Err(SessionError::ContextTooShort { n_ctx });
        }
        let n_keep = n_keep.min(history.len() - 1).min(n_ctx - 2);
        let later = (history.len() - n_keep).div_ceil(2);
        let later = later.min(n_ctx - 1 - n_keep);
        history.copy_within(history.len() - later.., n_keep);
        let kept = n_keep + later;
        self.reset();
        let logits = self.forward(&history[..kept])?;
        Ok((kept, logits))
    }

    fn check(&self, tokens: &[u32]) -> Result<(), SessionError> {
        if tokens.len() > self.n_ctx - self.position {
            return Err(SessionError::ContextFull {
                n_ctx: self.n_ctx,
                position: self.position,
                added: tokens.len(),
            });
        }
        self.check_ids(tokens)
    }

    fn check_ids(&self, tokens: &[u32]) -> Result<(), SessionError> {
        let n_vocab = self.model.config().n_vocab();
        if tokens.is_empty() {
            return Err(SessionError::NoTokens);
        }
        match tokens.iter().find(|token| **token as usize >= n_vocab) {
            Some(&token) => Err(SessionError::UnknownToken { token, n_vocab }),
            None => Ok(()),
        }
    }
}
