//! Tokenizers that own their tables: made from text or foreign files, and fast on whole files.
//!
//! The tables are those of [`minigpt_runtime::Tokenizer`], encoded as the model file has them;
//! tokens are the same as the runtime's, byte for byte of text.

use core::fmt;

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::{Bpe, Chars, TokenizerError, Vocabulary};

use crate::bpe::{self, BpeTables, LearnError};

mod encode;
mod llama2c;
mod slabs;
#[cfg(test)]
mod tests;

pub(crate) use encode::chunks;
pub use llama2c::Llama2cError;

/// Separates documents in training text, for tokenizers that have special tokens.
pub const END_OF_TEXT: &[u8] = b"<|endoftext|>";

/// A tokenizer with its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTokenizer {
    /// A valid [`Tokenizer`] in postcard's encoding.
    bytes: Vec<u8>,
}

/// Why bytes or text are not a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no encoded tokenizer, or more than one.
    Encoding {
        /// How many bytes were given.
        len: usize,
    },
    /// The tables contradict each other.
    Tables(TokenizerError),
    /// A text without characters has no alphabet.
    NoChars,
    /// The BPE cannot be learned.
    Learn(LearnError),
    /// The file is no tokenizer of llama2.c.
    Llama2c(Llama2cError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding { len } => write!(f, "{len} bytes that are not one encoded tokenizer"),
            Self::Tables(error) => error.fmt(f),
            Self::NoChars => write!(
                f,
                "the text is empty; a character tokenizer takes its alphabet from it"
            ),
            Self::Learn(error) => error.fmt(f),
            Self::Llama2c(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        Self::Tables(error)
    }
}

impl From<LearnError> for Error {
    fn from(error: LearnError) -> Self {
        Self::Learn(error)
    }
}

impl From<Llama2cError> for Error {
    fn from(error: Llama2cError) -> Self {
        Self::Llama2c(error)
    }
}

impl OwnedTokenizer {
    /// Each byte a token.
    ///
    /// # Panics
    /// Never: it has no tables.
    #[must_use]
    pub fn byte() -> Self {
        Self::new(&Tokenizer::Byte).expect("no tables")
    }

    /// Each character of `text` a token, in the order of code points.
    ///
    /// # Errors
    /// [`Error::NoChars`] for an empty text.
    pub fn chars(text: &str) -> Result<Self, Error> {
        let alphabet: std::collections::BTreeSet<char> = text.chars().collect();
        if alphabet.is_empty() {
            return Err(Error::NoChars);
        }
        let code_points = le(alphabet.into_iter().map(u32::from));
        Self::new(&Tokenizer::Char(Chars {
            code_points: &code_points,
        }))
    }

    /// A byte-level BPE of at most `n_vocab` tokens, learned from the documents of `texts`.
    ///
    /// # Errors
    /// [`Error::Learn`] for an impossible `n_vocab`.
    pub fn bpe(texts: &[&[u8]], n_vocab: usize) -> Result<Self, Error> {
        let documents: Vec<&[u8]> = texts.iter().flat_map(|text| documents(text)).collect();
        Self::from_bpe(&bpe::learn(&documents, n_vocab)?)
    }

    /// A byte-level BPE from its tables.
    ///
    /// # Errors
    /// [`Error::Tables`] where they contradict each other.
    pub fn from_bpe(tables: &BpeTables) -> Result<Self, Error> {
        let (ends, bytes) = joined(&tables.texts);
        let merges = tables.merges.iter();
        let numbers = merges.flat_map(|(&(left, right), &(rank, id))| [left, right, rank, id]);
        let wide = numbers.clone().any(|number| number > u32::from(u16::MAX));
        let merges = match wide {
            true => le(numbers),
            false => numbers
                .flat_map(|number| (number as u16).to_le_bytes())
                .collect(),
        };
        Self::new(&Tokenizer::Bpe(Bpe {
            specials: tables.specials,
            vocabulary: Vocabulary {
                ends: &ends,
                bytes: &bytes,
            },
            byte_ids: &le(tables.byte_ids),
            wide,
            merges: &merges,
        }))
    }

    /// llama2.c's `tokenizer.bin`. The file does not say how many tokens it holds; the model does.
    ///
    /// # Errors
    /// [`Error::Llama2c`] for a file that is truncated, of another size of vocabulary, or foreign.
    pub fn llama2c(file: &[u8], n_vocab: usize) -> Result<Self, Error> {
        llama2c::read(file, n_vocab)
    }

    /// The tokenizer that [`Self::bytes`] of another one encode.
    ///
    /// # Errors
    /// [`Error::Encoding`] or [`Error::Tables`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let len = bytes.len();
        match postcard::take_from_bytes::<Tokenizer<'_>>(&bytes) {
            Ok((tokenizer, [])) => tokenizer.validate()?,
            _ => return Err(Error::Encoding { len }),
        }
        Ok(Self { bytes })
    }

    /// A copy of `tokenizer`, tables and all.
    ///
    /// # Errors
    /// [`Error::Tables`] where they contradict each other.
    pub fn new(tokenizer: &Tokenizer<'_>) -> Result<Self, Error> {
        tokenizer.validate()?;
        let mut bytes = vec![0; 1 << 12];
        loop {
            match postcard::to_slice(tokenizer, &mut bytes).map(|used| used.len()) {
                Ok(len) => {
                    bytes.truncate(len);
                    return Ok(Self { bytes });
                }
                Err(postcard::Error::SerializeBufferFull) => bytes.resize(2 * bytes.len(), 0),
                Err(_) => return Err(Error::Encoding { len: 0 }),
            }
        }
    }

    /// The runtime's tokenizer over these tables.
    ///
    /// # Panics
    /// Never: the bytes were checked when this was made.
    #[must_use]
    pub fn view(&self) -> Tokenizer<'_> {
        postcard::from_bytes(&self.bytes).expect("checked when made")
    }

    /// The tables in postcard's encoding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The documents of a text: what stands between [`END_OF_TEXT`], less one newline beside it.
fn documents(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut after_marker = false;
    let mut done = false;
    core::iter::from_fn(move || {
        if done {
            return None;
        }
        let marker = (text.windows(END_OF_TEXT.len())).position(|window| window == END_OF_TEXT);
        let (mut document, rest) = match marker {
            Some(at) => (&text[..at], &text[at + END_OF_TEXT.len()..]),
            None => (text, &[][..]),
        };
        text = rest;
        done = marker.is_none();
        if after_marker {
            let start = document.strip_prefix(b"\r\n");
            document = start.or(document.strip_prefix(b"\n")).unwrap_or(document);
        }
        if marker.is_some() {
            let end = document.strip_suffix(b"\r\n");
            document = end.or(document.strip_suffix(b"\n")).unwrap_or(document);
        }
        after_marker = true;
        Some(document)
    })
    .filter(|document| !document.is_empty())
}

/// Numbers as a little-endian table.
fn le(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// The two tables of a [`Vocabulary`].
fn joined(texts: &[impl AsRef<[u8]>]) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for text in texts {
        bytes.extend_from_slice(text.as_ref());
        ends.push(bytes.len() as u32);
    }
    (le(ends), bytes)
}
