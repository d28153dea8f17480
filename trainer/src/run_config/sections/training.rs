//! How a model is learned.

use minigpt_runtime::Format;
use serde::{Deserialize, Serialize};

use crate::optimizer::Method;
use crate::schedule::{Course, Schedule};

/// The format of model files that a run prepares its weights for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum QuantizeAware {
    /// None.
    #[default]
    Off,
    /// [`Format::Q8`], and so [`Format::Q8Dsp`].
    Q8,
    /// [`Format::Q4`].
    Q4,
}

impl QuantizeAware {
    /// The format, if there is one.
    #[must_use]
    pub const fn format(self) -> Option<Format> {
        match self {
            Self::Off => None,
            Self::Q8 => Some(Format::Q8),
            Self::Q4 => Some(Format::Q4),
        }
    }
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
    /// Standard deviations above its mean over the last 128 steps from which the loss or the gradients' norm of a
    /// step makes it be skipped; 0 skips none.
    pub skip_z: f64,
    /// Share that the moving average of the weights keeps at each step; what is validated and
    /// exported is the average then. 0 keeps none.
    pub ema_decay: f64,
    /// The format whose weights the last part of the run computes with, and whose weights are validated from
    /// the first step on.
    pub quantize_aware: QuantizeAware,
    /// Share of the steps that this last part is.
    pub quantize_fraction: f64,
    /// Probability of dropout.
    pub dropout: f64,
    /// Whether cuBLASLt does products of matrices on an NVIDIA GPU, where it can: other bits than ours.
    pub cublaslt: bool,
    /// Steps from one validation to the next; the last step is always validated.
    pub eval_interval: u64,
    /// Batches in one validation; 0 means all of the validation part.
    pub eval_batches: u32,
    /// Validations without improvement before the run stops; 0 never stops early.
    pub patience: u32,
    /// Seed of the initial weights, the windows and dropout.
    pub seed: u64,
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
            quantize_aware: QuantizeAware::Off,
            quantize_fraction: 0.25,
            dropout: 0.0,
            cublaslt: false,
            eval_interval: 250,
            eval_batches: 20,
            patience: 0,
            seed: 1337,
        }
    }
}

impl TrainingSettings {
    /// The first step that computes with weights as [`Self::quantize_aware`] stores them, and which format
    /// that is.
    #[must_use]
    pub fn quantized(&self) -> Option<(u64, Format)> {
        let last = (self.steps as f64 * self.quantize_fraction).ceil() as u64;
        let format = self.quantize_aware.format()?;
        Some((self.steps.saturating_sub(last) + 1, format))
    }

    /// Whether a step is taken only once its loss is known and found usual.
    #[must_use]
    pub fn judges(&self) -> bool {
        self.skip_z > 0.0
    }

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
