//! Text to tokens and back, without a heap.
//!
//! A [`Tokenizer`] is a few tables borrowed from the model file, wherever they lie and at any
//! alignment. Four kinds exist: bytes, characters, GPT-2's byte-level BPE and llama2.c's
//! SentencePiece. Tables come from a file that nobody vouches for: [`Tokenizer::validate`] checks
//! them once, and no method panics or hangs even where it was not called.
//!
//! Encoding works in pieces that cannot influence each other ([`Tokenizer::pieces`]): the words of
//! GPT-2's regular expression, or what lies between spaces. Inside a piece, pairs of neighbours merge
//! in the caller's output buffer (see `merge.rs`). Hosts that encode much text cache whole pieces.

use serde::{Deserialize, Serialize};

use crate::features::{Feature, cargo_feature};

mod bpe;
mod chars;
mod decoder;
mod error;
mod merge;
mod prompt;
mod sentencepiece;
#[cfg(test)]
#[allow(clippy::std_instead_of_alloc, reason = "tests run on hosts")]
pub(crate) mod tests;
mod vocabulary;
mod words;

pub use bpe::Bpe;
pub use chars::Chars;
pub use decoder::{DecodeError, StreamDecoder};
pub use error::{TokenizeError, TokenizerError};
pub use sentencepiece::SentencePiece;
pub use vocabulary::Vocabulary;
pub use words::Words;

// The kinds that this build has code for, besides bytes, which stand in where a kind is absent:
// `Tokenizer::validate` refuses it.
const CHAR: bool = cargo_feature!("char").present;
const BPE: bool = cargo_feature!("bpe").present;
const SENTENCE_PIECE: bool = cargo_feature!("sentencepiece").present;

/// Most tokens a vocabulary may have: as many as a model.
pub const MAX_VOCAB: usize = crate::config::MAX_VOCAB as usize;

/// A tokenizer over borrowed tables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
// Append only: the order is the file format.
pub enum Tokenizer<'a> {
    /// Each byte is a token: 256 of them, none special.
    Byte,
    /// Each character of a fixed alphabet is a token, none special.
    #[serde(borrow)]
    Char(Chars<'a>),
    /// GPT-2's byte-level BPE: any bytes can be encoded.
    #[serde(borrow)]
    Bpe(Bpe<'a>),
    /// llama2.c's form of SentencePiece BPE, with byte fallback: any bytes can be encoded.
    #[serde(borrow)]
    SentencePiece(SentencePiece<'a>),
}

/// Tokens that stand for no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain data that tokenizer builders write"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct Specials {
    /// Fills rows of a batch; never a target of training.
    pub pad: Option<u32>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<u32>,
    /// Begins a document.
    pub bos: Option<u32>,
    /// Ends a document.
    pub eos: Option<u32>,
}

impl Specials {
    fn all(self) -> [Option<u32>; 4] {
        [self.pad, self.unk, self.bos, self.eos]
    }

    /// Whether `id` is one of these tokens.
    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        self.all().contains(&Some(id))
    }
}

impl Tokenizer<'_> {
    /// Checks every table: lengths, order, ranges, and that merges spell what they claim.
    ///
    /// Time is linear in the tables, with a logarithm for the sorted ones.
    ///
    /// # Errors
    /// The first [`TokenizerError`] found.
    pub fn validate(&self) -> Result<(), TokenizerError> {
        if let Some(feature) = self.feature()
            && !feature.present
        {
            let feature = feature.name;
            return Err(TokenizerError::Absent { feature });
        }
        let n_vocab = self.n_vocab();
        if n_vocab == 0 || n_vocab > MAX_VOCAB {
            return Err(TokenizerError::Size { n_vocab });
        }
        match self {
            Self::Char(chars) if CHAR => chars.validate(),
            Self::Bpe(bpe) if BPE => bpe.validate(),
            Self::SentencePiece(pieces) if SENTENCE_PIECE => pieces.validate(),
            _ => Ok(()),
        }
    }

    /// Tokens in the vocabulary, special ones included.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        match self {
            Self::Char(chars) if CHAR => chars.n_vocab(),
            Self::Bpe(bpe) if BPE => bpe.vocabulary.len(),
            Self::SentencePiece(pieces) if SENTENCE_PIECE => pieces.vocabulary.len(),
            _ => 256,
        }
    }

    /// The tokens that stand for no text.
    #[must_use]
    pub fn specials(&self) -> Specials {
        match self {
            Self::Bpe(bpe) if BPE => bpe.specials,
            Self::SentencePiece(_) if SENTENCE_PIECE => SentencePiece::SPECIALS,
            _ => Specials::default(),
        }
    }

    /// The feature of this crate that has this kind.
    pub(crate) const fn feature(&self) -> Option<Feature> {
        match self {
            Self::Byte => None,
            Self::Char(_) => Some(cargo_feature!("char")),
            Self::Bpe(_) => Some(cargo_feature!("bpe")),
            Self::SentencePiece(_) => Some(cargo_feature!("sentencepiece")),
        }
    }

    /// `byte`, `char`, `bpe` or `sentencepiece`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::Char(_) => "char",
            Self::Bpe(_) => "bpe",
            Self::SentencePiece(_) => "sentencepiece",
        }
    }

    /// Encodes `text` into `out` and returns the number of tokens; adds neither `bos` nor `eos`.
    ///
    /// A buffer of `text.len() + 1` tokens always suffices. Special tokens are never produced from
    /// text that spells them; of the byte tokens of SentencePiece see [`SentencePiece`].
    ///
    /// # Errors
    /// [`TokenizeError::BufferTooSmall`]; for characters also `UnknownChar` and `InvalidUtf8`.
    pub fn encode(&self, text: &[u8], out: &mut [u32]) -> Result<usize, TokenizeError> {
        let too_small = TokenizeError::BufferTooSmall {
            needed: text.len().saturating_add(1),
            given: out.len(),
        };
        let mut n = 0;
        for (index, piece) in self.pieces(text).enumerate() {
            let rest = out.get_mut(n..).ok_or(too_small)?;
            n += self
                .encode_piece(piece, index == 0, rest)
                .map_err(|error| match error {
                    TokenizeError::BufferTooSmall { .. } => too_small,
                    other => other,
                })?;
        }
        Ok(n)
    }

    /// Cuts `text` into pieces that encode independently; their tokens in a row encode `text`.
    #[must_use]
    pub fn pieces<'t>(&self, text: &'t [u8]) -> Pieces<'t> {
        Pieces(match self {
            #[cfg(feature = "bpe")]
            Self::Bpe(_) => Cut::Words(Words::new(text)),
            Self::SentencePiece(pieces) if SENTENCE_PIECE && pieces.cuts_at_spaces => {
                Cut::Spaces(text)
            }
            _ => Cut::Whole(text),
        })
    }

    /// Encodes one of [`Self::pieces`]; `first` tells the text's first piece.
    ///
    /// # Errors
    /// As [`Self::encode`], about this piece.
    pub fn encode_piece(
        &self,
        piece: &[u8],
        first: bool,
        out: &mut [u32],
    ) -> Result<usize, TokenizeError> {
        let n = self.symbols(piece, first, out)?;
        let Some(ids) = out.get_mut(..n) else {
            return Ok(0);
        };
        Ok(match self {
            Self::Bpe(bpe) if BPE => merge::merge_all(ids, 0, |left, right| bpe.merge(left, right)),
            Self::SentencePiece(pieces) if SENTENCE_PIECE => {
                merge::merge_all(ids, f32::NEG_INFINITY, |left, right| {
                    pieces.merge(left, right)
                })
            }
            _ => n,
        })
    }

    /// The tokens of a piece before any merge: bytes or characters.
    ///
    /// # Errors
    /// As [`Self::encode`], about this piece.
    pub fn symbols(
        &self,
        piece: &[u8],
        first: bool,
        out: &mut [u32],
    ) -> Result<usize, TokenizeError> {
        match self {
            Self::Char(chars) if CHAR => chars.encode(piece, out),
            Self::Bpe(bpe) if BPE => put(piece, out, |byte| bpe.byte_id(byte)),
            Self::SentencePiece(pieces) if SENTENCE_PIECE => pieces.symbols(piece, first, out),
            _ => put(piece, out, u32::from),
        }
    }

    /// The bytes that token `id` stands for, or `None` where there is no such token.
    ///
    /// Empty for special tokens. `buf` is where the bytes go that no table holds.
    #[must_use]
    pub fn token_bytes<'b>(&'b self, id: u32, buf: &'b mut [u8; 4]) -> Option<&'b [u8]> {
        match self {
            Self::Char(chars) if CHAR => Some(chars.char(id)?.encode_utf8(buf).as_bytes()),
            Self::Bpe(bpe) if BPE => {
                let text = bpe.vocabulary.token(id)?;
                Some(if bpe.specials.contains(id) { &[] } else { text })
            }
            Self::SentencePiece(pieces) if SENTENCE_PIECE => pieces.token_bytes(id, buf),
            _ => {
                buf[0] = u8::try_from(id).ok()?;
                Some(&buf[..1])
            }
        }
    }
}

/// Writes one token a byte.
fn put(bytes: &[u8], out: &mut [u32], id: impl Fn(u8) -> u32) -> Result<usize, TokenizeError> {
    let given = out.len();
    let out = out
        .get_mut(..bytes.len())
        .ok_or(TokenizeError::BufferTooSmall {
            needed: bytes.len(),
            given,
        })?;
    for (slot, &byte) in out.iter_mut().zip(bytes) {
        *slot = id(byte);
    }
    Ok(bytes.len())
}

/// The pieces of a text, in order; see [`Tokenizer::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'t>(Cut<'t>);

#[derive(Clone, Debug)]
enum Cut<'t> {
    Whole(&'t [u8]),
    #[cfg(feature = "bpe")]
    Words(Words<'t>),
    Spaces(&'t [u8]),
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        match &mut self.0 {
            Cut::Whole([]) | Cut::Spaces([]) => None,
            Cut::Whole(text) => Some(core::mem::take(text)),
            #[cfg(feature = "bpe")]
            Cut::Words(words) => words.next(),
            Cut::Spaces(text) => {
                let (piece, rest) = text.split_at(sentencepiece::piece_len(text));
                *text = rest;
                Some(piece)
            }
        }
    }
}
