//! Text of any kind, its tokens on disk, and the windows drawn from them.
//!
//! [`sources`] finds and reads the files, [`content`] holds their text, [`token_file`] keeps tokens as little-endian integers
//! that are mapped and not read, [`windows`] says which of them a step sees.

pub mod content;
mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
pub mod sources;
pub mod token_file;
pub mod windows;

use core::fmt;
use std::env;
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
    /// A line of a file of JSON lines is no JSON object.
    Json {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A line of JSON lines has no text under the name that was asked for.
    NoField {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The name.
        field: String,
        /// The names there are, with what they hold.
        known: Vec<String>,
    },
    /// A Parquet file has no column of texts under the name that was asked for.
    NoColumn {
        /// Which file.
        path: PathBuf,
        /// The name.
        field: String,
        /// The columns there are, with what they hold.
        known: Vec<String>,
    },
    /// A Parquet file cannot be read.
    Parquet {
        /// Which.
        path: PathBuf,
        /// What its reader says.
        message: String,
    },
    /// This build reads no Parquet files.
    WithoutParquet {
        /// Which file was asked for.
        path: PathBuf,
    },
    /// The texts of a file do not fit into a temporary file.
    Temporary {
        /// Which file they come from.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
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
            | Self::Json { .. }
            | Self::NoField { .. }
            | Self::NoColumn { .. }
            | Self::Parquet { .. }
            | Self::WithoutParquet { .. }
            | Self::NoFiles { .. }
            | Self::NotText { .. }
            | Self::TooShort { .. } => true,
            Self::LostTokens { .. }
            | Self::Temporary { .. }
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
                "{} is empty; give a file with text in it, or take it out",
                path.display()
            ),
            Self::NoFiles { path } => write!(
                f,
                "the directory {} holds no files with anything in them (names that begin with a dot \
                 do not count); give another one",
                path.display()
            ),
            Self::Json {
                path,
                line,
                message,
            } => write!(
                f,
                "{}, line {line}: {message}; mend that line or take it out",
                path.display()
            ),
            Self::NoField {
                path,
                line,
                field,
                known,
            } => write!(
                f,
                "{}, line {line} has no text under {field}; there are {}: give one with --text-field",
                path.display(),
                known.join(", ")
            ),
            Self::NoColumn { path, field, known } => write!(
                f,
                "{} has no column of texts called {field}; there are {}: give one with --text-field",
                path.display(),
                known.join(", ")
            ),
            Self::Parquet { path, message } => write!(
                f,
                "{} is no Parquet file that can be read: {message}; get it again",
                path.display()
            ),
            Self::WithoutParquet { path } => write!(
                f,
                "{} is a Parquet file, which this minigpt reads when it is built with --features parquet",
                path.display()
            ),
            Self::Temporary { path, error } => write!(
                f,
                "the texts of {} cannot be kept in {}: {}",
                path.display(),
                env::temp_dir().display(),
                Writing(error)
            ),
            Self::NotText { path, offset } => write!(
                f,
                "{} is not UTF-8 at byte {offset}, and a char tokenizer needs text; use --tokenizer byte",
                path.display()
            ),
            Self::TooShort { tokens, n_ctx } => {
                write!(
                    f,
                    "the training part has {tokens} tokens, and one context of n_ctx {n_ctx} needs {}; give more text",
                    n_ctx + 1
                )?;
                match tokens.saturating_sub(1) {
                    0 => Ok(()),
                    longest => write!(f, " or a shorter context (--set n_ctx={longest})"),
                }
            }
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
