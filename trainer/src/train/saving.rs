//! Keeping what training has come to.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Observer, TrainError, Training};
use crate::backend::{Backend, BackendError};
use crate::checkpoint::{self, Source};
use crate::durable;
use crate::loss_plot::loss_plot;
use crate::metrics::csv;
use crate::model::{Gpt, Part};
use crate::run::{Run, RunError};

impl<B: Backend> Training<'_, B> {
    /// Saves a checkpoint and the picture, and removes checkpoints that are no longer needed.
    ///
    /// # Panics
    /// If steps are owed: the weights are already those behind them.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<PathBuf, TrainError> {
        assert!(self.owed.is_empty(), "a checkpoint is of settled steps");
        // The record first: it must not end before the checkpoint does.
        self.run.log.sync()?;
        let directory = self.run.checkpoints();
        let path = checkpoint::save(&directory, &self.run.config, &self.state, &self.gpt)
            .map_err(|error| self.located(error.into()))?;
        let keep = self.run.settings.run.keep_checkpoints as usize;
        // The checkpoint is safe: what follows is no reason to stop.
        let best = self.state.best.map(|best| best.step);
        warn(observer, checkpoint::prune(&directory, keep, best));
        warn(observer, draw(self.run));
        self.checkpoint = Some(path.clone());
        self.saved = Some(self.state.step);
        Ok(path)
    }
}

impl<B: Backend> Source for Gpt<B> {
    fn has_average(&self) -> bool {
        self.has_average()
    }

    fn read(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError> {
        self.read_array(part, index)
    }
}

pub(super) fn warn<E: core::fmt::Display>(observer: &mut dyn Observer, result: Result<(), E>) {
    if let Err(error) = result {
        observer.warning(&error.to_string());
    }
}

/// Writes `loss.svg` and `metrics.csv`.
pub(super) fn draw(run: &Run) -> Result<(), RunError> {
    let history = run.log.history();
    let svg = loss_plot(&run.path().display().to_string(), history);
    for (path, text) in [(run.picture(), svg), (run.table(), csv(history))] {
        durable::replace_file(&path, text.as_bytes())
            .map_err(|error| RunError::File { path, error })?;
    }
    Ok(())
}
