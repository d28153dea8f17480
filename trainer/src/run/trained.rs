//! What a run has come to: its best weights.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Config;
use minigpt_runtime::format::{Header, Metadata, file_bytes};
use minigpt_runtime::quant::Format;

use super::files::tokenizer_and_config;
use super::{CHECKPOINTS, DATA, METRICS, Run, RunError};
use crate::checkpoint::{self, CheckpointError, State};
use crate::data::token_file::TokenFile;
use crate::export::{self, ExportError};
use crate::inference::ModelBytes;
use crate::metrics::{Metrics, MetricsLog};
use crate::run_config::RunConfig;
use crate::tokenizer::OwnedTokenizer;

/// How often what has vanished is looked for again.
const RETRIES: usize = 5;

/// The best checkpoint of a run, or its latest where nothing was validated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trained {
    /// Shape of the model.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: OwnedTokenizer,
    /// Where the run stood when these were its weights.
    pub state: State,
    /// The weights, one array per tensor of the layout.
    pub parameters: Vec<Vec<f32>>,
    /// Where the run's tokens lie.
    data: PathBuf,
}

impl Run {
    /// Settings and record of the run in the directory `path`, which may be in training.
    ///
    /// # Errors
    /// A [`RunError`]; [`RunError::NoRun`] if there is none.
    pub fn record(path: &Path) -> Result<(RunConfig, Vec<Metrics>), RunError> {
        Ok((settings(path)?, MetricsLog::read(&path.join(METRICS))?))
    }

    /// Bytes of the file that this run's model will be as `format`, whichever of its steps is the
    /// best.
    ///
    /// # Errors
    /// An [`ExportError`] if it can be none.
    pub fn model_bytes(&self, format: Format) -> Result<u64, ExportError> {
        let name = self.path().file_name().unwrap_or_default();
        let header = Header {
            hyperparameters: self.config.hyperparameters(),
            format,
            tokenizer: self.tokenizer.view(),
            metadata: Metadata {
                name: &name.to_string_lossy(),
                bits_per_byte: Some(0.0),
                made_by: &origin(&self.settings, self.settings.training.steps),
                chat_template: "",
            },
        };
        Ok(file_bytes(&header)?)
    }
}

impl Trained {
    /// Reads the run directory `path`, even while it is trained in.
    ///
    /// # Errors
    /// A [`RunError`]; [`RunError::Untrained`] if there is no checkpoint yet.
    pub fn load(path: &Path) -> Result<Self, RunError> {
        retried(|| {
            let (tokenizer, config, best) = best(path)?;
            Ok(Self {
                state: checkpoint::load_state(&best)?,
                parameters: checkpoint::load_parameters(&best, &config)?,
                config,
                tokenizer,
                data: path.join(DATA),
            })
        })
    }

    /// The shape of what [`Self::load`] reads.
    pub(crate) fn config(path: &Path) -> Result<Config, RunError> {
        retried(|| best(path)).map(|(_, config, _)| config)
    }

    /// The first tokens of the run's validation part, at most `max`.
    ///
    /// # Errors
    /// A [`RunError`] if they cannot be read.
    pub fn validation_tokens(&self, max: usize) -> Result<Vec<u32>, RunError> {
        let file = TokenFile::open(&self.data, "val", self.config.n_vocab())?;
        let mut tokens = vec![0; file.len().min(max)];
        file.copy(0, &mut tokens);
        Ok(tokens)
    }

    /// The model file, which says where it comes from.
    ///
    /// # Errors
    /// An [`ExportError`].
    pub fn export(&self, name: &str, format: Format) -> Result<ModelBytes, ExportError> {
        let best = self.state.best;
        let header = Header {
            hyperparameters: self.config.hyperparameters(),
            format,
            tokenizer: self.tokenizer.view(),
            metadata: Metadata {
                name,
                bits_per_byte: best.map(|best| best.val_bits_per_byte as f32),
                made_by: &origin(&self.state.settings, self.state.step),
                chat_template: "",
            },
        };
        export::export(&header, &self.parameters)
    }
}

/// Reads again what vanishes: a run that is trained in removes checkpoints, perhaps the one that is about to be
/// read.
fn retried<T>(read: impl Fn() -> Result<T, RunError>) -> Result<T, RunError> {
    for _ in 0..RETRIES {
        match read() {
            Err(RunError::Checkpoint(CheckpointError::Read { error, .. }))
                if error.kind() == ErrorKind::NotFound => {}
            read => return read,
        }
    }
    read()
}

/// Tokenizer and shape of the run in the directory `path`, and where its best checkpoint is, or its latest
/// where nothing was validated.
fn best(path: &Path) -> Result<(OwnedTokenizer, Config, PathBuf), RunError> {
    let settings = settings(path)?;
    let (tokenizer, config) = tokenizer_and_config(path, &settings)?;
    let directory = path.join(CHECKPOINTS);
    let Some((latest, latest_path)) = checkpoint::list(&directory)?.pop() else {
        return Err(RunError::Untrained {
            path: path.to_owned(),
        });
    };
    let best = checkpoint::load_state(&latest_path)?.best;
    let step = best.map_or(latest, |best| best.step);
    Ok((tokenizer, config, directory.join(checkpoint::name(step))))
}

/// Settings of the run that has to be in the directory `path`.
fn settings(path: &Path) -> Result<RunConfig, RunError> {
    match Run::find(path) {
        Err(RunError::Foreign { path }) => Err(RunError::NoRun { path }),
        found => found?.ok_or_else(|| RunError::Absent {
            path: path.to_owned(),
        }),
    }
}

/// How a model was made, in one line.
fn origin(settings: &RunConfig, step: u64) -> String {
    let mut text = format!("minigpt {} train", env!("CARGO_PKG_VERSION"));
    if let Some(preset) = &settings.preset {
        text += &format!(", preset {preset}");
    }
    for data in settings.facts.iter().flat_map(|facts| &facts.data).take(3) {
        text += &format!(
            ", {} ({} bytes, xxh64 {})",
            data.path, data.bytes, data.xxh64
        );
    }
    let (steps, seed) = (settings.training.steps, settings.training.seed);
    text + &format!(", step {step} of {steps}, seed {seed}")
}
