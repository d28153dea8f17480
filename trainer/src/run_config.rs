//! Everything that decides a run, as data: what `config.toml` holds.
//!
//! The sections `[data]`, `[model]` and `[training]` decide the loss curve, to the bit. `[run]`
//! decides only how it is computed and kept, so it may change from one start of a run to the next.

mod difference;
mod overlay;
mod range;
mod sections;
mod text;
mod tokenizer_choice;

use core::fmt;

use minigpt_runtime::config::{Config, ConfigError};
use serde::{Deserialize, Serialize};

use crate::optimizer::Method;
use crate::schedule::Course;

pub use difference::Difference;
pub use overlay::Overlay;
pub use sections::{
    DataSettings, Facts, ModelSettings, QuantizeAware, Recompute, RunSettings, TrainingSettings,
};
pub use text::mistake;
pub use tokenizer_choice::TokenizerChoice;

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
        if schedule.course == Course::Wsd {
            self.training.decay_steps = Some(schedule.decay_steps);
        }
        if self.training.optimizer == Method::Muon {
            let rate = &mut self.training.muon_learning_rate;
            rate.get_or_insert(self.training.learning_rate);
        }
        Ok(self)
    }

    /// The same settings, where those that [`Self::resolve`] would state in the same way are not
    /// stated: they follow again when another setting is changed.
    #[must_use]
    pub fn without_derived(mut self) -> Self {
        let shape = ModelSettings {
            n_head_kv: None,
            n_ff: None,
            ..self.model.clone()
        };
        let shape = shape.hyperparameters(1);
        let training = TrainingSettings {
            min_learning_rate: None,
            warmup_steps: None,
            decay_steps: None,
            ..self.training.clone()
        };
        let schedule = training.schedule();
        let (model, training) = (&mut self.model, &mut self.training);
        model.n_head_kv.take_if(|n| *n == shape.n_head_kv);
        model.n_ff.take_if(|n| *n == shape.n_ff);
        let rate = &mut training.min_learning_rate;
        rate.take_if(|rate| *rate == schedule.min_learning_rate);
        let warmup = &mut training.warmup_steps;
        warmup.take_if(|steps| *steps == schedule.warmup_steps);
        let decay = &mut training.decay_steps;
        decay.take_if(|steps| *steps == schedule.decay_steps);
        let rate = &mut training.muon_learning_rate;
        rate.take_if(|rate| *rate == training.learning_rate);
        self
    }
}

impl RunConfigError {
    /// The setting that is wrong, if it is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Range { field, .. } => Some(field),
            Self::UnknownField { field, .. } => Some(field),
            Self::Model(ConfigError::Zero { field } | ConfigError::TooLarge { field, .. }) => {
                Some(field)
            }
            Self::Model(ConfigError::RopeTheta { .. }) => Some("rope_theta"),
            Self::Model(ConfigError::HeadSize { .. }) => Some("n_head"),
            Self::Model(ConfigError::KvHeads { .. }) => Some("n_head_kv"),
            _ => None,
        }
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
