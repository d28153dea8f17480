//! From texts to what a run reads.

use std::fs;
use std::path::Path;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::files::{enough, write_settings};
use super::{DATA, Inputs, RunError, Stage, TOKENIZER, foresee, start};
use crate::data::sources::hash;
use crate::data::token_file::TokenFile;
use crate::device::Choice;
use crate::durable;
use crate::run_config::{Facts, RunConfig, RunConfigError};

/// Fills the directory `path` with tokenizer, tokens and, last, settings.
pub(super) fn prepare(
    path: &Path,
    mut settings: RunConfig,
    inputs: &Inputs,
    choice: Choice,
    progress: &mut dyn FnMut(Stage),
) -> Result<(), RunError> {
    progress(Stage::Tokenizer);
    settings.data.tokenizer = inputs.settle(settings.data.tokenizer);
    let tokenizer = inputs.tokenizer(settings.data.tokenizer)?;
    let n_vocab = tokenizer.view().n_vocab();
    let shape = settings.model.hyperparameters(n_vocab as u32);
    let config = Config::new(shape).map_err(RunConfigError::Model)?;
    foresee(choice, &settings, &config)?;
    progress(Stage::Tokens);
    let data = path.join(DATA);
    fs::create_dir(&data).map_err(|error| RunError::file(&data, error))?;
    inputs.write_tokens(&tokenizer, settings.data.val_fraction, &data)?;
    durable::sync_directory(&data).map_err(|error| RunError::file(&data, error))?;
    let train = TokenFile::open(&data, "train", n_vocab)?;
    let val = TokenFile::open(&data, "val", n_vocab)?;
    enough(&train, &config)?;
    let file = path.join(TOKENIZER);
    durable::write_synced(&file, tokenizer.bytes())
        .map_err(|error| RunError::file(&file, error))?;
    settings.facts = Some(Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        n_vocab: n_vocab as u32,
        n_params: layout::n_params(&config),
        train_tokens: train.len() as u64,
        val_tokens: val.len() as u64,
        train_xxh64: Some(train.xxh64()),
        val_xxh64: Some(val.xxh64()),
        tokenizer_xxh64: Some(hash(tokenizer.bytes())),
        ..inputs.facts()
    });
    if let Some(base) = &inputs.base {
        start::from(path, &settings, &config, base)?;
    }
    write_settings(path, &settings)
}
