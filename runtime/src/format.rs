//! The model file, `.mgpt`: one postcard document, read and written here and nowhere else.
//!
//! | Field | Encoding |
//! |---|---|
//! | magic | the bytes `MGPT` |
//! | version | one byte, up to [`VERSION`] |
//! | hyper-parameters | [`Hyperparameters`] |
//! | weight format | [`Format`] |
//! | tokenizer | [`Tokenizer`] |
//! | metadata | [`Metadata`] |
//! | chat template | a string, from version 3 on |
//! | checksum | XXH32 of the whole file with these 4 bytes as zeros, little-endian |
//! | pad | 0 to 15 zero bytes, behind their number |
//! | weights | the tensors of [`crate::layout`], behind their number of bytes |
//!
//! The pad puts the weights on a 16-byte boundary of the file, so a file that lies at such an
//! address is used where it lies: nothing is copied. Offsets are computed from the
//! hyper-parameters and not stored, so none can lie.

mod error;
#[cfg(test)]
mod golden;
mod reader;
mod write;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh32::Xxh32;

pub use self::error::{HeaderError, LoadError, WriteError};
use self::reader::Reader;
pub use self::write::{file_bytes, write};
use crate::config::{self, Config, Hyperparameters};
use crate::layout::{self, ALIGNMENT, TensorId};
use crate::model::Model;
use crate::parts::part;
use crate::quant::{Format, WeightFormat};
use crate::tokenizer::Tokenizer;

/// The first bytes of every file.
pub const MAGIC: [u8; 4] = *b"MGPT";

/// The newest version; older ones keep opening, and are written where nothing newer is needed.
///
/// | Version | Adds |
/// |---|---|
/// | 1 | |
/// | 2 | [`Format::Q8Dsp`] |
/// | 3 | [`Metadata::chat_template`] |
/// | 4 | [`Format::Q4`] |
pub const VERSION: u8 = 4;

/// The first version that has a chat template.
const TEMPLATE_VERSION: u8 = 3;

/// Bytes of magic and version.
const PREFIX: usize = MAGIC.len() + 1;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// What stands before the weights.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "writers fill in every field")]
// The order of the fields is the file format; one more is a new version of it.
pub struct Header<'a> {
    /// The model's shape.
    pub hyperparameters: Hyperparameters,
    /// How its matrices are stored.
    pub format: Format,
    /// Its tokenizer.
    #[serde(borrow)]
    pub tokenizer: Tokenizer<'a>,
    /// Where it comes from.
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
}

/// Where a model comes from; nothing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "writers fill in every field")]
// The order of the fields is the file format; one more is a new version of it.
pub struct Metadata<'a> {
    /// A name for people.
    pub name: &'a str,
    /// Validation loss in bits per byte of text, if it was measured.
    pub bits_per_byte: Option<f32>,
    /// How it was made: the command, the data, the seed.
    pub made_by: &'a str,
    /// How a conversation is written for it, in Jinja as Hugging Face's chat templates are; empty for none.
    // Behind the header, where its version has it.
    #[serde(skip)]
    pub chat_template: &'a str,
}

impl Header<'_> {
    /// The oldest version of the file that can hold this.
    pub(crate) fn version(&self) -> u8 {
        match self.metadata.chat_template {
            "" => self.format.version(),
            _ => self.format.version().max(TEMPLATE_VERSION),
        }
    }

    /// Checks the header, and gives the shape it states.
    ///
    /// A tokenizer may have fewer tokens than the model has rows, and often does: rows are added up
    /// to a number that suits the hardware. The rows behind it stand for no text, so whoever samples
    /// looks at the first [`Tokenizer::n_vocab`] logits only.
    ///
    /// # Errors
    /// A [`HeaderError`] if the hyper-parameters are not a model, the tokenizer is damaged, or has
    /// more tokens than the model.
    pub fn config(&self) -> Result<Config, HeaderError> {
        let config = Config::new(self.hyperparameters).map_err(HeaderError::Config)?;
        let checked = self.tokenizer.validate();
        checked.map_err(HeaderError::Tokenizer)?;
        let (n_vocab, tokens) = (config.n_vocab(), self.tokenizer.n_vocab());
        if tokens > n_vocab {
            return Err(HeaderError::Vocabulary { n_vocab, tokens });
        }
        Ok(config)
    }

    /// The features of this crate that a program for this model needs, besides one for `f32` or `f16` as the
    /// format of keys and values: `kv-float`.
    pub fn features(&self) -> impl Iterator<Item = &'static str> + use<> {
        let shape = config::features(&self.hyperparameters);
        let needed = shape.into_iter().chain([self.tokenizer.feature()]);
        needed.flatten().map(|feature| feature.name)
    }
}

/// A file that was opened: header checked, weights in place.
#[derive(Clone, Copy, Debug)]
pub struct ModelFile<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    config: Config,
    checksum: u32,
    checksum_at: usize,
    weights: &'a [u8],
}

impl<'a> ModelFile<'a> {
    /// Opens the file that `bytes` hold, without copying.
    ///
    /// Checks everything but the checksum (see [`Self::verify`]): whatever the bytes, the result is
    /// an error or a file that can be used without fear.
    ///
    /// # Errors
    /// A [`LoadError`] that says what is wrong.
    pub fn open(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let file = Self::open_at(bytes)?;
        let extra = bytes.len() - file.len();
        if extra > 0 {
            return Err(LoadError::TrailingBytes { extra });
        }
        Ok(file)
    }

    /// Opens the file at the beginning of `bytes`, whatever follows: a flash partition.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_at(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let (version, rest) = after_prefix(bytes)?;
        let mut reader = Reader::new(rest);
        let mut header = reader.header();
        if version >= TEMPLATE_VERSION {
            header.metadata.chat_template = reader.text();
        }
        let checksum_at = bytes.len() - reader.rest()?.len();
        let (checksum, pad, weights) = (reader.checksum(), reader.bytes(), reader.bytes());
        let bytes = part(bytes, 0, bytes.len() - reader.rest()?.len());
        let zeros = pad.iter().all(|byte| *byte == 0);
        if header.format.version() > version || pad.len() >= ALIGNMENT || !zeros {
            return Err(LoadError::Malformed);
        }
        let config = header.config().map_err(LoadError::Header)?;
        let (needed, given) = (layout::weights_bytes(&config, header.format), weights.len());
        if needed != given as u64 {
            return Err(LoadError::WeightsLength { needed, given });
        }
        let offset = weights.as_ptr().addr() % ALIGNMENT;
        if offset != 0 {
            return Err(LoadError::Misaligned { offset });
        }
        Ok(Self {
            bytes,
            header,
            config,
            checksum,
            checksum_at,
            weights,
        })
    }

    /// Compares the checksum with every byte of the file.
    ///
    /// # Errors
    /// [`LoadError::Checksum`] if the file was changed or damaged.
    pub fn verify(&self) -> Result<(), LoadError> {
        let computed = checksum(self.bytes, self.checksum_at);
        if computed == self.checksum {
            Ok(())
        } else {
            Err(LoadError::Checksum {
                stored: self.checksum,
                computed,
            })
        }
    }

    /// Its shape.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What stands before the weights.
    #[must_use]
    pub const fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// Its tokenizer, which may have fewer tokens than the model has rows: see [`Header::config`].
    #[must_use]
    pub const fn tokenizer(&self) -> &Tokenizer<'a> {
        &self.header.tokenizer
    }

    /// How its matrices are stored.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.header.format
    }

    /// The bytes of tensor `id` as they are stored, without padding; `None` if the model has no such tensor.
    #[must_use]
    pub fn stored(&self, id: TensorId) -> Option<&'a [u8]> {
        let spec = layout::spec(&self.config, id)?;
        let start = layout::offset(&self.config, id, self.format()) as usize;
        let len = spec.stored_bytes(self.format()) as usize;
        Some(part(self.weights, start, len))
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a file that opened has a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The model, as one whose matrices are stored as `W`.
    ///
    /// # Errors
    /// [`LoadError::Format`] if they are stored otherwise.
    pub fn model<W: WeightFormat>(&self) -> Result<Model<'a, W>, LoadError> {
        if self.format() != W::FORMAT {
            return Err(LoadError::Format {
                file: self.format(),
                asked: W::FORMAT,
            });
        }
        Ok(Model::new(self.config, self.weights))
    }
}

/// The version, and what follows it.
fn after_prefix(bytes: &[u8]) -> Result<(u8, &[u8]), LoadError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(match bytes.len().min(MAGIC.len()) {
            n if n > 0 && bytes[..n] == MAGIC[..n] => LoadError::Truncated,
            _ => LoadError::NotAModel,
        });
    };
    let [magic @ .., version] = *prefix;
    if magic != MAGIC {
        return Err(LoadError::NotAModel);
    }
    if !(1..=VERSION).contains(&version) {
        return Err(LoadError::Version { found: version });
    }
    Ok((version, rest))
}

fn checksum(bytes: &[u8], at: usize) -> u32 {
    let mut hash = Xxh32::new(0);
    hash.update(part(bytes, 0, at));
    hash.update(&[0; CHECKSUM]);
    hash.update(bytes.get(at + CHECKSUM..).unwrap_or_default());
    hash.digest()
}

#[cfg(test)]
pub(crate) mod tests;
