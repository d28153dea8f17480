//! The start of a run that begins with the weights of another model: a checkpoint of step 0.

use std::path::Path;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::{CHECKPOINTS, LOADED, RunError};
use crate::base::Base;
use crate::checkpoint::{self, Snapshot, State};
use crate::durable;
use crate::optimizer::Rule;
use crate::params;
use crate::run_config::{RunConfig, TokenizerChoice};

/// Lays the weights of `base` into fresh ones, writes down what became of them, and keeps the
/// result in the run directory `path`.
pub(super) fn from(
    path: &Path,
    settings: &RunConfig,
    config: &Config,
    base: &Base,
) -> Result<(), RunError> {
    let training = &settings.training;
    // Who brings no tokenizer is taken at their word that the one asked for is the right one.
    let same_tokens = settings.data.tokenizer == TokenizerChoice::Kept || base.tokenizer.is_none();
    let mut parameters = params::fresh(config, training.seed);
    let fitted = base.lay(config, same_tokens, &mut parameters)?;
    let file = path.join(LOADED);
    durable::write_synced(&file, fitted.to_string().as_bytes())
        .map_err(|error| RunError::file(&file, error))?;
    let tensors = layout::tensors(config);
    let second = tensors.clone().map(|spec| {
        let rule = Rule::of(&spec, config, training.optimizer);
        vec![0.0; rule.second_len(spec.len())]
    });
    let snapshot = Snapshot {
        state: State::start(settings.clone()),
        parameters,
        first: tensors.map(|spec| vec![0.0; spec.len()]).collect(),
        second: second.collect(),
        average: None,
    };
    checkpoint::save(&path.join(CHECKPOINTS), config, &snapshot)?;
    Ok(())
}
