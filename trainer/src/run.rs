//! A run directory: all that is known of a run, in files that speak for themselves.
//!
//! ```text
//! config.toml     settings as resolved, and the data they were used on
//! tokenizer       its tables, as in the model file
//! data/           tokens of the training and the validation part
//! metrics.jsonl   one line per logged step
//! loss.svg        the same as a picture
//! checkpoints/    the latest, and the best
//! samples/        texts that the model wrote
//! model.mgpt      the result
//! ```
//! The directory is made under another name and renamed, so that it is there whole or not at all.

mod error;
mod inputs;
mod trained;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use crate::checkpoint;
use crate::data::DataError;
use crate::data::token_file::TokenFile;
use crate::durable;
use crate::metrics::MetricsLog;
use crate::run_config::{Difference, Facts, RunConfig, RunConfigError};
use crate::tokenizer::OwnedTokenizer;

pub use error::RunError;
pub use inputs::Inputs;
pub use trained::Trained;

/// Settings that may change when a run is taken further.
pub(crate) const EXTENDABLE: [&str; 2] = ["steps", "patience"];

/// What a run is doing before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Building a tokenizer from the text.
    Tokenizer,
    /// Turning the text into tokens.
    Tokens,
}

/// A run directory that is open: no other process trains in it meanwhile.
#[derive(Debug)]
#[non_exhaustive]
pub struct Run {
    path: PathBuf,
    /// All settings, resolved.
    pub settings: RunConfig,
    /// Shape of the model.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: OwnedTokenizer,
    /// Tokens to learn from.
    pub train: TokenFile,
    /// Tokens to validate on.
    pub val: TokenFile,
    /// The record.
    pub log: MetricsLog,
}

impl Run {
    /// Settings of the run in the directory `path`, or `None` if there is nothing there.
    ///
    /// # Errors
    /// [`RunError::Foreign`] if there is something there that is no run.
    pub fn find(path: &Path) -> Result<Option<RunConfig>, RunError> {
        let foreign = || RunError::Foreign {
            path: path.to_owned(),
        };
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_none() {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(foreign()),
            Err(error) => return Err(RunError::file(path, error)),
        }
        let file = path.join("config.toml");
        if !file.is_file() {
            return Err(foreign());
        }
        let text = fs::read_to_string(&file).map_err(|error| RunError::file(&file, error))?;
        let settings = toml::from_str(&text).map_err(|error| RunError::Malformed {
            path: file,
            message: error.to_string().trim().to_owned(),
        })?;
        Ok(Some(settings))
    }

    /// Makes the run directory `path` for `settings` and opens it.
    ///
    /// # Errors
    /// A [`RunError`]; there is then no such directory.
    pub fn create(
        path: &Path,
        settings: RunConfig,
        inputs: &Inputs,
        progress: &mut dyn FnMut(Stage),
    ) -> Result<Self, RunError> {
        let aside = durable::partial(path);
        let failed = |error| RunError::file(path, error);
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(failed)?;
        }
        fs::create_dir_all(aside.join("data")).map_err(failed)?;
        let prepared = prepare(&aside, settings, inputs, progress)
            .and_then(|()| durable::publish_directory(&aside, path).map_err(failed));
        if let Err(error) = prepared {
            // The error that counts is the first; a leftover is removed at the next start anyway.
            let _ = fs::remove_dir_all(&aside);
            return Err(error);
        }
        Self::open(path)
    }

    /// Opens the run directory `path`.
    ///
    /// # Errors
    /// A [`RunError`] that says which of its files is wrong.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let settings = Self::find(path)?.ok_or_else(|| RunError::Absent {
            path: path.to_owned(),
        })?;
        let log = MetricsLog::open(&path.join("metrics.jsonl"))?;
        checkpoint::remove_leftovers(&path.join("checkpoints"))?;
        let (tokenizer, config) = tokenizer_and_config(path, &settings)?;
        let n_vocab = config.n_vocab();
        let data = path.join("data");
        let train = TokenFile::open(&data, "train", n_vocab)?;
        let val = TokenFile::open(&data, "val", n_vocab)?;
        enough(&train, &config)?;
        Ok(Self {
            path: path.to_owned(),
            settings,
            config,
            tokenizer,
            train,
            val,
            log,
        })
    }

    /// Takes over those of the new `settings` that may change without making another run, and
    /// writes them down. Steps and patience are among them only if the run is to be `extended`.
    ///
    /// # Errors
    /// [`RunError::Differs`] names all settings that may not change.
    pub fn adopt(&mut self, settings: &RunConfig, extended: bool) -> Result<(), RunError> {
        let differences = forbidden(&self.settings, settings, extended);
        if !differences.is_empty() {
            return Err(RunError::Differs {
                path: self.path.clone(),
                differences,
                further: forbidden(&self.settings, settings, true).is_empty(),
            });
        }
        let mut adopted = self.settings.clone();
        adopted.run = settings.run.clone();
        if extended {
            adopted.training = settings.training.clone();
        }
        if adopted != self.settings {
            write_settings(&self.path, &adopted)?;
            self.settings = adopted;
        }
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its checkpoints are.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where its texts are.
    #[must_use]
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Where its result is.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.path.join("model.mgpt")
    }
}

/// The tokenizer in the directory `path`, and the model's shape with its vocabulary.
fn tokenizer_and_config(
    path: &Path,
    settings: &RunConfig,
) -> Result<(OwnedTokenizer, Config), RunError> {
    let file = path.join("tokenizer");
    let bytes = fs::read(&file).map_err(|error| RunError::file(&file, error))?;
    let tokenizer = OwnedTokenizer::from_bytes(bytes).map_err(RunError::Tokenizer)?;
    let n_vocab = tokenizer.view().n_vocab() as u32;
    let shape = settings.model.hyperparameters(n_vocab);
    let config = Config::new(shape).map_err(RunConfigError::Model)?;
    Ok((tokenizer, config))
}

/// What `new` may not change of `old`. To extend a run is to raise its steps, never to lower them.
fn forbidden(old: &RunConfig, new: &RunConfig, extended: bool) -> Vec<Difference> {
    let extends = extended && new.training.steps >= old.training.steps;
    let mut differences = old.differences(new);
    differences.retain(|one| !(extends && EXTENDABLE.contains(&one.field.as_str())));
    differences
}

/// Fills the directory `aside` with tokenizer, tokens and settings.
fn prepare(
    aside: &Path,
    mut settings: RunConfig,
    inputs: &Inputs,
    progress: &mut dyn FnMut(Stage),
) -> Result<(), RunError> {
    progress(Stage::Tokenizer);
    settings.data.tokenizer = inputs.settle(settings.data.tokenizer);
    let tokenizer = inputs.tokenizer(settings.data.tokenizer)?;
    let n_vocab = tokenizer.view().n_vocab();
    let shape = settings.model.hyperparameters(n_vocab as u32);
    let config = Config::new(shape).map_err(RunConfigError::Model)?;
    progress(Stage::Tokens);
    let (train, val) = inputs.tokens(&tokenizer, settings.data.val_fraction)?;
    let data = aside.join("data");
    TokenFile::create(&data, "train", &train, n_vocab)?;
    TokenFile::create(&data, "val", &val, n_vocab)?;
    durable::sync_directory(&data).map_err(|error| RunError::file(&data, error))?;
    enough(&TokenFile::open(&data, "train", n_vocab)?, &config)?;
    let file = aside.join("tokenizer");
    durable::write_synced(&file, tokenizer.bytes())
        .map_err(|error| RunError::file(&file, error))?;
    settings.facts = Some(Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        n_vocab: n_vocab as u32,
        n_params: layout::n_params(&config),
        train_tokens: train.len() as u64,
        val_tokens: val.len() as u64,
        ..inputs.facts()
    });
    write_settings(aside, &settings)
}

/// A window and the target behind its last token must fit.
fn enough(train: &TokenFile, config: &Config) -> Result<(), DataError> {
    let (tokens, n_ctx) = (train.len(), config.n_ctx());
    if tokens > n_ctx {
        Ok(())
    } else {
        Err(DataError::TooShort { tokens, n_ctx })
    }
}

fn write_settings(directory: &Path, settings: &RunConfig) -> Result<(), RunError> {
    let file = directory.join("config.toml");
    let text = toml::to_string(settings).map_err(|error| RunError::Malformed {
        path: file.clone(),
        message: error.to_string(),
    })?;
    durable::replace_file(&file, text.as_bytes()).map_err(|error| RunError::file(&file, error))
}

#[cfg(test)]
mod tests;
