//! How a run ends.

use std::path::PathBuf;

use crate::checkpoint::{Best, State};
use crate::run_config::TrainingSettings;

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// Validation has not improved for as long as the settings allow.
    Stale,
    /// The observer wanted it.
    Stopped,
    /// `max_seconds` are over.
    OutOfTime,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Why it ended.
    pub ending: Ending,
    /// Steps that were done before this start.
    pub start: u64,
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Steps among them that were skipped as outliers.
    pub skipped: u64,
    /// The best validation, if there is any.
    pub best: Option<Best>,
    /// The latest checkpoint.
    pub checkpoint: PathBuf,
}

/// The end, at `state`.
pub(super) fn summary(ending: Ending, start: u64, state: &State, checkpoint: PathBuf) -> Summary {
    Summary {
        ending,
        start,
        step: state.step,
        tokens: state.tokens,
        skipped: state.outliers.skipped,
        best: state.best,
        checkpoint,
    }
}

/// Why a run at `state` is over; `None` while it is not. It does not end early before the part that it
/// computes with the weights that will be deployed.
pub(super) fn ending(state: &State, settings: &TrainingSettings) -> Option<Ending> {
    let early = settings
        .quantized()
        .is_some_and(|(first, _)| state.step < first);
    let stale = settings.patience > 0 && state.stale_evaluations >= settings.patience;
    if state.step >= settings.steps {
        Some(Ending::Finished)
    } else if stale && !early {
        Some(Ending::Stale)
    } else {
        None
    }
}
