//! The sections of `config.toml` and their defaults.

use std::path::PathBuf;

use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
use serde::{Deserialize, Serialize};

use super::TokenizerChoice;
use crate::data::sources::Fingerprint;
use crate::optimizer::Method;
use crate::schedule::{Course, Schedule};

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
    /// Bytes of the longest of them; 0 for any.
    pub stories_longest: u64,
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
    /// How weights are updated.
    pub optimizer: Method,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// What the learning rate does behind its warm-up.
    pub schedule: Course,
    /// Learning rate of the last step; if absent a tenth of the peak, 0 with the schedule `wsd`, the
    /// peak with `constant`, where it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_learning_rate: Option<f64>,
    /// Steps of linear warm-up; 100, or a tenth of the run if that is less, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// Steps of the decay at the end, a fifth of the run if absent; used with the schedule `wsd` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u64>,
    /// AdamW: decay of the first moment.
    pub beta1: f64,
    /// AdamW: decay of the second moment.
    pub beta2: f64,
    /// AdamW: added to the root of the second moment.
    pub eps: f64,
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Muon: peak learning rate of the matrices of the blocks; `learning_rate` if absent. Used with the
    /// optimizer `muon` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muon_learning_rate: Option<f64>,
    /// Muon: decay of the momentum.
    pub muon_momentum: f64,
    /// Largest global norm of the gradients; 0 does not clip.
    pub grad_clip: f64,
    /// Deviations above its running mean from which the loss or the gradients' norm of a step makes
    /// it be skipped; 0 skips none.
    pub skip_z: f64,
    /// Share that the moving average of the weights keeps at each step; what is validated and
    /// exported is the average then. 0 keeps none.
    pub ema_decay: f64,
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
    /// xxHash64 of the file of training tokens, as 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_xxh64: Option<String>,
    /// The same of the validation tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_xxh64: Option<String>,
    /// The same of the tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_xxh64: Option<String>,
    /// The data as it was: every file with size and hash.
    pub data: Vec<Fingerprint>,
    /// The validation files as they were.
    pub val_data: Vec<Fingerprint>,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            val_files: Vec::new(),
            tokenizer: TokenizerChoice::Auto,
            val_fraction: 0.1,
            stories_bytes: 4_000_000,
            stories_longest: 0,
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
            optimizer: Method::AdamW,
            learning_rate: 1e-3,
            schedule: Course::Cosine,
            min_learning_rate: None,
            warmup_steps: None,
            decay_steps: None,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            muon_learning_rate: None,
            muon_momentum: 0.95,
            grad_clip: 1.0,
            skip_z: 0.0,
            ema_decay: 0.0,
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
        let floor = match self.schedule {
            Course::Cosine => self.learning_rate / 10.0,
            Course::Constant => self.learning_rate,
            Course::Wsd => 0.0,
        };
        Schedule {
            course: self.schedule,
            learning_rate: self.learning_rate,
            min_learning_rate: self.min_learning_rate.unwrap_or(floor),
            warmup_steps: self.warmup_steps.unwrap_or((self.steps / 10).min(100)),
            decay_steps: self.decay_steps.unwrap_or(self.steps / 5),
            steps: self.steps,
        }
    }
}
