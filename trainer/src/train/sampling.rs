//! Texts that the model writes while it learns.

use std::fs;
use std::path::Path;

use super::saving::warn;
use super::{Observer, TrainError, Training};
use crate::backend::{Backend, BackendError};
use crate::durable;
use crate::model::{Gpt, Single};
use crate::run::{Run, RunError};
use crate::sample::sample;

/// Most tokens of a text.
const LONGEST: usize = 100;

/// Room for the texts of `run`, if it is to have any.
pub(super) fn room<B: Backend>(
    gpt: &mut Gpt<B>,
    run: &Run,
) -> Result<Option<Single<B>>, BackendError> {
    let is_sampled = run.settings.run.sample_interval > 0;
    let longest = LONGEST.min(run.config.n_ctx());
    is_sampled.then(|| gpt.single(longest)).transpose()
}

impl<B: Backend> Training<'_, B> {
    /// Whether a text follows on step `step`. That of the last step is made of the finished model.
    pub(super) fn is_sampled(&self, step: u64) -> bool {
        let settings = &self.run.settings;
        let interval = settings.run.sample_interval;
        interval > 0 && step.is_multiple_of(interval) && step < settings.training.steps
    }

    /// Has the model write a text, with the weights that validation measures.
    pub(super) fn sample(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let settings = &self.run.settings.training;
        let single = self.single.as_mut();
        let single = single.expect("a run that writes texts has room for them");
        self.gpt.round_to(settings.quantize_aware.format());
        self.gpt.swap_average();
        let tokenizer = self.run.tokenizer.view();
        let text = sample(&mut self.gpt, single, &tokenizer, settings.seed);
        self.gpt.swap_average();
        let text = text?;
        let step = self.state.step;
        let path = self.run.samples().join(format!("step-{step:06}.txt"));
        warn(observer, write(&path, &text));
        observer.sample(step, &text);
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), RunError> {
    let directory = path.parent().unwrap_or(path);
    let made = fs::create_dir_all(directory);
    let written = made.and_then(|()| durable::replace_file(path, text.as_bytes()));
    written.map_err(|error| RunError::File {
        path: path.to_owned(),
        error,
    })
}
