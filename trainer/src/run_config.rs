//! Everything that decides a run, as data: what `config.toml` holds.
//!
//! The sections `[data]`, `[model]` and `[training]` decide the loss curve, to the bit. `[run]`
//! decides only how it is computed and kept, so it may change from one start of a run to the next.

mod difference;
mod overlay;
mod sections;
mod tokenizer_choice;

use core::fmt;

use minigpt_runtime::config::{Config, ConfigError};
use serde::{Deserialize, Serialize};

pub use difference::Difference;
pub use overlay::Overlay;
pub use sections::{DataSettings, Facts, ModelSettings, RunSettings, TrainingSettings};
pub use tokenizer_choice::TokenizerChoice;

/// Far beyond any machine this runs on, and few enough for every system to start.
const MOST_THREADS: u32 = 1024;

/// All settings of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RunConfig {
    /// Name of the preset that the defaults of the rest come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// What is learned.
    pub data: DataSettings,
    /// Shape of the model.
    pub model: ModelSettings,
    /// How it is learned.
    pub training: TrainingSettings,
    /// How the run is computed and kept.
    pub run: RunSettings,
    /// What the run found; written, never asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// Why settings are no run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RunConfigError {
    /// A name that is no setting.
    UnknownField {
        /// The name.
        field: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Something that is no `name=value`.
    NoAssignment {
        /// What was given.
        text: String,
    },
    /// A value of another type than the setting has.
    Type {
        /// What is wrong where.
        message: String,
    },
    /// A number outside its range.
    Range {
        /// The setting.
        field: &'static str,
        /// The number.
        value: f64,
        /// What it must be.
        range: &'static str,
    },
    /// The model cannot be built.
    Model(ConfigError),
}

impl RunConfig {
    /// Checks every number and states every default that depends on another setting.
    ///
    /// # Errors
    /// A [`RunConfigError`] that names the first setting that is wrong.
    pub fn resolve(mut self) -> Result<Self, RunConfigError> {
        self.check()?;
        let shape = self.model.hyperparameters(1);
        Config::new(shape).map_err(RunConfigError::Model)?;
        self.model.n_head_kv = Some(shape.n_head_kv);
        self.model.n_ff = Some(shape.n_ff);
        let schedule = self.training.schedule();
        self.training.min_learning_rate = Some(schedule.min_learning_rate);
        self.training.warmup_steps = Some(schedule.warmup_steps);
        Ok(self)
    }

    fn check(&self) -> Result<(), RunConfigError> {
        let (training, run) = (&self.training, &self.run);
        let from_1 = [
            ("steps", training.steps),
            ("batch", training.batch.into()),
            ("accumulation", training.accumulation.into()),
            ("eval_interval", training.eval_interval),
            ("log_interval", run.log_interval),
            ("checkpoint_interval", run.checkpoint_interval),
            ("keep_checkpoints", run.keep_checkpoints.into()),
            ("stories_bytes", self.data.stories_bytes),
        ];
        for (field, value) in from_1 {
            range(field, value as f64, value >= 1, "at least 1")?;
        }
        let threads = f64::from(run.threads);
        range(
            "threads",
            threads,
            run.threads <= MOST_THREADS,
            "at most 1024",
        )?;
        let positive = [
            ("learning_rate", training.learning_rate),
            ("eps", training.eps),
        ];
        for (field, value) in positive {
            let fits = value > 0.0 && value.is_finite();
            range(field, value, fits, "finite and above 0")?;
        }
        let not_negative = [
            (
                "min_learning_rate",
                training.min_learning_rate.unwrap_or(0.0),
            ),
            ("weight_decay", training.weight_decay),
            ("grad_clip", training.grad_clip),
            ("max_seconds", run.max_seconds),
        ];
        for (field, value) in not_negative {
            let fits = value >= 0.0 && value.is_finite();
            range(field, value, fits, "finite and at least 0")?;
        }
        let below_1 = [
            ("beta1", training.beta1),
            ("beta2", training.beta2),
            ("dropout", training.dropout),
            ("val_fraction", self.data.val_fraction),
        ];
        for (field, value) in below_1 {
            range(
                field,
                value,
                (0.0..1.0).contains(&value),
                "at least 0 and below 1",
            )?;
        }
        Ok(())
    }
}

fn range(
    field: &'static str,
    value: f64,
    fits: bool,
    range: &'static str,
) -> Result<(), RunConfigError> {
    if fits {
        Ok(())
    } else {
        Err(RunConfigError::Range {
            field,
            value,
            range,
        })
    }
}

impl fmt::Display for RunConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { field, .. } if field == "n_vocab" || field == "model.n_vocab" => f
                .write_str(
                    "n_vocab is not a setting: it comes from the tokenizer (--tokenizer bpe:N)",
                ),
            Self::UnknownField { field, known } => {
                write!(
                    f,
                    "there is no setting {field}; there are {}",
                    known.join(", ")
                )
            }
            Self::NoAssignment { text } => {
                write!(f, "{text} is no NAME=VALUE, such as n_layer=6")
            }
            Self::Type { message } => f.write_str(message),
            Self::Range {
                field,
                value,
                range,
            } => write!(f, "{field} is {value}; it must be {range}"),
            Self::Model(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RunConfigError {}

#[cfg(test)]
mod tests;
