//! What can be wrong with tables and with texts.

use core::fmt;

use crate::features::absent;

/// Why tables are not a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A table has the wrong number of bytes.
    Length {
        /// Name of the table.
        table: &'static str,
        /// Its length in bytes.
        given: usize,
        /// The length it needs, or that it must be a multiple of.
        needed: usize,
    },
    /// This program was built without this kind of tokenizer.
    Absent {
        /// The feature of this crate that has it.
        feature: &'static str,
    },
    /// A vocabulary is empty, or larger than [`MAX_VOCAB`](super::MAX_VOCAB).
    Size {
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// Entries of a table are out of order.
    Order {
        /// Name of the table.
        table: &'static str,
        /// The first entry that is not after the one before it.
        index: usize,
    },
    /// A table names a token that the vocabulary lacks.
    Id {
        /// Name of the table.
        table: &'static str,
        /// The token.
        id: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// An entry contradicts the text of its tokens.
    Text {
        /// Name of the table.
        table: &'static str,
        /// The first such entry.
        index: usize,
    },
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length {
                table,
                given,
                needed,
            } => write!(
                f,
                "tokenizer table `{table}` has {given} bytes where {needed} (or a multiple) are needed"
            ),
            Self::Absent { feature } => absent(f, feature),
            Self::Size { n_vocab } => write!(
                f,
                "tokenizer has {n_vocab} tokens; 1 to {} are possible",
                super::MAX_VOCAB
            ),
            Self::Order { table, index } => {
                write!(
                    f,
                    "tokenizer table `{table}` is out of order at entry {index}"
                )
            }
            Self::Id { table, id, n_vocab } => write!(
                f,
                "tokenizer table `{table}` names token {id}; there are {n_vocab}"
            ),
            Self::Text { table, index } => write!(
                f,
                "tokenizer table `{table}` contradicts the text of its tokens at entry {index}"
            ),
        }
    }
}

impl core::error::Error for TokenizerError {}

/// Why a text was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizeError {
    /// The alphabet of a character tokenizer lacks a character.
    UnknownChar {
        /// The character.
        ch: char,
        /// Where it stands, in bytes.
        offset: usize,
    },
    /// A character tokenizer was given bytes that are not UTF-8.
    InvalidUtf8 {
        /// The first such byte.
        offset: usize,
    },
    /// The output buffer is too small.
    BufferTooSmall {
        /// Tokens that always suffice for this text.
        needed: usize,
        /// Tokens the buffer holds.
        given: usize,
    },
}

impl fmt::Display for TokenizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownChar { ch, offset } => write!(
                f,
                "character {ch:?} at byte {offset} is not in the tokenizer's alphabet"
            ),
            Self::InvalidUtf8 { offset } => write!(
                f,
                "byte {offset} is not UTF-8, which a character tokenizer needs"
            ),
            Self::BufferTooSmall { needed, given } => write!(
                f,
                "the token buffer holds {given} tokens; {needed} always suffice"
            ),
        }
    }
}

impl core::error::Error for TokenizeError {}
