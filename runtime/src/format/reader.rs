//! Reading of a header: postcard's encoding, in a third of the code that `serde` makes of it.

use super::{CHECKSUM, Header, HeaderError, LoadError, Metadata};
use crate::config::{Hyperparameters, Mlp, Norm, Positions};
use crate::parts::copy;
use crate::quant::Format;
use crate::tokenizer::{
    Bpe, Chars, SentencePiece, Specials, Tokenizer, TokenizerError, Vocabulary,
};

/// Bytes that are read from the front.
///
/// The first failure is kept and nothing is left to read then: later values are zeros and empty, and
/// whoever reads asks once, at the end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    failure: Option<LoadError>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            failure: None,
        }
    }

    /// What is not read yet, or why reading failed.
    pub(super) fn rest(&self) -> Result<&'a [u8], LoadError> {
        self.failure.map_or(Ok(self.rest), Err)
    }

    #[inline(never)]
    pub(super) fn fail(&mut self, error: LoadError) {
        self.rest = &[];
        self.failure.get_or_insert(error);
    }

    /// The next `n` bytes.
    #[inline(never)]
    fn take(&mut self, n: usize) -> &'a [u8] {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                taken
            }
            None => {
                self.fail(LoadError::Truncated);
                &[]
            }
        }
    }

    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        copy(&mut array, self.take(N));
        array
    }

    /// Seven bits a byte, lowest first, as many as an integer of `bits` bits takes.
    #[inline(never)]
    fn varint(&mut self, bits: u32) -> usize {
        let (mut value, mut shift) = (0, 0);
        while shift < bits {
            let [byte] = self.array();
            let part = usize::from(byte & 0x7F);
            value |= part << shift;
            if byte < 0x80 {
                if bits - shift < 7 && part >> (bits - shift) != 0 {
                    break;
                }
                return value;
            }
            shift += 7;
        }
        self.fail(LoadError::Malformed);
        0
    }

    fn number(&mut self) -> u32 {
        self.varint(u32::BITS) as u32
    }

    /// Bytes behind their number.
    #[inline(never)]
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = self.varint(usize::BITS);
        self.take(len)
    }

    #[inline(never)]
    pub(super) fn text(&mut self) -> &'a str {
        let bytes = self.bytes();
        match bytes.utf8_chunks().next() {
            None => "",
            Some(chunk) if chunk.invalid().is_empty() => chunk.valid(),
            Some(_) => {
                self.fail(LoadError::Malformed);
                ""
            }
        }
    }

    /// One of `all`, by its number.
    fn choice<T: Copy>(&mut self, all: &[T], first: T) -> T {
        let index = self.index(all.len());
        all.get(index).copied().unwrap_or(first)
    }

    /// A number below `n`.
    #[inline(never)]
    fn index(&mut self, n: usize) -> usize {
        let index = self.varint(u32::BITS);
        if index >= n {
            self.fail(LoadError::Malformed);
        }
        index
    }

    /// A byte that is 0 or 1.
    #[inline(never)]
    fn flag(&mut self) -> bool {
        let [byte] = self.array();
        if byte > 1 {
            self.fail(LoadError::Malformed);
        }
        byte == 1
    }

    fn float(&mut self) -> f32 {
        f32::from_le_bytes(self.array())
    }

    /// The checksum, which is not encoded.
    pub(super) fn checksum(&mut self) -> u32 {
        u32::from_le_bytes(self.array::<CHECKSUM>())
    }

    // What follows has the fields in the order of their structs.

    pub(super) fn header(&mut self) -> Header<'a> {
        Header {
            hyperparameters: self.hyperparameters(),
            format: self.choice(&Format::ALL, Format::F32),
            tokenizer: self.tokenizer(),
            metadata: self.metadata(),
        }
    }

    fn hyperparameters(&mut self) -> Hyperparameters {
        let [n_vocab, n_ctx, n_embd, n_head, n_head_kv, n_layer, n_ff] =
            [(); 7].map(|()| self.number());
        Hyperparameters {
            n_vocab,
            n_ctx,
            n_embd,
            n_head,
            n_head_kv,
            n_layer,
            n_ff,
            positions: self.choice(&Positions::ALL, Positions::Learned),
            rope_theta: self.float(),
            norm: self.choice(&Norm::ALL, Norm::LayerNorm),
            mlp: self.choice(&Mlp::ALL, Mlp::Relu),
            bias: self.flag(),
            tied_head: self.flag(),
        }
    }

    fn tokenizer(&mut self) -> Tokenizer<'a> {
        match self.number() {
            0 => {}
            1 if cfg!(feature = "char") => {
                let code_points = self.bytes();
                return Tokenizer::Char(Chars { code_points });
            }
            2 if cfg!(feature = "bpe") => {
                return Tokenizer::Bpe(Bpe {
                    specials: self.specials(),
                    vocabulary: self.vocabulary(),
                    byte_ids: self.bytes(),
                    wide: self.flag(),
                    merges: self.bytes(),
                });
            }
            3 if cfg!(feature = "sentencepiece") => {
                return Tokenizer::SentencePiece(SentencePiece {
                    vocabulary: self.vocabulary(),
                    scores: self.bytes(),
                    sorted: self.bytes(),
                    cuts_at_spaces: self.flag(),
                });
            }
            1 => self.absent("char"),
            2 => self.absent("bpe"),
            3 => self.absent("sentencepiece"),
            _ => self.fail(LoadError::Malformed),
        }
        Tokenizer::Byte
    }

    fn absent(&mut self, feature: &'static str) {
        let error = TokenizerError::Absent { feature };
        self.fail(LoadError::Header(HeaderError::Tokenizer(error)));
    }

    fn specials(&mut self) -> Specials {
        let [pad, unk, bos, eos] = [(); 4].map(|()| self.flag().then(|| self.number()));
        Specials { pad, unk, bos, eos }
    }

    fn vocabulary(&mut self) -> Vocabulary<'a> {
        Vocabulary {
            ends: self.bytes(),
            bytes: self.bytes(),
        }
    }

    fn metadata(&mut self) -> Metadata<'a> {
        Metadata {
            name: self.text(),
            bits_per_byte: self.flag().then(|| self.float()),
            made_by: self.text(),
            chat_template: "", // lies behind the header
        }
    }
}

#[cfg(test)]
mod tests;
