//! Text of any kind, its tokens on disk, and the windows drawn from them.
//!
//! [`sources`] finds and reads the files, [`token_file`] keeps tokens as little-endian integers
//! that are mapped and not read, [`windows`] says which of them a step sees.

pub mod sources;
pub mod token_file;
pub mod windows;

use core::fmt;
use std::io;
use std::path::PathBuf;

use crate::durable::{Reading, Writing};

/// Why data cannot be trained on.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataError {
    /// A file or directory cannot be opened or read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file has no bytes.
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A directory holds no file, or none with anything in it.
    NoFiles {
        /// Which.
        path: PathBuf,
    },
    /// A character tokenizer was asked for and a file is not UTF-8.
    NotText {
        /// Which.
        path: PathBuf,
        /// Where the first wrong byte stands.
        offset: usize,
    },
    /// The training part is shorter than one window.
    TooShort {
        /// Tokens of the training part.
        tokens: usize,
        /// The context they must fill.
        n_ctx: usize,
    },
    /// A token file cannot be read.
    LostTokens {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A token file's length is no multiple of its width.
    TornTokens {
        /// Which.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A token file holds a number that is no token.
    ForeignToken {
        /// Which.
        path: PathBuf,
        /// Where, in tokens.
        index: usize,
        /// The number.
        token: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A token file cannot be written.
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl DataError {
    /// Whether the caller asked for something impossible, as against a machine that failed.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.kind() == io::ErrorKind::NotFound,
            Self::Empty { .. }
            | Self::NoFiles { .. }
            | Self::NotText { .. }
            | Self::TooShort { .. } => true,
            Self::LostTokens { .. }
            | Self::TornTokens { .. }
            | Self::ForeignToken { .. }
            | Self::Write { .. } => false,
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no file {}; check the path", path.display())
            }
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {}", path.display(), Reading(error))
            }
            Self::Empty { path } => write!(
                f,
                "{} is empty; give a file with text in it",
                path.display()
            ),
            Self::NoFiles { path } => write!(
                f,
                "the directory {} holds no files with anything in them (names that begin with a dot \
                 do not count); give another one",
                path.display()
            ),
            Self::NotText { path, offset } => write!(
                f,
                "{} is not UTF-8 at byte {offset}, and a char tokenizer needs text; use --tokenizer byte",
                path.display()
            ),
            Self::TooShort { tokens, n_ctx } => write!(
                f,
                "the training part has {tokens} tokens, and one context of n_ctx {n_ctx} needs {}; \
                 give more text or a shorter context (--set n_ctx={})",
                n_ctx + 1,
                tokens.saturating_sub(1).max(1)
            ),
            Self::LostTokens { path, error } => write!(
                f,
                "the run is damaged: cannot read {}: {error}; train into a new --out",
                path.display()
            ),
            Self::TornTokens { path, bytes } => write!(
                f,
                "{} is damaged: {bytes} bytes are no whole number of tokens; train into a new --out",
                path.display()
            ),
            Self::ForeignToken {
                path,
                index,
                token,
                n_vocab,
            } => write!(
                f,
                "{} is damaged: token {index} is {token} and the vocabulary has {n_vocab}; \
                 train into a new --out",
                path.display()
            ),
            Self::Write { path, error } => {
                write!(f, "cannot write {}: {}", path.display(), Writing(error))
            }
        }
    }
}

impl core::error::Error for DataError {}
