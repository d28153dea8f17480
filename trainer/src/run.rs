//! A run directory: all that is known of a run, in files that speak for themselves.
//!
//! ```text
//! config.toml     settings as resolved, and the data they were used on
//! tokenizer       its tables, as in the model file
//! data/           tokens of the training and the validation part
//! metrics.jsonl   one line per logged step
//! metrics.csv     the same as a table
//! loss.svg        the same as a picture
//! tensorboard/    the same as event files, where they are wanted
//! checkpoints/    the latest, and the best
//! loaded.txt      what came from the model to begin with, if there was one
//! diverged.json   where and how training diverged, if it did
//! samples/        texts that the model wrote, each named by its step
//! model.mgpt      the result
//! ```
//! `config.toml` is written last: a directory is a run when it has one. Until then a hidden file says
//! that what is there is an unfinished run, to be made anew.

mod divergence;
mod error;
mod files;
mod inputs;
mod memory;
mod paths;
mod plan;
mod prepare;
mod start;
mod threads;
mod trained;
mod unfinished;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Config;

use crate::checkpoint;
use crate::data::token_file::TokenFile;
use crate::device::Choice;
use crate::durable;
use crate::metrics::MetricsLog;
use crate::run_config::{Difference, RunConfig, RunConfigError};
use crate::tokenizer::OwnedTokenizer;

pub use self::memory::available as available_memory;
pub use divergence::Divergence;
pub use error::RunError;
use files::{enough, tokenizer_and_config, unchanged, write_settings};
pub use inputs::Inputs;
pub use plan::Plan;
use plan::foresee;
use prepare::prepare;
pub use threads::start_threads;
pub use trained::Trained;
use unfinished::Unfinished;

/// The settings of a run, and the mark that a directory is one.
const CONFIG: &str = "config.toml";
const TOKENIZER: &str = "tokenizer";
const DATA: &str = "data";
const SAMPLES: &str = "samples";
/// The result of a run.
pub const MODEL: &str = "model.mgpt";
const METRICS: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const PICTURE: &str = "loss.svg";
const TABLE: &str = "metrics.csv";
const EVENTS: &str = "tensorboard";
/// What became of the tensors of the model to begin with.
const LOADED: &str = "loaded.txt";
const DIVERGED: &str = "diverged.json";

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
        let file = path.join(CONFIG);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match Unfinished::is_in(path) {
                    true => Ok(None),
                    false => Err(foreign()),
                };
            }
            Err(error) => return Err(RunError::file(&file, error)),
        };
        let settings = RunConfig::from_toml(&text)
            .and_then(|settings| settings.resolve().map_err(|error| error.to_string()));
        match settings {
            Ok(settings) => Ok(Some(settings)),
            // Many programs have a file of that name.
            Err(_) if !path.join(TOKENIZER).is_file() => Err(foreign()),
            Err(message) => Err(RunError::Malformed {
                path: file,
                message,
            }),
        }
    }

    /// Whether the run in the directory `path` has come to a checkpoint.
    ///
    /// # Errors
    /// A [`RunError`] if the directory cannot be read.
    pub fn has_checkpoint(path: &Path) -> Result<bool, RunError> {
        let found = checkpoint::list(&path.join(CHECKPOINTS))?;
        // That of step 0 holds the weights to begin with.
        Ok(found.iter().any(|(step, _)| *step > 0))
    }

    /// Makes a run for `settings` in the directory `path` and opens it. What may be there already is
    /// nothing at all, or a run without a checkpoint, which is replaced.
    ///
    /// # Errors
    /// A [`RunError`], also if no device of `choice` has the memory to train it; there is then no such run.
    pub fn create(
        path: &Path,
        settings: RunConfig,
        inputs: &Inputs,
        choice: Choice,
        progress: &mut dyn FnMut(Stage),
    ) -> Result<Self, RunError> {
        let settings = settings.resolve()?;
        let smallest = Config::new(settings.model.hyperparameters(1));
        foresee(choice, &settings, &smallest.map_err(RunConfigError::Model)?)?;
        let unfinished = Unfinished::begin(path)?;
        let prepared = prepare(path, settings, inputs, choice, progress);
        if let Err(error) = prepared {
            unfinished.remove();
            return Err(error);
        }
        unfinished.finish()?;
        Self::open(path)
    }

    /// Removes what [`Self::create`] has made so far in `path`, for a program that has to end at
    /// once; the directory itself too unless it is to be kept.
    pub fn abandon(path: &Path, keep_directory: bool) {
        unfinished::remove(path, keep_directory);
    }

    /// Removes this run, which has come to no checkpoint: what [`Self::create`] made, and the
    /// directory if nothing else is in it.
    ///
    /// # Errors
    /// A [`RunError`] if something cannot be removed.
    pub fn discard(self) -> Result<(), RunError> {
        let path = self.path.clone();
        drop(self);
        unfinished::discard(&path).map_err(|error| RunError::file(&path, error))
    }

    /// Opens the run directory `path`.
    ///
    /// # Errors
    /// A [`RunError`] that says which of its files is wrong.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let settings = Self::find(path)?.ok_or_else(|| RunError::Absent {
            path: path.to_owned(),
        })?;
        let log = MetricsLog::open(&path.join(METRICS))?;
        durable::remove_partial(path).map_err(|error| RunError::file(path, error))?;
        checkpoint::remove_leftovers(&path.join(CHECKPOINTS))?;
        let (tokenizer, config) = tokenizer_and_config(path, &settings)?;
        let n_vocab = config.n_vocab();
        let data = path.join(DATA);
        let train = TokenFile::open(&data, "train", n_vocab)?;
        let val = TokenFile::open(&data, "val", n_vocab)?;
        if let Some(facts) = &settings.facts {
            unchanged(
                &data.join("train"),
                &train,
                facts.train_tokens,
                &facts.train_xxh64,
            )?;
            unchanged(&data.join("val"), &val, facts.val_tokens, &facts.val_xxh64)?;
        }
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

    /// Takes over those of the new `settings`, not resolved, that may change without making another
    /// run, and writes them down. Steps and patience are among them only if the run is to be
    /// `extended`.
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
            adopted.training.steps = settings.training.steps;
            adopted.training.patience = settings.training.patience;
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
}

/// What `new` may not change of `old`. To extend a run is to raise its steps, never to lower them.
fn forbidden(old: &RunConfig, new: &RunConfig, extended: bool) -> Vec<Difference> {
    let extends = extended && new.training.steps >= old.training.steps;
    let mut differences = old.differences(new);
    differences.retain(|one| !(extends && EXTENDABLE.contains(&one.field.as_str())));
    differences
}

#[cfg(test)]
mod tests;
