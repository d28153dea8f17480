//! The files of a run, as they must be.

use std::fs;
use std::path::Path;

use minigpt_runtime::config::Config;

use super::{CONFIG, RunError, TOKENIZER};
use crate::data::DataError;
use crate::data::sources::hash;
use crate::data::token_file::TokenFile;
use crate::durable;
use crate::run_config::{RunConfig, RunConfigError};
use crate::tokenizer::OwnedTokenizer;

/// The tokenizer in the directory `path`, and the model's shape with its vocabulary.
pub(super) fn tokenizer_and_config(
    path: &Path,
    settings: &RunConfig,
) -> Result<(OwnedTokenizer, Config), RunError> {
    let file = path.join(TOKENIZER);
    let damaged = |message: String| RunError::Damaged {
        path: file.clone(),
        message,
    };
    let bytes = fs::read(&file).map_err(|error| damaged(error.to_string()))?;
    let facts = settings.facts.as_ref();
    if facts.is_some_and(|facts| differs(&facts.tokenizer_xxh64, || hash(&bytes))) {
        return Err(damaged(CHANGED.to_owned()));
    }
    let tokenizer = OwnedTokenizer::from_bytes(bytes);
    let tokenizer = tokenizer.map_err(|error| damaged(error.to_string()))?;
    let n_vocab = tokenizer.view().n_vocab() as u32;
    if facts.is_some_and(|facts| facts.n_vocab != n_vocab) {
        return Err(damaged(CHANGED.to_owned()));
    }
    let shape = settings.model.hyperparameters(n_vocab);
    let config = Config::new(shape).map_err(RunConfigError::Model)?;
    Ok((tokenizer, config))
}

/// What is wrong with a file that is not the one the run began with.
const CHANGED: &str = "it has changed since the run began";

/// Whether a hash was stored and is not `found`.
fn differs(stored: &Option<String>, found: impl FnOnce() -> String) -> bool {
    stored.as_ref().is_some_and(|stored| *stored != found())
}

/// Other tokens than the run began with would be another run.
pub(super) fn unchanged(
    path: &Path,
    file: &TokenFile,
    tokens: u64,
    xxh64: &Option<String>,
) -> Result<(), RunError> {
    if file.len() as u64 == tokens && !differs(xxh64, || file.xxh64()) {
        return Ok(());
    }
    Err(RunError::Damaged {
        path: path.with_extension(file.extension()),
        message: CHANGED.to_owned(),
    })
}

/// A window and the target behind its last token must fit.
pub(super) fn enough(train: &TokenFile, config: &Config) -> Result<(), DataError> {
    let (tokens, n_ctx) = (train.len(), config.n_ctx());
    if tokens > n_ctx {
        Ok(())
    } else {
        Err(DataError::TooShort { tokens, n_ctx })
    }
}

/// Replaces the settings in `directory`.
pub(super) fn write_settings(directory: &Path, settings: &RunConfig) -> Result<(), RunError> {
    let file = directory.join(CONFIG);
    let text = toml::to_string(settings).map_err(|error| RunError::Malformed {
        path: file.clone(),
        message: error.to_string(),
    })?;
    durable::replace_file(&file, text.as_bytes()).map_err(|error| RunError::file(&file, error))
}
