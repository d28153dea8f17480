//! Everything that decides a run, as data: what `config.toml` holds.
//!
//! The sections `[data]`, `[model]` and `[training]` decide the loss curve, to the bit. `[run]`
//! decides only how it is computed and kept, so it may change from one start of a run to the next.

mod difference;
mod overlay;
mod tokenizer_choice;

use core::fmt;
use std::path::PathBuf;

use minigpt_runtime::config::{Config, ConfigError, Hyperparameters, Mlp, Norm, Positions};
use serde::{Deserialize, Serialize};

use crate::data::sources::Fingerprint;
use crate::schedule::Schedule;

pub use difference::Difference;
pub use overlay::Overlay;
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

/// Section `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DataSettings {
    /// Files and directories to learn from; none means the built-in stories.
    pub files: Vec<PathBuf>,
    /// Files and directories to validate on; none means the end of `files`.
    pub val_files: Vec<PathBuf>,
    /// How text becomes tokens.
    pub tokenizer: TokenizerChoice,
    /// Share of the tokens, from the end, kept for validation.
    pub val_fraction: f64,
    /// Size of the built-in stories in bytes.
    pub stories_bytes: u64,
    /// Seed of the built-in stories.
    pub stories_seed: u64,
}

/// Section `[model]`: [`Hyperparameters`] without `n_vocab`, which comes from the tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelSettings {
    /// Longest context, in tokens.
    pub n_ctx: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Attention heads.
    pub n_head: u32,
    /// Heads of keys and values; as many as `n_head` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_head_kv: Option<u32>,
    /// Blocks.
    pub n_layer: u32,
    /// Width inside the MLP; if absent `4 n_embd`, or `8/3 n_embd` rounded up to 16 with swiglu.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ff: Option<u32>,
    /// Position information.
    pub positions: Positions,
    /// Base of the rotation frequencies; used with rope only.
    pub rope_theta: f32,
    /// Normalisation.
    pub norm: Norm,
    /// Nonlinearity of the MLP.
    pub mlp: Mlp,
    /// Whether linear layers and layer norms have biases.
    pub bias: bool,
    /// Whether the head is the embedding itself.
    pub tied_head: bool,
}

/// Section `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TrainingSettings {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Windows in one pass.
    pub batch: u32,
    /// Passes whose gradients make one step.
    pub accumulation: u32,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate of the last step; a tenth of the peak if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_learning_rate: Option<f64>,
    /// Steps of linear warm-up; 100, or a tenth of the run if that is less, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// AdamW: decay of the first moment.
    pub beta1: f64,
    /// AdamW: decay of the second moment.
    pub beta2: f64,
    /// AdamW: added to the root of the second moment.
    pub eps: f64,
    /// AdamW: decay of matrices.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 does not clip.
    pub grad_clip: f64,
    /// Probability of dropout.
    pub dropout: f64,
    /// Steps from one validation to the next; the last step is always validated.
    pub eval_interval: u64,
    /// Batches in one validation; 0 means all of the validation part.
    pub eval_batches: u32,
    /// Validations without improvement before the run stops; 0 never stops early.
    pub patience: u32,
    /// Seed of the initial weights, the windows and dropout.
    pub seed: u64,
}

/// Section `[run]`: none of it changes what is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RunSettings {
    /// Threads; 0 means all cores.
    pub threads: u32,
    /// Steps from one line of `metrics.jsonl` to the next.
    pub log_interval: u64,
    /// Steps from one checkpoint to the next; each best and the last are always kept.
    pub checkpoint_interval: u64,
    /// How many of the latest checkpoints to keep, beside the best.
    pub keep_checkpoints: u32,
    /// Seconds after which to stop, to be continued later; 0 means no limit.
    pub max_seconds: f64,
}

/// What a run found in its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Facts {
    /// Version of minigpt that began the run.
    pub version: String,
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// Trained values in the model.
    pub n_params: u64,
    /// Tokens of the training part.
    pub train_tokens: u64,
    /// Tokens of the validation part.
    pub val_tokens: u64,
    /// The data as it was: every file with size and hash.
    pub data: Vec<Fingerprint>,
    /// The validation files as they were.
    pub val_data: Vec<Fingerprint>,
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

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            val_files: Vec::new(),
            tokenizer: TokenizerChoice::Auto,
            val_fraction: 0.1,
            stories_bytes: 4_000_000,
            stories_seed: 0,
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            n_ctx: 64,
            n_embd: 128,
            n_head: 4,
            n_head_kv: None,
            n_layer: 4,
            n_ff: None,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            norm: Norm::LayerNorm,
            mlp: Mlp::Gelu,
            bias: true,
            tied_head: true,
        }
    }
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self {
            steps: 2000,
            batch: 12,
            accumulation: 1,
            learning_rate: 1e-3,
            min_learning_rate: None,
            warmup_steps: None,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            grad_clip: 1.0,
            dropout: 0.0,
            eval_interval: 250,
            eval_batches: 20,
            patience: 0,
            seed: 1337,
        }
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            log_interval: 1,
            checkpoint_interval: 250,
            keep_checkpoints: 2,
            max_seconds: 0.0,
        }
    }
}

impl ModelSettings {
    /// The settings that mean `shape`, whatever its vocabulary.
    #[must_use]
    pub fn of(shape: &Hyperparameters) -> Self {
        let settings = Self {
            n_ctx: shape.n_ctx,
            n_embd: shape.n_embd,
            n_head: shape.n_head,
            n_head_kv: None,
            n_layer: shape.n_layer,
            n_ff: None,
            positions: shape.positions,
            rope_theta: shape.rope_theta,
            norm: shape.norm,
            mlp: shape.mlp,
            bias: shape.bias,
            tied_head: shape.tied_head,
        };
        let derived = settings.hyperparameters(shape.n_vocab);
        Self {
            n_head_kv: (derived.n_head_kv != shape.n_head_kv).then_some(shape.n_head_kv),
            n_ff: (derived.n_ff != shape.n_ff).then_some(shape.n_ff),
            ..settings
        }
    }

    /// The shape with a vocabulary of `n_vocab`.
    #[must_use]
    pub fn hyperparameters(&self, n_vocab: u32) -> Hyperparameters {
        let n_ff = match self.mlp {
            Mlp::Swiglu => (self.n_embd.saturating_mul(8) / 3).next_multiple_of(16),
            _ => self.n_embd.saturating_mul(4),
        };
        Hyperparameters {
            n_vocab,
            n_ctx: self.n_ctx,
            n_embd: self.n_embd,
            n_head: self.n_head,
            n_head_kv: self.n_head_kv.unwrap_or(self.n_head),
            n_layer: self.n_layer,
            n_ff: self.n_ff.unwrap_or(n_ff),
            positions: self.positions,
            rope_theta: self.rope_theta,
            norm: self.norm,
            mlp: self.mlp,
            bias: self.bias,
            tied_head: self.tied_head,
        }
    }
}

impl TrainingSettings {
    /// Learning rate over the steps.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            learning_rate: self.learning_rate,
            min_learning_rate: self.min_learning_rate.unwrap_or(self.learning_rate / 10.0),
            warmup_steps: self.warmup_steps.unwrap_or((self.steps / 10).min(100)),
            steps: self.steps,
        }
    }
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
