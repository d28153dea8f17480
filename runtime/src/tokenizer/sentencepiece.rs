//! SentencePiece BPE as llama2.c has it.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::chars::find;
use super::vocabulary::read_u32;
use super::{Specials, TokenizeError, TokenizerError, Vocabulary};

/// Tokens 3 to 258 are the bytes 0 to 255, with texts `<0x00>` to `<0xFF>`.
const FIRST_BYTE: u32 = 3;

/// The lowest score that merges.
///
/// # Source
/// llama2.c, `run.c`, `encode`.
const LOWEST_SCORE: f32 = -1e10;

/// Tables of llama2.c's tokenizer: the neighbours merge that make the token with the best score.
///
/// Text that is not empty gets a space in front. Characters that the vocabulary lacks become bytes.
/// As in `run.c`, texts of tokens are compared as they stand in the vocabulary, so that a byte token
/// is the six characters `<0x41>`: where all of `<0x4`, `<0x` and so on are tokens, a text that
/// spells it becomes it. Unlike in `run.c`, the three special tokens never come from text.
///
/// # Source
/// llama2.c, `run.c`, `encode` and `decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain data that tokenizer builders write"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct SentencePiece<'a> {
    /// Texts of all tokens, with spaces as spaces.
    #[serde(borrow)]
    pub vocabulary: Vocabulary<'a>,
    /// The score of each token: `f32`, little-endian.
    #[serde(borrow)]
    pub scores: &'a [u8],
    /// All tokens, ascending by their texts: `u32`, little-endian.
    #[serde(borrow)]
    pub sorted: &'a [u8],
    /// Whether no text has a space behind another character: then nothing merges across the start of
    /// a run of spaces, and text is cut there before it is encoded.
    pub cuts_at_spaces: bool,
}

impl SentencePiece<'_> {
    pub(super) const SPECIALS: Specials = Specials {
        pad: None,
        unk: Some(0),
        bos: Some(1),
        eos: Some(2),
    };

    /// Negated score of the token that two neighbours make, and the token.
    #[must_use]
    pub fn merge(&self, left: u32, right: u32) -> Option<(f32, u32)> {
        let left = self.vocabulary.token(left)?;
        let right = self.vocabulary.token(right)?;
        let id = self.id(left, right)?;
        let score = f32::from_bits(read_u32(self.scores, usize::try_from(id).ok()?)?);
        (score > LOWEST_SCORE).then_some((-score, id))
    }

    /// The token, not a special one, whose text is `start` followed by `end`.
    fn id(&self, start: &[u8], end: &[u8]) -> Option<u32> {
        let index = find(self.sorted.len() / 4, |index| {
            let id = read_u32(self.sorted, index);
            let text = id.and_then(|id| self.vocabulary.token(id));
            match text.map(|text| compare(text, start, end)) {
                // Of equal texts the special tokens stand first.
                Some(Ordering::Equal) if id < Some(FIRST_BYTE) => Ordering::Less,
                Some(order) => order,
                None => Ordering::Greater,
            }
        })?;
        read_u32(self.sorted, index)
    }

    /// One token a character, or one a byte where the vocabulary lacks the character.
    pub(super) fn symbols(
        &self,
        piece: &[u8],
        first: bool,
        out: &mut [u32],
    ) -> Result<usize, TokenizeError> {
        let given = out.len();
        let needed = piece.len().saturating_add(usize::from(first));
        let mut slots = out.iter_mut();
        let mut n = 0;
        let mut push = |id| {
            n += 1;
            slots.next().map(|slot| *slot = id)
        };
        let mut write = || {
            if first && !piece.is_empty() {
                push(self.id(b" ", b"").unwrap_or(0))?;
            }
            let mut rest = piece;
            while let Some((character, after)) = rest.split_at_checked(character_len(rest)) {
                match self.id(character, b"") {
                    _ if character.is_empty() => break,
                    Some(id) => push(id)?,
                    None => {
                        for &byte in character {
                            push(u32::from(byte) + FIRST_BYTE)?;
                        }
                    }
                }
                rest = after;
            }
            Some(())
        };
        write().ok_or(TokenizeError::BufferTooSmall { needed, given })?;
        Ok(n)
    }

    pub(super) fn token_bytes<'b>(&'b self, id: u32, buf: &'b mut [u8; 4]) -> Option<&'b [u8]> {
        let text = self.vocabulary.token(id)?;
        match id.checked_sub(FIRST_BYTE).map(u8::try_from) {
            None => Some(&[]),
            Some(Ok(byte)) => {
                buf[0] = byte;
                Some(&buf[..1])
            }
            Some(Err(_)) => Some(text),
        }
    }

    /// Whether a token's text begins with a space that is dropped at the start of a document.
    #[must_use]
    pub fn begins_with_space(&self, id: u32) -> bool {
        self.vocabulary
            .token(id)
            .is_some_and(|text| text.first() == Some(&b' '))
    }

    pub(super) fn validate(&self) -> Result<(), TokenizerError> {
        self.vocabulary.validate()?;
        let n_vocab = self.vocabulary.len();
        let needed = n_vocab * 4;
        let check = |table, given| match given == needed {
            true => Ok(()),
            false => Err(TokenizerError::Length {
                table,
                given,
                needed,
            }),
        };
        check("scores", self.scores.len())?;
        check("sorted", self.sorted.len())?;
        self.validate_bytes()?;
        self.validate_sorted()?;
        let (table, index) = ("vocabulary", 0);
        if self.id(b" ", b"").is_none() {
            return Err(TokenizerError::Text { table, index });
        }
        if self.cuts_at_spaces {
            for id in 0..u32::try_from(n_vocab).unwrap_or(u32::MAX) {
                if !space_only_in_front(self.vocabulary.token(id).unwrap_or_default()) {
                    let index = usize::try_from(id).unwrap_or(usize::MAX);
                    return Err(TokenizerError::Text { table, index });
                }
            }
        }
        Ok(())
    }

    fn validate_bytes(&self) -> Result<(), TokenizerError> {
        let table = "byte tokens";
        for byte in 0..=u8::MAX {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            let text = [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>'];
            let id = u32::from(byte) + FIRST_BYTE;
            self.vocabulary.check_id(table, id)?;
            if self.vocabulary.token(id) != Some(&text) {
                let index = usize::from(byte);
                return Err(TokenizerError::Text { table, index });
            }
        }
        Ok(())
    }

    /// `sorted` strictly ascends by text, then number: every token stands in it once.
    fn validate_sorted(&self) -> Result<(), TokenizerError> {
        let table = "sorted";
        let mut before: Option<(&[u8], u32)> = None;
        for index in 0..self.vocabulary.len() {
            let id = read_u32(self.sorted, index).unwrap_or(u32::MAX);
            self.vocabulary.check_id(table, id)?;
            let text = self.vocabulary.token(id).unwrap_or_default();
            if let Some((before, earlier)) = before
                && before.cmp(text).then(earlier.cmp(&id)) != Ordering::Less
            {
                return Err(TokenizerError::Order { table, index });
            }
            before = Some((text, id));
        }
        Ok(())
    }
}

/// Compares `text` with `start` followed by `end`.
fn compare(text: &[u8], start: &[u8], end: &[u8]) -> Ordering {
    match text.split_at_checked(start.len()) {
        Some((head, tail)) => head.cmp(start).then_with(|| tail.cmp(end)),
        // A text that is shorter than `start` is also shorter than both.
        None => text.cmp(start),
    }
}

/// Whether no space stands behind another character.
fn space_only_in_front(text: &[u8]) -> bool {
    !text
        .windows(2)
        .any(|pair| pair[0] != b' ' && pair[1] == b' ')
}

/// Length of the first character: up to three continuation bytes after any byte.
///
/// # Source
/// llama2.c, `run.c`, `encode`, which takes bytes that are not UTF-8 the same way.
fn character_len(text: &[u8]) -> usize {
    let more = text.iter().skip(1).take(3);
    let more = more.take_while(|byte| is_continuation(**byte)).count();
    text.len().min(1 + more)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Length of the first piece of a text: it ends where a run of spaces begins.
///
/// A space with a continuation byte behind it is no character of its own, so it is passed over.
pub(super) fn piece_len(text: &[u8]) -> usize {
    let mut len = 1;
    while let Some(&byte) = text.get(len) {
        let alone = !text.get(len + 1).is_some_and(|next| is_continuation(*next));
        if byte == b' ' && alone && text.get(len - 1) != Some(&b' ') {
            break;
        }
        len += 1;
    }
    len.min(text.len())
}
