//! Texts of tokens, one after the other, and where each ends.

use serde::{Deserialize, Serialize};

use super::TokenizerError;

/// Texts of tokens `0..n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain data that tokenizer builders write"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct Vocabulary<'a> {
    /// Where each token's text ends in `bytes`: `u32`, little-endian, ascending.
    #[serde(borrow)]
    pub ends: &'a [u8],
    /// The texts.
    #[serde(borrow)]
    pub bytes: &'a [u8],
}

impl<'a> Vocabulary<'a> {
    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of token `id`.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a [u8]> {
        let id = usize::try_from(id).ok()?;
        let end = read_u32(self.ends, id)?;
        let start = match id.checked_sub(1) {
            Some(before) => read_u32(self.ends, before)?,
            None => 0,
        };
        self.bytes
            .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    pub(super) fn validate(&self) -> Result<(), TokenizerError> {
        whole_entries("vocabulary ends", self.ends, 4)?;
        let mut before = 0;
        for index in 0..self.len() {
            let end = read_u32(self.ends, index).unwrap_or(0);
            if end < before {
                let table = "vocabulary ends";
                return Err(TokenizerError::Order { table, index });
            }
            before = end;
        }
        let needed = usize::try_from(before).unwrap_or(usize::MAX);
        if needed != self.bytes.len() {
            return Err(TokenizerError::Length {
                table: "vocabulary bytes",
                given: self.bytes.len(),
                needed,
            });
        }
        Ok(())
    }

    pub(super) fn check_id(&self, table: &'static str, id: u32) -> Result<(), TokenizerError> {
        let n_vocab = self.len();
        if usize::try_from(id).is_ok_and(|id| id < n_vocab) {
            Ok(())
        } else {
            Err(TokenizerError::Id { table, id, n_vocab })
        }
    }
}

/// Entry `index` of a table of little-endian `u32`.
pub(super) fn read_u32(table: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    let bytes = table.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Entry `index` of a table of little-endian `u16`.
pub(super) fn read_u16(table: &[u8], index: usize) -> Option<u16> {
    let at = index.checked_mul(2)?;
    let bytes = table.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

/// Checks that a table consists of whole entries.
pub(super) fn whole_entries(
    table: &'static str,
    bytes: &[u8],
    entry: usize,
) -> Result<(), TokenizerError> {
    if bytes.len().is_multiple_of(entry) {
        Ok(())
    } else {
        Err(TokenizerError::Length {
            table,
            given: bytes.len(),
            needed: entry,
        })
    }
}
