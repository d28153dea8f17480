//! Checkpoints: everything that a run needs to go on as if it had never stopped.
//!
//! `checkpoints/step-000500/` holds `model.safetensors` (parameters under their names in
//! [`layout`](minigpt_runtime::layout)), `optimizer.safetensors` (the moments, `first.` and
//! `second.` before those names, the latter only of tensors that have some), `average.safetensors` (the moving average of the parameters, where
//! the run keeps one) and `state.json` ([`State`]). There is no state of a random
//! generator to keep: every random number is a function of the seed and the step.
//!
//! A checkpoint is written under another name, synced and renamed, so that it is there whole or
//! not at all; hashes in `state.json` tell a file that has changed since.

mod directory;
mod error;
mod tensors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Config;
use serde::{Deserialize, Serialize};

use crate::data::sources::hash;
use crate::durable;
use crate::optimizer::Rule;
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

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain data, all of it needed")]
pub struct Snapshot {
    /// Where the run stands.
    pub state: State,
    /// Parameters, one array per tensor of the layout.
    pub parameters: Vec<Vec<f32>>,
    /// First moments, likewise.
    pub first: Vec<Vec<f32>>,
    /// Second moments, likewise; empty for a matrix that Muon updates.
    pub second: Vec<Vec<f32>>,
    /// Moving average of the parameters, likewise, where the run keeps one.
    pub average: Option<Vec<Vec<f32>>>,
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

/// Writes `snapshot` into `directory` and returns the path of the checkpoint.
///
/// # Errors
/// [`CheckpointError::Write`]; nothing that was there before has changed.
pub fn save(
    directory: &Path,
    config: &Config,
    snapshot: &Snapshot,
) -> Result<PathBuf, CheckpointError> {
    let path = directory.join(name(snapshot.state.step));
    match durable::create_directory(&path, |aside| write(aside, config, snapshot)) {
        Ok(()) => Ok(path),
        Err(error) => Err(CheckpointError::Write { path, error }),
    }
}

fn write(aside: &Path, config: &Config, snapshot: &Snapshot) -> std::io::Result<()> {
    let model = tensors::encode(config, &[("", &snapshot.parameters)])?;
    let moments = [("first.", &snapshot.first), ("second.", &snapshot.second)];
    let mut files = vec![
        (MODEL, model),
        (OPTIMIZER, tensors::encode(config, &moments)?),
    ];
    if let Some(average) = &snapshot.average {
        files.push((AVERAGE, tensors::encode(config, &[("", average)])?));
    }
    let mut state = snapshot.state.clone();
    let hashes = files.iter();
    state.files = hashes
        .map(|(name, bytes)| ((*name).to_owned(), hash(bytes)))
        .collect();
    files.push((STATE, serde_json::to_vec_pretty(&state)?));
    for (name, bytes) in files {
        durable::write_synced(&aside.join(name), &bytes)?;
    }
    Ok(())
}

/// Reads `state.json` of the checkpoint at `path`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with it.
pub fn load_state(path: &Path) -> Result<State, CheckpointError> {
    let bytes = read(path, STATE)?;
    // The version first: what another version says need not be understood.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let malformed = |error: serde_json::Error| CheckpointError::Malformed {
        path: path.join(STATE),
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

/// Reads the checkpoint at `path`, which must be of a model of shape `config`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with it.
pub fn load(path: &Path, config: &Config) -> Result<Snapshot, CheckpointError> {
    let mut state = load_state(path)?;
    state.version = VERSION;
    let optimizer = read_hashed(path, OPTIMIZER, &state)?;
    let optimizer_path = path.join(OPTIMIZER);
    let average = state.files.contains_key(AVERAGE);
    let method = state.settings.training.optimizer;
    Ok(Snapshot {
        parameters: load_arrays(path, MODEL, &state, config)?,
        first: tensors::decode(&optimizer_path, &optimizer, config, "first.")?,
        second: tensors::decode_some(&optimizer_path, &optimizer, config, "second.", |spec| {
            Rule::of(spec, config, method).second_len(spec.len()) > 0
        })?,
        average: average
            .then(|| load_arrays(path, AVERAGE, &state, config))
            .transpose()?,
        state,
    })
}

/// Reads what a model is made of: the average of the parameters where the run keeps one, and else
/// the parameters; one array per tensor of the layout of `config`.
///
/// # Errors
/// A [`CheckpointError`] that says what is wrong with them.
pub fn load_parameters(path: &Path, config: &Config) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let state = load_state(path)?;
    let name = match state.files.contains_key(AVERAGE) {
        true => AVERAGE,
        false => MODEL,
    };
    load_arrays(path, name, &state, config)
}

fn load_arrays(
    path: &Path,
    name: &str,
    state: &State,
    config: &Config,
) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let bytes = read_hashed(path, name, state)?;
    tensors::decode(&path.join(name), &bytes, config, "")
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, CheckpointError> {
    let path = path.join(name);
    fs::read(&path).map_err(|error| CheckpointError::Read { path, error })
}

fn read_hashed(path: &Path, name: &str, state: &State) -> Result<Vec<u8>, CheckpointError> {
    let bytes = read(path, name)?;
    if state.files.get(name) == Some(&hash(&bytes)) {
        Ok(bytes)
    } else {
        Err(CheckpointError::Damaged {
            path: path.join(name),
        })
    }
}

#[cfg(test)]
mod tests;
