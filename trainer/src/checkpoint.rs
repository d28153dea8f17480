//! Checkpoints: everything that a run needs to go on as if it had never stopped.
//!
//! `checkpoints/step-000500/` holds `model.safetensors` (parameters under their names in
//! [`layout`](minigpt_runtime::layout)), `optimizer.safetensors` (the moments, `first.` and
//! `second.` before those names, the latter only of tensors that have some), `average.safetensors` (the moving average of the parameters, where
//! the run keeps one) and `state.json` ([`State`]). There is no state of a random
//! generator to keep: every random number is a function of the seed and the step.
//!
//! A checkpoint is written under another name, synced and renamed, so that it is there whole or
//! not at all; hashes in `state.json` tell a file that has changed since. Arrays go one by one from the model
//! to the disk and back: a checkpoint takes no memory for all of them.

mod directory;
mod error;
mod tensors;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Config;
use serde::{Deserialize, Serialize};

use crate::backend::BackendError;
use crate::data::sources::hash;
use crate::durable;
use crate::mapped::Mapped;
use crate::model::Part;
use crate::outliers::Outliers;
use crate::run_config::RunConfig;

pub use directory::{list, prune, remove_leftovers};
pub use error::CheckpointError;

/// The version of the directory's content that this module writes; it reads all up to it.
///
/// 2 brought the average and the watch for outliers, which a run of version 1 does not have; 3 the window of that
/// watch.
pub const VERSION: u32 = 3;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";
const STATE: &str = "state.json";

/// The files of arrays, and what is in them.
const FILES: [(&str, &[Part]); 3] = [
    (MODEL, &[Part::Parameters]),
    (OPTIMIZER, &[Part::FirstMoments, Part::SecondMoments]),
    (AVERAGE, &[Part::Average]),
];

/// The best validation of a run so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain numbers, all of them needed"
)]
pub struct Best {
    /// Steps done when it was measured.
    pub step: u64,
    /// Mean loss over the validation windows, in nats per token.
    pub val_loss: f64,
    /// The same in bits per byte of text, which tokenizers do not influence.
    pub val_bits_per_byte: f64,
}

/// Where a run stands, besides weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct State {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations since the best one.
    pub stale_evaluations: u32,
    /// The loss of the first step.
    #[serde(default)]
    pub first_loss: Option<f64>,
    /// The watch for steps to be skipped.
    #[serde(default)]
    pub outliers: Outliers,
    /// xxHash64 of the other files.
    pub files: BTreeMap<String, String>,
    /// The settings of the run, so that a checkpoint says by itself what it is.
    pub settings: RunConfig,
}

/// Where the arrays of a checkpoint come from, one at a time.
pub trait Source {
    /// Whether there is a moving average of the parameters.
    fn has_average(&self) -> bool;

    /// The array `part` of tensor number `index` of the layout.
    ///
    /// # Errors
    /// A [`BackendError`] if the device that has it fails.
    fn read(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError>;
}

/// Takes the array of a part and of tensor number `index` of the layout out of a checkpoint.
pub type Take<'a> = dyn FnMut(Part, usize, &[f32]) -> Result<(), BackendError> + 'a;

/// Why a file was not written.
enum Failed {
    System(io::Error),
    Device(BackendError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self::Device(error)
    }
}

impl State {
    /// The state of a run with `settings` before its first step.
    #[must_use]
    pub fn start(settings: RunConfig) -> Self {
        Self {
            version: VERSION,
            step: 0,
            tokens: 0,
            best: None,
            stale_evaluations: 0,
            first_loss: None,
            outliers: Outliers::default(),
            files: BTreeMap::new(),
            settings,
        }
    }
}

/// Name of the checkpoint after `step` steps.
#[must_use]
pub fn name(step: u64) -> String {
    format!("step-{step:06}")
}

/// Writes a checkpoint of `state` and the arrays of `source`, a model of shape `config`, into `directory` and
/// returns its path.
///
/// # Errors
/// [`CheckpointError::Write`] or [`CheckpointError::Device`]; nothing that was there before has changed.
pub fn save(
    directory: &Path,
    config: &Config,
    state: &State,
    source: &dyn Source,
) -> Result<PathBuf, CheckpointError> {
    let path = directory.join(name(state.step));
    match durable::create_directory(&path, |aside| write(aside, config, state, source)) {
        Ok(()) => Ok(path),
        Err(Failed::System(error)) => Err(CheckpointError::Write { path, error }),
        Err(Failed::Device(error)) => Err(CheckpointError::Device(error)),
    }
}

fn write(aside: &Path, config: &Config, state: &State, source: &dyn Source) -> Result<(), Failed> {
    let mut state = state.clone();
    state.files.clear();
    for (name, parts) in FILES {
        if name == AVERAGE && !source.has_average() {
            continue;
        }
        let entries = tensors::entries(config, parts, state.settings.training.optimizer);
        let hash = durable::stream_synced(&aside.join(name), |file| {
            tensors::write(file, entries, source)
        })?;
        state.files.insert(name.to_owned(), hash);
    }
    let text = serde_json::to_vec_pretty(&state).map_err(io::Error::from)?;
    Ok(durable::write_synced(&aside.join(STATE), &text)?)
}

/// Reads `state.json` of the checkpoint at `path`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with it.
pub fn load_state(path: &Path) -> Result<State, CheckpointError> {
    let file = path.join(STATE);
    let bytes = fs::read(&file).map_err(|error| CheckpointError::Read {
        path: file.clone(),
        error,
    })?;
    // The version first: what another version says need not be understood.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let malformed = |error: serde_json::Error| CheckpointError::Malformed {
        path: file.clone(),
        message: error.to_string(),
    };
    let Versioned { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if !(1..=VERSION).contains(&version) {
        return Err(CheckpointError::Version {
            path: path.to_owned(),
            version,
        });
    }
    serde_json::from_slice(&bytes).map_err(malformed)
}

/// Reads the checkpoint at `path`, which must be of a model of shape `config`, and gives its arrays to `take`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with it; `take` may have been given arrays by then.
pub fn load(path: &Path, config: &Config, take: &mut Take<'_>) -> Result<State, CheckpointError> {
    let mut state = load_state(path)?;
    for (name, parts) in FILES {
        if name != AVERAGE || state.files.contains_key(AVERAGE) {
            load_file(path, name, parts, &state, config, take)?;
        }
    }
    state.version = VERSION;
    Ok(state)
}

/// Reads what a model is made of: the average of the parameters where the run keeps one, and else
/// the parameters; one array per tensor of the layout of `config`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with them.
pub fn load_parameters(path: &Path, config: &Config) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let state = load_state(path)?;
    let (name, part) = match state.files.contains_key(AVERAGE) {
        true => (AVERAGE, Part::Average),
        false => (MODEL, Part::Parameters),
    };
    let mut arrays = Vec::new();
    load_file(path, name, &[part], &state, config, &mut |_, _, values| {
        arrays.push(values.to_vec());
        Ok(())
    })?;
    Ok(arrays)
}

/// Gives `take` the arrays of the file `name`, in the order of the layout, if it is the one that was written.
fn load_file(
    path: &Path,
    name: &str,
    parts: &[Part],
    state: &State,
    config: &Config,
    take: &mut Take<'_>,
) -> Result<(), CheckpointError> {
    let path = path.join(name);
    let bytes = match Mapped::open(&path) {
        Ok(bytes) => bytes,
        Err(error) => return Err(CheckpointError::Read { path, error }),
    };
    if state.files.get(name) != Some(&hash(&bytes)) {
        return Err(CheckpointError::Damaged { path });
    }
    let entries = tensors::entries(config, parts, state.settings.training.optimizer);
    tensors::read(&path, &bytes, &entries, take)
}

#[cfg(test)]
mod tests;
