//! A session that remembers which tokens its keys and values are of.

use minigpt_runtime::{Isa, ModelFile, SessionOptions};
use minigpt_trainer::aligned::AlignedBytes;
use minigpt_trainer::inference::{AnySession, CHUNK};

use crate::failure::Failure;

/// The options of a session for texts.
pub(crate) const fn options(n_ctx: usize, kv: minigpt_runtime::KvFormat) -> SessionOptions {
    SessionOptions {
        n_ctx,
        n_chunk: CHUNK,
        kv,
    }
}

/// One sequence after another on one session; what a sequence begins with in common with the one before is
/// not computed again.
pub(crate) struct Sequence<'a> {
    session: AnySession<'a>,
    cached: Vec<u32>,
    computed: usize,
}

impl<'a> Sequence<'a> {
    /// On a session of `file` in `memory`.
    pub(crate) fn new(
        file: &ModelFile<'a>,
        memory: &'a mut AlignedBytes,
        options: &SessionOptions,
    ) -> Result<Self, Failure> {
        let session = AnySession::new(file, memory.bytes_mut(), options);
        Ok(Self {
            session: session.map_err(Failure::failed)?,
            cached: Vec::new(),
            computed: 0,
        })
    }

    /// The logits behind `history`. One that has outgrown the context is shortened: its first `n_keep` tokens
    /// and the later half of the rest stay.
    pub(crate) fn logits(
        &mut self,
        history: &mut Vec<u32>,
        n_keep: usize,
    ) -> Result<&mut [f32], Failure> {
        if history.len() > self.session.n_ctx() {
            let (kept, logits) = self
                .session
                .slide(history, n_keep)
                .map_err(Failure::failed)?;
            history.truncate(kept);
            self.cached.clone_from(history);
            self.computed += kept;
            return Ok(logits);
        }
        let shared = self.shared(history).min(history.len().saturating_sub(1));
        self.session.truncate(shared);
        self.cached.truncate(shared);
        self.cached.extend_from_slice(&history[shared..]);
        self.computed += history.len() - shared;
        self.session
            .forward(&history[shared..])
            .map_err(Failure::failed)
    }

    /// How many tokens `history` begins with that the session holds.
    pub(crate) fn shared(&self, history: &[u32]) -> usize {
        let pairs = self.cached.iter().zip(history);
        pairs.take_while(|(cached, token)| cached == token).count()
    }

    /// Tokens that went through the model so far.
    pub(crate) const fn computed(&self) -> usize {
        self.computed
    }

    /// Longest context in tokens.
    pub(crate) fn n_ctx(&self) -> usize {
        self.session.n_ctx()
    }

    /// The kernels in use.
    pub(crate) fn isa(&self) -> Isa {
        self.session.isa()
    }
}
