//! Characters as tokens.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::vocabulary::{read_u32, whole_entries};
use super::{TokenizeError, TokenizerError};

/// An alphabet: token `i` is its `i`-th character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain data that tokenizer builders write"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct Chars<'a> {
    /// The characters' code points: `u32`, little-endian, ascending.
    #[serde(borrow)]
    pub code_points: &'a [u8],
}

impl Chars<'_> {
    pub(super) fn n_vocab(&self) -> usize {
        self.code_points.len() / 4
    }

    pub(super) fn validate(&self) -> Result<(), TokenizerError> {
        let table = "code points";
        whole_entries(table, self.code_points, 4)?;
        let mut before = None;
        for index in 0..self.n_vocab() {
            let ch = read_u32(self.code_points, index).and_then(char::from_u32);
            if ch.is_none() {
                return Err(TokenizerError::Text { table, index });
            }
            if ch <= before {
                return Err(TokenizerError::Order { table, index });
            }
            before = ch;
        }
        Ok(())
    }

    /// The character of token `id`.
    pub(super) fn char(&self, id: u32) -> Option<char> {
        read_u32(self.code_points, usize::try_from(id).ok()?).and_then(char::from_u32)
    }

    fn id(&self, ch: char) -> Option<u32> {
        let index = find(self.n_vocab(), |index| {
            read_u32(self.code_points, index).cmp(&Some(u32::from(ch)))
        })?;
        u32::try_from(index).ok()
    }

    pub(super) fn encode(&self, text: &[u8], out: &mut [u32]) -> Result<usize, TokenizeError> {
        let text = core::str::from_utf8(text).map_err(|error| TokenizeError::InvalidUtf8 {
            offset: error.valid_up_to(),
        })?;
        let mut n = 0;
        for (offset, ch) in text.char_indices() {
            let id = self
                .id(ch)
                .ok_or(TokenizeError::UnknownChar { ch, offset })?;
            let given = out.len();
            *out.get_mut(n).ok_or(TokenizeError::BufferTooSmall {
                needed: text.len(),
                given,
            })? = id;
            n += 1;
        }
        Ok(n)
    }
}

/// Binary search in `0..len`; ends after at most 64 steps whatever `compare` answers.
pub(super) fn find(len: usize, mut compare: impl FnMut(usize) -> Ordering) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(middle) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}
