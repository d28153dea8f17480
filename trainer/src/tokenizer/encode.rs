//! Chunks of text to tokens.
//!
//! Text is cut where no tokenizer's piece can cross, the chunks are encoded on all threads, and each
//! thread remembers the tokens of the words it has seen. Long words merge through a heap instead of
//! the runtime's passes. None of this changes a token.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::TokenizeError;
use rayon::prelude::*;

/// Bytes of text that a thread encodes at a time.
pub(super) const CHUNK: usize = 1 << 17;

/// Words longer than this merge through a heap and are not remembered, in bytes.
const LONG: usize = 64;

/// Tokens that a thread remembers before it starts afresh; bounds memory.
const REMEMBERED: usize = 1 << 20;

/// Text that is encoded on its own.
pub(super) struct Part<'t> {
    pub(super) text: &'t [u8],
    /// Whether it begins and ends a document.
    pub(super) first: bool,
    pub(super) last: bool,
}

/// The chunks of a document, of about `size` bytes.
pub(super) fn parts(document: &[u8], size: usize) -> impl Iterator<Item = Part<'_>> {
    let (start, mut rest) = (document.as_ptr(), document.len());
    cut(document, size).map(move |text| {
        rest -= text.len();
        Part {
            text,
            first: text.as_ptr() == start,
            last: rest == 0,
        }
    })
}

/// The tokens of each part.
pub(super) fn encode_parts<'t>(
    tokenizer: &Tokenizer<'_>,
    parts: &[Part<'t>],
) -> Result<Vec<Vec<u32>>, TokenizeError> {
    // As many runs as threads, because each begins with an empty memory.
    let run = parts.len().div_ceil(rayon::current_num_threads()).max(1);
    let encoded: Result<Vec<Vec<Vec<u32>>>, TokenizeError> = parts
        .par_chunks(run)
        .map(|parts| {
            let mut encoder = Encoder::new(tokenizer);
            let encode = |part: &Part<'t>| encoder.encode(part.text, part.first);
            parts.iter().map(encode).collect()
        })
        .collect();
    Ok(encoded?.into_iter().flatten().collect())
}

/// Chunks of a text that are cut into the same words as the text.
pub(crate) fn chunks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    cut(text, CHUNK)
}

fn cut(mut text: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let at = (size..text.len())
            .find(|&at| is_boundary(text, at))
            .unwrap_or(text.len());
        let (chunk, rest) = text.split_at(at);
        text = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Whether a space that begins at `at` follows a character that is none.
///
/// A word of GPT-2's expression never holds that, and looks ahead only from a space; llama2.c's
/// pieces end there by definition. The space must not be part of a broken character.
fn is_boundary(text: &[u8], at: usize) -> bool {
    let alone = text.get(at + 1).is_none_or(u8::is_ascii);
    if text[at] != b' ' || !alone {
        return false;
    }
    let before = &text[at.saturating_sub(4)..at];
    let start = before.iter().rposition(|byte| byte & 0xc0 != 0x80);
    let character = start.and_then(|start| core::str::from_utf8(&before[start..]).ok());
    character.is_some_and(|character| !character.contains(char::is_whitespace))
}

/// One thread's encoder and its memory.
struct Encoder<'a, 't> {
    tokenizer: &'a Tokenizer<'a>,
    /// Where a word's tokens stand in `ids`.
    words: HashMap<&'t [u8], (usize, usize)>,
    ids: Vec<u32>,
    buffer: Vec<u32>,
}

impl<'a, 't> Encoder<'a, 't> {
    fn new(tokenizer: &'a Tokenizer<'a>) -> Self {
        Self {
            tokenizer,
            words: HashMap::new(),
            ids: Vec::new(),
            buffer: vec![0; LONG + 1],
        }
    }

    fn encode(&mut self, chunk: &'t [u8], first: bool) -> Result<Vec<u32>, TokenizeError> {
        let mut out = Vec::with_capacity(chunk.len() / 3);
        for (index, piece) in self.tokenizer.pieces(chunk).enumerate() {
            let first = first && index == 0;
            if first || piece.len() > LONG {
                out.extend(self.encode_long(piece, first)?);
                continue;
            }
            if let Some(&(start, end)) = self.words.get(piece) {
                out.extend_from_slice(&self.ids[start..end]);
                continue;
            }
            let n = self
                .tokenizer
                .encode_piece(piece, false, &mut self.buffer)?;
            let ids = &self.buffer[..n];
            out.extend_from_slice(ids);
            if self.ids.len() > REMEMBERED {
                self.words.clear();
                self.ids.clear();
            }
            self.words
                .insert(piece, (self.ids.len(), self.ids.len() + n));
            self.ids.extend_from_slice(ids);
        }
        Ok(out)
    }

    fn encode_long(&self, piece: &[u8], first: bool) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = vec![0; piece.len() + 1];
        let n = self.tokenizer.symbols(piece, first, &mut ids)?;
        ids.truncate(n);
        match self.tokenizer {
            Tokenizer::Bpe(bpe) => merge_all(&mut ids, |left, right| bpe.merge(left, right)),
            Tokenizer::SentencePiece(pieces) => merge_all(&mut ids, |left, right| {
                pieces
                    .merge(left, right)
                    .map(|(key, id)| (sortable(key), id))
            }),
            _ => {}
        }
        Ok(ids)
    }
}

/// Numbers in the order of `key`, which is not NaN.
fn sortable(key: f32) -> u32 {
    let bits = (key + 0.0).to_bits(); // -0 becomes 0
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

/// Merges neighbours with the lowest key, the leftmost of equals first, until none can merge.
///
/// Time `n log n`: a heap of pairs over a list of tokens linked by position.
fn merge_all(ids: &mut Vec<u32>, merge: impl Fn(u32, u32) -> Option<(u32, u32)>) {
    let n = ids.len();
    // The token at `i` has its right neighbour at `next[i]`, its left one at `before[i]`.
    let mut next: Vec<usize> = (1..=n).collect();
    let mut before: Vec<usize> = (0..n).map(|i| i.wrapping_sub(1)).collect();
    let mut heap = BinaryHeap::new();
    let candidate = |ids: &[u32], left: usize, right: usize| {
        let pair = (*ids.get(left)?, *ids.get(right)?);
        let (key, id) = merge(pair.0, pair.1)?;
        Some(Reverse((key, left, pair, id)))
    };
    heap.extend((1..n).filter_map(|right| candidate(ids, right - 1, right)));
    let mut gone = vec![false; n];
    while let Some(Reverse((_, left, pair, id))) = heap.pop() {
        let right = next[left];
        if gone[left] || right >= n || (ids[left], ids[right]) != pair {
            continue;
        }
        ids[left] = id;
        gone[right] = true;
        next[left] = next[right];
        if let Some(after) = before.get_mut(next[right]) {
            *after = left;
        }
        heap.extend(candidate(ids, before[left], left));
        heap.extend(candidate(ids, left, next[left]));
    }
    let mut gone = gone.into_iter();
    ids.retain(|_| gone.next() == Some(false));
}
