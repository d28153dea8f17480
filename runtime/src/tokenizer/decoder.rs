//! Tokens to text as they come.

use core::fmt;

use super::Tokenizer;
use crate::parts::{copy, part, part_mut};

/// Turns tokens into text, and never yields a part of a character.
///
/// Bytes that cannot become a character yield U+FFFD, one for each sequence that std's
/// `from_utf8_lossy` replaces. Special tokens yield nothing. With SentencePiece, the space that
/// encoding put in front of a document is dropped: the one of the first token, and of the token
/// after each `bos`. Who decodes only what a model adds to a prompt begins with
/// [`Self::continuing`], or that text lacks its first space.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    /// The start of a character whose end has not come yet.
    pending: [u8; 4],
    /// Bytes in `pending`, at most 3 between calls.
    n_pending: usize,
    /// Whether the next token is a document's first.
    at_start: bool,
}

/// A token outside the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "nothing else can go wrong")]
pub struct DecodeError {
    /// The token.
    pub id: u32,
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, n_vocab } = self;
        write!(f, "token {id} is outside the vocabulary of {n_vocab}")
    }
}

impl core::error::Error for DecodeError {}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamDecoder {
    /// A decoder at the start of a document.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pending: [0; 4],
            n_pending: 0,
            at_start: true,
        }
    }

    /// A decoder in the middle of a document: a space in front of the first token stays.
    #[must_use]
    pub const fn continuing() -> Self {
        Self {
            at_start: false,
            ..Self::new()
        }
    }

    /// Bytes held back: the start of a character, at most 3.
    #[must_use]
    pub const fn n_pending(&self) -> usize {
        self.n_pending
    }

    /// Decodes one token; `sink` gets each piece of text that is complete, in order.
    ///
    /// # Errors
    /// [`DecodeError`] for a token outside the vocabulary, which changes nothing.
    pub fn push(
        &mut self,
        tokenizer: &Tokenizer<'_>,
        id: u32,
        sink: &mut impl FnMut(&str),
    ) -> Result<(), DecodeError> {
        let mut buf = [0; 4];
        let Some(mut bytes) = tokenizer.token_bytes(id, &mut buf) else {
            let n_vocab = tokenizer.n_vocab();
            return Err(DecodeError { id, n_vocab });
        };
        if let Tokenizer::SentencePiece(pieces) = tokenizer
            && cfg!(feature = "sentencepiece")
            && self.at_start
            && pieces.begins_with_space(id)
        {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.at_start = tokenizer.specials().bos == Some(id);
        self.decode(bytes, sink);
        Ok(())
    }

    /// Decodes bytes that stand between tokens, or before the first: the text of a prompt.
    pub fn push_bytes(&mut self, bytes: &[u8], sink: &mut impl FnMut(&str)) {
        if !bytes.is_empty() {
            self.at_start = false;
        }
        self.decode(bytes, sink);
    }

    fn decode(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(&str)) {
        while self.n_pending > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            bytes = rest;
            let mut held = self.pending;
            let n = core::mem::take(&mut self.n_pending);
            part_mut(&mut held, n, 1).fill(byte);
            self.split(part(&held, 0, n + 1), sink);
        }
        self.split(bytes, sink);
    }

    /// Sends characters to `sink` and keeps the start of one at the end.
    fn split(&mut self, bytes: &[u8], sink: &mut impl FnMut(&str)) {
        let mut left = bytes.len();
        for chunk in bytes.utf8_chunks() {
            let (valid, invalid) = (chunk.valid(), chunk.invalid());
            left -= valid.len() + invalid.len();
            if !valid.is_empty() {
                sink(valid);
            }
            if left == 0 && invalid.len() < character_len(invalid) {
                copy(&mut self.pending, invalid);
                self.n_pending = invalid.len();
            } else if !invalid.is_empty() {
                sink("\u{fffd}");
            }
        }
    }

    /// Ends the text: a character that never became complete yields U+FFFD. The decoder is then at
    /// the start of a document again.
    pub fn finish(&mut self, sink: &mut impl FnMut(&str)) {
        if self.n_pending > 0 {
            sink("\u{fffd}");
        }
        *self = Self::new();
    }
}

/// Bytes of a character that begins as `bytes` do; 0 if none does.
fn character_len(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 0,
    }
}
