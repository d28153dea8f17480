//! `--tokenizer`: how text becomes tokens.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::data::sources::Source;

/// Size of a BPE vocabulary that is not stated.
const N_VOCAB: u32 = 1024;
/// Texts with more different characters than this are learned as BPE.
const MOST_CHARACTERS: usize = 256;

/// Which tokenizer to build from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum TokenizerChoice {
    /// What fits the data: see [`TokenizerChoice::settle`].
    Auto,
    /// One token per character of the text.
    Char,
    /// One token per byte.
    Byte,
    /// Byte-level BPE learned on the text.
    Bpe {
        /// Tokens in the vocabulary.
        n_vocab: u32,
    },
    /// That of the model to begin with.
    Kept,
}

/// A name that is no tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownTokenizer {
    /// The name.
    pub name: String,
}

impl TokenizerChoice {
    /// Replaces [`TokenizerChoice::Auto`] by what fits: characters for UTF-8 text with at most 256
    /// different ones, BPE for other UTF-8 text, bytes for anything else.
    #[must_use]
    pub fn settle(self, sources: &[Source]) -> Self {
        if self != Self::Auto {
            return self;
        }
        let mut characters = BTreeSet::new();
        for source in sources {
            let Ok(text) = source.as_text() else {
                return Self::Byte;
            };
            characters.extend(text.chars());
        }
        if characters.len() <= MOST_CHARACTERS {
            Self::Char
        } else {
            Self::Bpe { n_vocab: N_VOCAB }
        }
    }
}

impl FromStr for TokenizerChoice {
    type Err = UnknownTokenizer;

    fn from_str(name: &str) -> Result<Self, UnknownTokenizer> {
        let unknown = || UnknownTokenizer {
            name: name.to_owned(),
        };
        match name {
            "auto" => Ok(Self::Auto),
            "char" => Ok(Self::Char),
            "byte" => Ok(Self::Byte),
            "kept" => Ok(Self::Kept),
            "bpe" => Ok(Self::Bpe { n_vocab: N_VOCAB }),
            _ => {
                let n_vocab = name.strip_prefix("bpe:").ok_or_else(unknown)?;
                let n_vocab = n_vocab.parse().map_err(|_| unknown())?;
                Ok(Self::Bpe { n_vocab })
            }
        }
    }
}

impl TryFrom<String> for TokenizerChoice {
    type Error = UnknownTokenizer;

    fn try_from(name: String) -> Result<Self, UnknownTokenizer> {
        name.parse()
    }
}

impl From<TokenizerChoice> for String {
    fn from(choice: TokenizerChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for TokenizerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Char => f.write_str("char"),
            Self::Byte => f.write_str("byte"),
            Self::Bpe { n_vocab } => write!(f, "bpe:{n_vocab}"),
            Self::Kept => f.write_str("kept"),
        }
    }
}

impl fmt::Display for UnknownTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no tokenizer {}; there are auto, char, byte, bpe, bpe:N with N tokens, and kept with --from",
            self.name
        )
    }
}

impl core::error::Error for UnknownTokenizer {}
