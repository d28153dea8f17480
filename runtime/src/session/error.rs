//! What can be wrong with a call to a session.

use core::fmt;

use crate::arena::ARENA_ALIGNMENT;
use crate::features::absent;

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
    /// This program was built without the format in which keys and values are to be kept.
    Absent {
        /// The feature of this crate that has it.
        feature: &'static str,
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
    /// More tokens than go through the model together.
    ChunkTooLong {
        /// Tokens that do.
        n_chunk: usize,
        /// Tokens that were given.
        given: usize,
    },
    /// A step of nothing: no tokens were begun with, or they are done.
    NotBegun,
    /// There is nothing to predict from.
    NoTokens,
    /// A context of one token cannot make room.
    ContextTooShort {
        /// Tokens that fit in all.
        n_ctx: usize,
    },
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
            Self::Absent { feature } => absent(f, feature),
            Self::ContextFull {
                n_ctx,
                position,
                added,
            } => write!(
                f,
                "{added} more tokens do not fit: the context holds {n_ctx} and {position} are in it"
            ),
            Self::ContextTooShort { n_ctx } => write!(
                f,
                "a context of {n_ctx} token cannot slide; it takes one of 2 or more"
            ),
            Self::ChunkTooLong { n_chunk, given } => write!(
                f,
                "{given} tokens do not go through together; this session takes {n_chunk} at a time"
            ),
            Self::NotBegun => f.write_str("nothing was begun that a step could go on with"),
            Self::NoTokens => f.write_str("no tokens to predict from"),
            Self::UnknownToken { token, n_vocab } => {
                write!(f, "token {token} is outside the vocabulary of {n_vocab}")
            }
        }
    }
}

impl core::error::Error for SessionError {}
