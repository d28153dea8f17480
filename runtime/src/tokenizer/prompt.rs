//! How a text begins, and how it ends.

use super::{Specials, TokenizeError, Tokenizer};

impl Specials {
    /// The tokens that end a text: the end of a document, and the beginning of another.
    pub fn ends(self) -> impl Iterator<Item = u32> {
        [self.eos, self.bos].into_iter().flatten()
    }

    /// Whether `id` is one of [`Self::ends`].
    #[must_use]
    pub fn is_end(self, id: u32) -> bool {
        [self.eos, self.bos].contains(&Some(id))
    }
}

impl Tokenizer<'_> {
    /// The token that a text with nothing before it comes after: `bos`, or else the end of a line where that is
    /// one token, or else token 0.
    #[must_use]
    pub fn beginning(&self) -> u32 {
        if let Some(bos) = self.specials().bos {
            return bos;
        }
        let mut newline = [0; 2];
        match self.encode(b"\n", &mut newline) {
            Ok(1) => newline[0],
            _ => 0,
        }
    }

    /// Encodes a text that a model is to continue into `out` and returns the number of tokens, at least 1: `bos`,
    /// if there is one, and the tokens of `text`; of an empty text [`Self::beginning`].
    ///
    /// A buffer of `text.len() + 2` tokens always suffices.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_prompt(&self, text: &[u8], out: &mut [u32]) -> Result<usize, TokenizeError> {
        let too_small = TokenizeError::BufferTooSmall {
            needed: text.len().saturating_add(2),
            given: out.len(),
        };
        let first = usize::from(self.specials().bos.is_some());
        let rest = out.get_mut(first..).ok_or(too_small)?;
        let n = self.encode(text, rest).map_err(|error| match error {
            TokenizeError::BufferTooSmall { .. } => too_small,
            other => other,
        })?;
        if first == 1 || n == 0 {
            *out.first_mut().ok_or(too_small)? = self.beginning();
        }
        Ok((first + n).max(1))
    }
}
