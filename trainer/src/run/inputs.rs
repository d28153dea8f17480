//! The text of a run, before it is tokens.

use std::collections::BTreeSet;

use crate::base::Base;
use crate::data::sources::{self, Source};
use crate::run_config::{DataSettings, Facts, TokenizerChoice};
use crate::stories;
use crate::tokenizer::OwnedTokenizer;

use super::{RunError, memory};

/// Name under which the built-in stories appear.
const STORIES: &str = "built-in stories";

/// What is learned and what it is validated on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inputs {
    /// Texts to learn from.
    pub train: Vec<Source>,
    /// Texts to validate on; none means the end of `train`.
    pub val: Vec<Source>,
    /// The model to begin with.
    pub base: Option<Base>,
}

impl Inputs {
    /// Reads the files that `settings` name, or tells the built-in stories, and reads the model to
    /// begin with.
    ///
    /// # Errors
    /// A [`RunError`] that names the file, or says that there is no memory for such stories.
    pub fn read(settings: &DataSettings) -> Result<Self, RunError> {
        let train = if settings.files.is_empty() {
            memory::check_stories(settings.stories_bytes)?;
            let text = stories::corpus(
                settings.stories_seed,
                settings.stories_bytes as usize,
                settings.stories_longest,
            );
            vec![Source::text(STORIES, text)]
        } else {
            sources::read(&settings.files)?
        };
        let val = sources::read(&settings.val_files)?;
        let base = settings.from.as_deref().map(Base::open).transpose()?;
        Ok(Self { train, val, base })
    }

    /// What identifies the texts; the rest is left at nothing.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            version: String::new(),
            n_vocab: 0,
            n_params: 0,
            train_tokens: 0,
            val_tokens: 0,
            train_xxh64: None,
            val_xxh64: None,
            tokenizer_xxh64: None,
            data: self.train.iter().map(Source::fingerprint).collect(),
            val_data: self.val.iter().map(Source::fingerprint).collect(),
            from: self.base.as_ref().map(|base| base.fingerprint.clone()),
        }
    }

    /// The tokenizer that `choice` means for these texts.
    #[must_use]
    pub fn settle(&self, choice: TokenizerChoice) -> TokenizerChoice {
        let kept = self
            .base
            .as_ref()
            .is_some_and(|base| base.tokenizer.is_some());
        match choice {
            TokenizerChoice::Auto if kept => TokenizerChoice::Kept,
            _ => choice.settle(&self.train),
        }
    }

    /// Builds the tokenizer. Characters are those of all texts; BPE is learned on the training text.
    ///
    /// # Errors
    /// [`RunError::Tokenizer`], and for characters one that names the text that is not UTF-8.
    pub fn tokenizer(&self, choice: TokenizerChoice) -> Result<OwnedTokenizer, RunError> {
        match choice {
            TokenizerChoice::Byte => Ok(OwnedTokenizer::byte()),
            TokenizerChoice::Bpe { n_vocab } => {
                let texts: Vec<&[u8]> = self.train.iter().map(|s| s.bytes.as_slice()).collect();
                OwnedTokenizer::bpe(&texts, n_vocab as usize).map_err(RunError::Tokenizer)
            }
            TokenizerChoice::Kept => {
                let base = self.base.as_ref().and_then(|base| base.tokenizer.clone());
                base.ok_or(RunError::NothingKept)
            }
            TokenizerChoice::Char | TokenizerChoice::Auto => {
                let mut chars = BTreeSet::new();
                for source in self.train.iter().chain(&self.val) {
                    chars.extend(source.as_text()?.chars());
                }
                let chars: String = chars.into_iter().collect();
                OwnedTokenizer::chars(&chars).map_err(RunError::Tokenizer)
            }
        }
    }

    /// Tokens of the training and of the validation part.
    pub(super) fn tokens(
        &self,
        tokenizer: &OwnedTokenizer,
        val_fraction: f64,
    ) -> Result<(Vec<u32>, Vec<u32>), RunError> {
        let mut train = encode(tokenizer, &self.train)?;
        if !self.val.is_empty() {
            return Ok((train, encode(tokenizer, &self.val)?));
        }
        let n_val = (train.len() as f64 * val_fraction).round() as usize;
        let val = train.split_off(train.len() - n_val);
        Ok((train, val))
    }
}

fn encode(tokenizer: &OwnedTokenizer, sources: &[Source]) -> Result<Vec<u32>, RunError> {
    let mut tokens = Vec::new();
    for source in sources {
        let encoded = tokenizer.encode_documents(&source.bytes);
        tokens.extend(encoded.map_err(|error| RunError::Encode {
            name: source.name.clone(),
            error,
        })?);
    }
    Ok(tokens)
}
