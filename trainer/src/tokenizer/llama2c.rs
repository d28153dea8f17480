//! llama2.c's `tokenizer.bin`.
//!
//! `u32` longest token, then for each token `f32` score, `i32` length and as many bytes.

use core::fmt;

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::{SentencePiece, TokenizerError, Vocabulary};

use super::{Error, OwnedTokenizer, joined, le};

/// Why a file is no tokenizer of llama2.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Llama2cError {
    /// The file ends inside a token.
    Truncated {
        /// The token.
        id: usize,
        /// Tokens that the model has.
        n_vocab: usize,
        /// Length of the file.
        len: usize,
    },
    /// Bytes are left after the last token.
    Trailing {
        /// Tokens that the model has.
        n_vocab: usize,
        /// How many bytes are left.
        trailing: usize,
    },
    /// A token is longer than the file's first number allows: another format.
    Foreign {
        /// The token.
        id: usize,
        /// Its length as the file states it.
        length: u32,
        /// The longest token as the file states it.
        longest: u32,
    },
    /// The tokens are not what llama2.c's are: its bytes at 3 to 258, a space.
    Tokens(TokenizerError),
}

impl fmt::Display for Llama2cError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { id, n_vocab, len } => write!(
                f,
                "llama2.c tokenizer ends at byte {len}, inside token {id} of {n_vocab}; \
                 is it truncated, or another model's?"
            ),
            Self::Trailing { n_vocab, trailing } => write!(
                f,
                "llama2.c tokenizer has {trailing} bytes after its token {n_vocab}, the model's last; \
                 is it another model's?"
            ),
            Self::Foreign {
                id,
                length,
                longest,
            } => write!(
                f,
                "not a llama2.c tokenizer: token {id} has length {length}, the longest is said to be {longest}"
            ),
            Self::Tokens(error) => write!(f, "not a llama2.c tokenizer: {error}"),
        }
    }
}

impl core::error::Error for Llama2cError {}

pub(super) fn read(file: &[u8], n_vocab: usize) -> Result<OwnedTokenizer, Error> {
    let (scores, texts) = parse(file, n_vocab)?;
    let mut sorted: Vec<u32> = (0..texts.len() as u32).collect();
    sorted.sort_by_key(|&id| texts[id as usize]);
    let spaces = |text: &[u8]| text.windows(2).any(|two| two[0] != b' ' && two[1] == b' ');
    let (ends, bytes) = joined(&texts);
    let tokenizer = OwnedTokenizer::new(&Tokenizer::SentencePiece(SentencePiece {
        vocabulary: Vocabulary {
            ends: &ends,
            bytes: &bytes,
        },
        scores: &le(scores),
        sorted: &le(sorted),
        cuts_at_spaces: !texts.iter().any(|text| spaces(text)),
    }));
    tokenizer.map_err(|error| match error {
        Error::Tables(error) => Llama2cError::Tokens(error).into(),
        other => other,
    })
}

/// Scores, as bits, and texts.
fn parse(file: &[u8], n_vocab: usize) -> Result<(Vec<u32>, Vec<&[u8]>), Llama2cError> {
    let mut rest = file;
    let truncated = |id| Llama2cError::Truncated {
        id,
        n_vocab,
        len: file.len(),
    };
    let longest = number(&mut rest).ok_or(truncated(0))?;
    let (mut scores, mut texts) = (Vec::new(), Vec::new());
    for id in 0..n_vocab {
        let score = number(&mut rest).ok_or(truncated(id))?;
        let length = number(&mut rest).ok_or(truncated(id))?;
        // llama2.c's exporter measures the longest token before it renames the first three.
        if id >= 3 && length > longest.max(6) || length > 1 << 16 {
            return Err(Llama2cError::Foreign {
                id,
                length,
                longest,
            });
        }
        let (text, after) = rest
            .split_at_checked(length as usize)
            .ok_or(truncated(id))?;
        scores.push(score);
        texts.push(text);
        rest = after;
    }
    match rest.len() {
        0 => Ok((scores, texts)),
        trailing => Err(Llama2cError::Trailing { n_vocab, trailing }),
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}
