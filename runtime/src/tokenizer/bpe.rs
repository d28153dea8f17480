//! Byte-level BPE, as GPT-2's.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::chars::find;
use super::vocabulary::{read_u16, read_u32, whole_entries};
use super::{Specials, TokenizerError, Vocabulary};

/// Tables of a byte-level BPE: ours, GPT-2's, or any of the kind.
///
/// Each merge stores its rank besides the token it makes, although tokens are usually numbered by
/// rank: two merges may make the same token (`a|bc` and `ab|c`), and then one of them cannot have
/// the rank of its token's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain data that tokenizer builders write"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct Bpe<'a> {
    /// The tokens that stand for no text.
    pub specials: Specials,
    /// Texts of all tokens.
    #[serde(borrow)]
    pub vocabulary: Vocabulary<'a>,
    /// The token of each byte: 256 `u32`, little-endian.
    #[serde(borrow)]
    pub byte_ids: &'a [u8],
    /// Whether numbers in `merges` are `u32`; if not, `u16`.
    pub wide: bool,
    /// Merges: left token, right token, rank, token they make; little-endian, ascending by the two
    /// tokens. The lowest rank merges first.
    #[serde(borrow)]
    pub merges: &'a [u8],
}

impl Bpe<'_> {
    /// Number of merges.
    #[must_use]
    pub fn n_merges(&self) -> usize {
        self.merges.len() / self.entry()
    }

    /// Rank of the merge of two neighbours, and the token it makes.
    #[must_use]
    pub fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let index = find(self.n_merges(), |index| {
            let pair = self.pair(index);
            pair.map_or(Ordering::Greater, |pair| pair.cmp(&(left, right)))
        })?;
        self.number(index, 2).zip(self.number(index, 3))
    }

    /// The token of a byte.
    #[must_use]
    pub fn byte_id(&self, byte: u8) -> u32 {
        read_u32(self.byte_ids, usize::from(byte)).unwrap_or(0)
    }

    /// Bytes of one merge.
    fn entry(&self) -> usize {
        if self.wide { 16 } else { 8 }
    }

    /// The two tokens of a merge; what the search reads, so in one piece.
    fn pair(&self, index: usize) -> Option<(u32, u32)> {
        let entry = self.merges.get(index * self.entry()..)?;
        if self.wide {
            let [a, b, c, d, e, f, g, h] = *entry.first_chunk()?;
            Some((
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ))
        } else {
            let [a, b, c, d] = *entry.first_chunk()?;
            Some((
                u32::from(u16::from_le_bytes([a, b])),
                u32::from(u16::from_le_bytes([c, d])),
            ))
        }
    }

    fn number(&self, index: usize, field: usize) -> Option<u32> {
        let at = index * 4 + field;
        if self.wide {
            read_u32(self.merges, at)
        } else {
            read_u16(self.merges, at).map(u32::from)
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenizerError> {
        self.vocabulary.validate()?;
        for id in self.specials.all().into_iter().flatten() {
            self.vocabulary.check_id("specials", id)?;
        }
        self.validate_bytes()?;
        whole_entries("merges", self.merges, self.entry())?;
        (0..self.n_merges()).try_for_each(|index| self.validate_merge(index))
    }

    fn validate_bytes(&self) -> Result<(), TokenizerError> {
        let table = "byte ids";
        if self.byte_ids.len() != 256 * 4 {
            return Err(TokenizerError::Length {
                table,
                given: self.byte_ids.len(),
                needed: 256 * 4,
            });
        }
        for byte in 0..=u8::MAX {
            let id = self.byte_id(byte);
            self.vocabulary.check_id(table, id)?;
            if self.vocabulary.token(id) != Some(&[byte]) || self.specials.contains(id) {
                let index = usize::from(byte);
                return Err(TokenizerError::Text { table, index });
            }
        }
        Ok(())
    }

    fn validate_merge(&self, index: usize) -> Result<(), TokenizerError> {
        let table = "merges";
        if index > 0 && self.pair(index - 1) >= self.pair(index) {
            return Err(TokenizerError::Order { table, index });
        }
        let ids = [0, 1, 3].map(|field| self.number(index, field).unwrap_or(u32::MAX));
        for id in ids {
            self.vocabulary.check_id(table, id)?;
        }
        let [left, right, made] = ids.map(|id| self.vocabulary.token(id).unwrap_or_default());
        let spells = made.strip_prefix(left) == Some(right);
        let special = ids.iter().any(|&id| self.specials.contains(id));
        if !spells || left.is_empty() || right.is_empty() || special {
            return Err(TokenizerError::Text { table, index });
        }
        Ok(())
    }
}
