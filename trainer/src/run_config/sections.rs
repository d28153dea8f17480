//! The sections of `config.toml` and their defaults.

mod training;

use std::path::PathBuf;

use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
use serde::{Deserialize, Serialize};

use super::TokenizerChoice;
use crate::data::sources::{FIELD, Fingerprint};

pub use training::{QuantizeAware, TrainingSettings};

/// Section `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DataSettings {
    /// Files and directories to learn from, or what stands for them; none means the built-in stories.
    pub files: Vec<PathBuf>,
    /// Files and directories to validate on; none means the end of `files`.
    pub val_files: Vec<PathBuf>,
    /// Where the text of a document stands in JSON lines and Parquet files.
    pub text_field: String,
    /// A run directory, a model file or a file .safetensors with the weights to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
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
    /// Steps from one text of the model's own to the next; 0 means one at the end alone.
    pub sample_interval: u64,
    /// How many of the latest checkpoints to keep, beside the best.
    pub keep_checkpoints: u32,
    /// Seconds after which to stop, to be continued later; 0 means no limit.
    pub max_seconds: f64,
    /// Whether to keep event files of TensorBoard beside the record.
    pub tensorboard: bool,
    /// Whether backward makes activations again instead of keeping them.
    pub recompute: Recompute,
}

/// Whether activations are made again in backward: less memory, a third more time, the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Recompute {
    /// Where memory will not do otherwise.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
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
    /// The weights to begin with as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Fingerprint>,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            val_files: Vec::new(),
            text_field: FIELD.to_owned(),
            from: None,
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

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            log_interval: 1,
            checkpoint_interval: 250,
            sample_interval: 0,
            keep_checkpoints: 2,
            max_seconds: 0.0,
            tensorboard: false,
            recompute: Recompute::Auto,
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
