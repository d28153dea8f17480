//! A conversation with a model: its keys and values so far, and the forward pass.

mod attention;
mod error;
mod forward;
#[cfg(test)]
#[cfg(feature = "any-model")]
mod tests;

#[cfg(feature = "rayon")]
pub(crate) use self::attention::Room;
pub(crate) use self::attention::{Cache, CacheShape, IntegerCache};
#[cfg(feature = "kv-float")]
pub(crate) use self::attention::{FloatCache, Floats};
pub use self::error::SessionError;
use self::forward::Pass;
use crate::arena::{ARENA_ALIGNMENT, Arena, KvFormat, Parts, SessionOptions};
use crate::kernels::Isa;
use crate::model::Model;
use crate::parts::{part, part_mut};
use crate::quant::WeightFormat;
use crate::threads::Threads;

/// One sequence of tokens on its way through a model, in the caller's memory.
///
/// Sizes are those of the model's [`crate::Config`]; `T` is the number of tokens that go through
/// together.
#[derive(Debug)]
pub struct Session<'a, W: WeightFormat> {
    model: Model<'a, W>,
    isa: Isa,
    threads: Threads,
    arena: Arena<'a>,
    n_ctx: usize,
    n_chunk: usize,
    position: usize,
    pass: Pass,
}

impl<'a, W: WeightFormat> Session<'a, W> {
    /// Starts an empty sequence in `memory`.
    ///
    /// # Errors
    /// [`SessionError::ArenaMisaligned`] and [`SessionError::ArenaTooSmall`]; [`SessionError::Absent`] where this
    /// program was built without the format of `options` for keys and values.
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
        if options.kv != KvFormat::Q8 && !cfg!(feature = "kv-float") {
            let feature = "kv-float";
            return Err(SessionError::Absent { feature });
        }
        let parts = Parts::new(model.config(), W::FORMAT, options);
        let needed = parts.bytes();
        let given = memory.len() as u64;
        if given < needed {
            return Err(SessionError::ArenaTooSmall { needed, given });
        }
        let n_ctx = options.context(model.config());
        let arena = Arena::carve(memory, &parts, model.config(), options);
        forward::prepare(arena.frequencies, model.config());
        Ok(Self {
            model,
            isa,
            threads: Threads::ONE,
            arena,
            n_ctx,
            n_chunk: options.n_chunk.min(n_ctx).max(1),
            position: 0,
            pass: Pass::NONE,
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

    /// Divides work among up to `n` threads, 1 at first; no bit of any result changes.
    ///
    /// The threads are those of the rayon pool in which [`Self::forward`] is called, so call it there:
    /// from elsewhere each part would have to be handed over. What is too little work to gain by being
    /// divided is not.
    #[cfg(feature = "rayon")]
    pub const fn set_threads(&mut self, n: usize) {
        self.threads = Threads::new(n);
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
        self.truncate(0);
    }

    /// Forgets all but the first `n_tokens` tokens.
    pub const fn truncate(&mut self, n_tokens: usize) {
        if n_tokens < self.position {
            self.position = n_tokens;
        }
        self.pass = Pass::NONE;
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
        let n_chunk = self.n_chunk.max(1);
        let mut rest = tokens;
        while let Some((chunk, later)) = rest.split_at_checked(n_chunk)
            && !later.is_empty()
        {
            self.pass(chunk, None);
            rest = later;
        }
        self.pass(rest, Some(rest.len() - 1));
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
            self.pass(chunk, None);
            for t in 0..chunk.len() {
                self.start_head(t);
                self.advance(usize::MAX);
                each(i * self.n_chunk + t, self.arena.logits);
            }
        }
        Ok(())
    }

    /// Begins to add `tokens` to the context, at most a chunk; [`Self::step`] does the work.
    ///
    /// For programs that have other things to do between two steps of bounded length. The tokens are in
    /// the context when the last step is done; a new beginning, [`Self::forward`], [`Self::truncate`] or
    /// [`Self::reset`] before that drops them.
    ///
    /// # Errors
    /// As [`Self::forward`], and [`SessionError::ChunkTooLong`] if there are more tokens than the
    /// `n_chunk` of the session's options.
    pub fn begin(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        self.check(tokens)?;
        if tokens.len() > self.n_chunk {
            return Err(SessionError::ChunkTooLong {
                n_chunk: self.n_chunk,
                given: tokens.len(),
            });
        }
        self.start(tokens, Some(tokens.len() - 1));
        Ok(())
    }

    /// Goes on with what was begun for about `budget` multiply-adds, then comes back: with the logits
    /// `[V]` if it is done, else with `None`.
    ///
    /// The logits are those of [`Self::forward`] to the bit. A step exceeds its budget by at most one piece
    /// that is not divided: eight rows of a matrix and what follows its last ones, attention of one head
    /// (`2 * head_size` multiply-adds and about ten more for each token of the context), the nonlinearity of 32
    /// values (about 16 each), or what happens before and after a matrix to its whole input and output: norm,
    /// rounding, rotation, the cache (about 16 a value). But for attention and the nonlinearity, times the tokens that were begun with.
    ///
    /// # Errors
    /// [`SessionError::NotBegun`] if there is nothing to go on with.
    pub fn step(&mut self, budget: usize) -> Result<Option<&mut [f32]>, SessionError> {
        if self.pass.is_done() {
            return Err(SessionError::NotBegun);
        }
        self.advance(budget.max(1));
        Ok(self.pass.is_done().then_some(&mut *self.arena.logits))
    }

    fn pass(&mut self, tokens: &[u32], row: Option<usize>) {
        self.start(tokens, row);
        self.advance(usize::MAX);
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
        let (kept, start) = (n_keep + later, history.len() - later);
        for i in 0..later {
            if let Some(&token) = history.get(start + i) {
                part_mut(history, n_keep + i, 1).fill(token);
            }
        }
        self.reset();
        let logits = self.forward(part(history, 0, kept))?;
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
