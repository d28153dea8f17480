//! The start of a run that begins with the weights of another model: a checkpoint of step 0.

use std::borrow::Cow;
use std::path::Path;

use minigpt_runtime::config::Config;

use super::{CHECKPOINTS, LOADED, RunError};
use crate::backend::BackendError;
use crate::base::Base;
use crate::checkpoint::{self, Source, State};
use crate::durable;
use crate::model::Part;
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
    let state = State::start(settings.clone());
    checkpoint::save(
        &path.join(CHECKPOINTS),
        config,
        &state,
        &Untrained(parameters),
    )?;
    Ok(())
}

/// Parameters without moments and without an average.
struct Untrained(Vec<Vec<f32>>);

impl Source for Untrained {
    fn has_average(&self) -> bool {
        false
    }

    fn read(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError> {
        let parameters = &self.0[index];
        Ok(match part {
            Part::Parameters | Part::Average => Cow::Borrowed(parameters),
            Part::FirstMoments | Part::SecondMoments => Cow::Owned(vec![0.0; parameters.len()]),
        })
    }
}
