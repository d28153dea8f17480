//! Texts of any length to tokens, a slab at a time.

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::TokenizeError;

use super::encode::{CHUNK, Part, encode_parts, parts};
use super::{OwnedTokenizer, documents};

/// Bytes of text whose tokens are in memory at once.
const SLAB: usize = 1 << 24;

impl OwnedTokenizer {
    /// The tokens of `text`, as [`Tokenizer::encode`] gives them.
    ///
    /// # Errors
    /// [`TokenizeError::UnknownChar`] or [`TokenizeError::InvalidUtf8`], for characters.
    pub fn encode_text(&self, text: &[u8]) -> Result<Vec<u32>, TokenizeError> {
        collected(|sink| self.slabs(text, None, SLAB, sink))
    }

    /// The tokens to train on: for each document `bos`, its tokens, `eos`.
    ///
    /// Documents are separated by [`END_OF_TEXT`](super::END_OF_TEXT), and one newline on either side
    /// of it belongs to none; empty ones are left out. Where `bos` and `eos` are the same token, as
    /// GPT-2's, one stands between documents. A tokenizer without special tokens takes the whole text
    /// as one stream.
    ///
    /// # Errors
    /// As [`Self::encode_text`].
    pub fn encode_documents(&self, text: &[u8]) -> Result<Vec<u32>, TokenizeError> {
        collected(|sink| self.encode_slabs(text, sink))
    }

    /// As [`Self::encode_documents`] for a text of any length: gives the tokens to `sink` in order, a
    /// part at a time.
    ///
    /// # Errors
    /// As [`Self::encode_text`], and what `sink` returns.
    pub fn encode_slabs<E: From<TokenizeError>>(
        &self,
        text: &[u8],
        sink: &mut dyn FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let specials = self.view().specials();
        let eos = specials.eos.filter(|eos| specials.bos != Some(*eos));
        let frame = (specials.bos.is_some() || eos.is_some()).then_some((specials.bos, eos));
        self.slabs(text, frame, SLAB, sink)
    }

    /// Encodes `text` about `size` bytes at a time, as documents between the tokens of `frame` if there
    /// is one.
    pub(super) fn slabs<E: From<TokenizeError>>(
        &self,
        text: &[u8],
        frame: Option<(Option<u32>, Option<u32>)>,
        size: usize,
        sink: &mut dyn FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let tokenizer = self.view();
        if matches!(tokenizer, Tokenizer::Byte | Tokenizer::Char(_)) {
            return plain_slabs(&tokenizer, text, size, sink);
        }
        let whole = matches!(tokenizer, Tokenizer::SentencePiece(pieces) if !pieces.cuts_at_spaces);
        let chunk = if whole { usize::MAX } else { CHUNK.min(size) };
        let mut parts: Box<dyn Iterator<Item = Part<'_>>> = match frame {
            Some(_) => Box::new(documents(text).flat_map(|text| parts(text, chunk))),
            None => Box::new(parts(text, chunk)),
        };
        let (bos, eos) = frame.unwrap_or_default();
        loop {
            let (mut slab, mut bytes) = (Vec::new(), 0);
            while bytes < size
                && let Some(part) = parts.next()
            {
                bytes += part.text.len();
                slab.push(part);
            }
            if slab.is_empty() {
                return Ok(());
            }
            let mut ids = Vec::new();
            for (part, encoded) in slab.iter().zip(encode_parts(&tokenizer, &slab)?) {
                ids.extend(bos.filter(|_| part.first));
                ids.extend(encoded);
                ids.extend(eos.filter(|_| part.last));
            }
            sink(&ids)?;
        }
    }
}

/// All that `encode` gives to its sink.
fn collected(
    encode: impl FnOnce(
        &mut dyn FnMut(&[u32]) -> Result<(), TokenizeError>,
    ) -> Result<(), TokenizeError>,
) -> Result<Vec<u32>, TokenizeError> {
    let mut all = Vec::new();
    encode(&mut |ids| {
        all.extend_from_slice(ids);
        Ok(())
    })?;
    Ok(all)
}

/// Tokens that are bytes or characters.
fn plain_slabs<E: From<TokenizeError>>(
    tokenizer: &Tokenizer<'_>,
    text: &[u8],
    size: usize,
    sink: &mut dyn FnMut(&[u32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut ids = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let whole = |end: &usize| text.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80);
        let full = text.len().min(start + size);
        // A character that is cut would be none; broken text is refused by the tokenizer.
        let end = (full..text.len().min(full + 3)).find(whole);
        let slab = &text[start..end.unwrap_or(text.len().min(full + 3))];
        ids.resize(slab.len(), 0);
        let n = tokenizer
            .encode(slab, &mut ids)
            .map_err(|error| shifted(error, start))?;
        sink(&ids[..n])?;
        start += slab.len();
    }
    Ok(())
}

/// `error` of a text that stands at `start` of a longer one.
fn shifted(error: TokenizeError, start: usize) -> TokenizeError {
    match error {
        TokenizeError::UnknownChar { ch, offset } => TokenizeError::UnknownChar {
            ch,
            offset: start + offset,
        },
        TokenizeError::InvalidUtf8 { offset } => TokenizeError::InvalidUtf8 {
            offset: start + offset,
        },
        other => other,
    }
}
