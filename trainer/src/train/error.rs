//! What can end training before its time.

use core::fmt;
use std::path::PathBuf;

use crate::backend::BackendError;
use crate::checkpoint::CheckpointError;
use crate::metrics::MetricsError;
use crate::run::{Divergence, RunError};

/// Why training ended with nothing to show for its last steps.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainError {
    /// Numbers went beyond what floats can hold.
    Diverged(Diverged),
    /// The device failed.
    Backend {
        /// How.
        error: BackendError,
        /// The latest checkpoint, which is as it was.
        checkpoint: Option<PathBuf>,
    },
    /// A checkpoint cannot be saved or loaded.
    Checkpoint(CheckpointError),
    /// The record cannot be kept.
    Metrics(MetricsError),
    /// The run directory is at fault.
    Run(RunError),
}

/// A number that shows that training does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diverging {
    /// The loss of a step.
    TrainingLoss,
    /// The same, finite but far worse than at the first step.
    Hopeless,
    /// The norm of a step's gradients.
    GradientNorm,
    /// The loss of a validation.
    ValidationLoss,
}

/// A run that has become useless.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Diverged {
    /// What shows it.
    pub what: Diverging,
    /// What it is.
    pub value: f64,
    /// The step at which it was seen.
    pub step: u64,
    /// The latest checkpoint, from before that.
    pub checkpoint: Option<PathBuf>,
    /// Peak learning rate of the run.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
}

impl TrainError {
    /// Whether the caller asked for something impossible, as against a machine that failed.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Run(error) if error.is_misuse())
    }
}

impl Diverged {
    /// What its run directory keeps of it.
    #[must_use]
    pub fn kept(&self) -> Divergence {
        let reason = format!("{} is {}", self.what, self.value);
        Divergence::new(self.step, reason)
    }
}

impl fmt::Display for Diverging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrainingLoss => "the training loss",
            Self::Hopeless => "the training loss, more than three times that of the first step,",
            Self::GradientNorm => "the norm of the gradients",
            Self::ValidationLoss => "the validation loss",
        })
    }
}

/// A learning rate of AdamW with which models of the sizes of the presets learn.
const USUAL_RATE: f64 = 3e-3;

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training diverged: {}; ", self.kept())?;
        match &self.checkpoint {
            Some(path) => write!(
                f,
                "the run is back at the last good checkpoint, {}. ",
                path.display()
            )?,
            None => f.write_str("there is no checkpoint yet. ")?,
        }
        write!(
            f,
            "Try {} with a lower --learning-rate, such as {:.0e} (it is {:e}), \
             or a longer warm-up, such as --set warmup_steps={} (it is {})",
            match self.checkpoint {
                Some(_) => "a new --out",
                None => "again",
            },
            (self.learning_rate / 3.0).min(USUAL_RATE),
            self.learning_rate,
            (self.warmup_steps * 3).max(100),
            self.warmup_steps
        )
    }
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged(diverged) => diverged.fmt(f),
            Self::Backend {
                error,
                checkpoint: None,
            } => error.fmt(f),
            Self::Backend {
                error,
                checkpoint: Some(path),
            } => write!(
                f,
                "{error}; the same command goes on from {}",
                path.display()
            ),
            Self::Checkpoint(error) => error.fmt(f),
            Self::Metrics(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrainError {}

impl From<BackendError> for TrainError {
    fn from(error: BackendError) -> Self {
        Self::Backend {
            error,
            checkpoint: None,
        }
    }
}

impl From<CheckpointError> for TrainError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Device(error) => error.into(),
            error => Self::Checkpoint(error),
        }
    }
}

impl From<MetricsError> for TrainError {
    fn from(error: MetricsError) -> Self {
        Self::Metrics(error)
    }
}

impl From<RunError> for TrainError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}
