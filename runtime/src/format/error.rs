//! What can be wrong with a model file.

use core::fmt;

use super::VERSION;
use crate::config::ConfigError;
use crate::features::absent;
use crate::quant::Format;
use crate::tokenizer::TokenizerError;

/// Why bytes are not a model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LoadError {
    /// The first bytes are not `MGPT`.
    NotAModel,
    /// A version that this program does not know.
    Version {
        /// The file's version.
        found: u8,
    },
    /// The file ends too early.
    Truncated,
    /// The bytes do not decode.
    Malformed,
    /// There are bytes after the weights.
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// What stands before the weights is no model's.
    Header(HeaderError),
    /// The weights are not as long as the hyper-parameters ask for.
    WeightsLength {
        /// Bytes they need.
        needed: u64,
        /// Bytes there are.
        given: usize,
    },
    /// The file lies at an address that is not a multiple of 16.
    Misaligned {
        /// Bytes past one.
        offset: usize,
    },
    /// The file was changed or damaged.
    Checksum {
        /// As written.
        stored: u32,
        /// Of the bytes there are.
        computed: u32,
    },
    /// The weights are stored in another format than asked for.
    Format {
        /// The file's.
        file: Format,
        /// The one asked for.
        asked: Format,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "copy or export it again";
        match *self {
            Self::NotAModel => {
                f.write_str("not a minigpt model: the file does not begin with \"MGPT\"")
            }
            Self::Version { found } => write!(
                f,
                "the file has version {found} and this program reads versions up to {VERSION}; update the program or export the model again"
            ),
            Self::Truncated => write!(f, "the file is cut short; {AGAIN}"),
            Self::Malformed => write!(f, "the file is damaged; {AGAIN}"),
            Self::TrailingBytes { extra } => {
                write!(f, "{extra} bytes too many follow the weights; {AGAIN}")
            }
            Self::Header(error) if error.absent_feature().is_some() => error.fmt(f),
            Self::Header(error) => write!(f, "the file is no model: {error}"),
            Self::WeightsLength { needed, given } => {
                write!(
                    f,
                    "the weights have {given} bytes and need {needed}; {AGAIN}"
                )
            }
            Self::Misaligned { offset } => write!(
                f,
                "the model lies {offset} bytes past a multiple of 16; move it to a 16-byte boundary"
            ),
            Self::Checksum { stored, computed } => write!(
                f,
                "the file is damaged: its checksum is {stored:08x} and its bytes give {computed:08x}; {AGAIN}"
            ),
            Self::Format { file, asked } => {
                let (file, asked) = (file.name(), asked.name());
                write!(
                    f,
                    "the weights are stored as {file} and {asked} was asked for"
                )
            }
        }
    }
}

impl core::error::Error for LoadError {}

/// What is wrong with what stands before the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The hyper-parameters are not a model.
    Config(ConfigError),
    /// The tokenizer is damaged.
    Tokenizer(TokenizerError),
    /// The tokenizer has more tokens than the model.
    Vocabulary {
        /// The model's.
        n_vocab: usize,
        /// The tokenizer's.
        tokens: usize,
    },
}

impl HeaderError {
    /// The feature of this crate that the model needs and that this program was built without.
    #[must_use]
    pub const fn absent_feature(&self) -> Option<&'static str> {
        match *self {
            Self::Config(ConfigError::Absent { feature })
            | Self::Tokenizer(TokenizerError::Absent { feature }) => Some(feature),
            _ => None,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(feature) = self.absent_feature() {
            return absent(f, feature);
        }
        match *self {
            Self::Config(error) => write!(f, "its hyper-parameters do not fit: {error}"),
            Self::Tokenizer(error) => write!(f, "its tokenizer is damaged: {error}"),
            Self::Vocabulary { n_vocab, tokens } => write!(
                f,
                "its tokenizer has {tokens} tokens and the model only {n_vocab}; export it again"
            ),
        }
    }
}

impl core::error::Error for HeaderError {}

/// Why a model cannot be written.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum WriteError {
    /// A file with this header could not be opened.
    Header(HeaderError),
    /// The header cannot be encoded.
    Encoding,
    /// The output has another length than [`super::file_bytes`].
    Length {
        /// Bytes of the file.
        needed: u64,
        /// Bytes of the output.
        given: u64,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Header(error) => write!(f, "this cannot be a model: {error}"),
            Self::Encoding => f.write_str("the header cannot be encoded"),
            Self::Length { needed, given } => {
                write!(f, "the file has {needed} bytes and the output {given}")
            }
        }
    }
}

impl core::error::Error for WriteError {}
