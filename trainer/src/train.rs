//! Training: steps, validation, checkpoints, and every way to end.

mod ahead;
mod error;
mod sampling;
mod saving;
mod step;
mod summary;
mod validation;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use crate::backend::{Backend, Batch};
use crate::checkpoint::{self, State};
use crate::metrics::{Metrics, MetricsError};
use crate::model::{Gpt, GptOptions, Single};
use crate::outliers::Outlier;
use crate::run::{Run, RunError};

use ahead::{Owed, Pace};
pub use error::{Diverged, Diverging, TrainError};
use sampling::room;
use saving::{draw, warn};
pub use summary::{Ending, Summary};
use summary::{ending, summary};
use validation::Validation;

/// Who watches a run and may end it.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, _metrics: &Metrics) {}

    /// The model wrote a text at the end of step `step`.
    fn sample(&mut self, _step: u64, _text: &str) {}

    /// A step stood out and was not taken; [`Self::step`] follows.
    fn skipped(&mut self, _outlier: &Outlier) {}

    /// Something beside the training itself did not work; the run goes on.
    fn warning(&mut self, _message: &str) {}

    /// Asked after each step: whether to save and stop here. Steps that a device is at by then are still
    /// done.
    fn stops(&mut self) -> bool {
        false
    }
}

/// Nobody watches.
impl Observer for () {}

/// Trains until the run is finished or has to stop, from its latest checkpoint if there is one. With
/// `recompute`, backward makes activations again, as a [`Plan`](crate::run::Plan) says.
///
/// Everything that is learned depends on the settings alone: not on the number of threads, not on
/// `recompute`, and not on how often it was interrupted.
///
/// # Errors
/// A [`TrainError`]; the checkpoints up to then are untouched.
pub fn train<B: Backend>(
    run: &mut Run,
    backend: B,
    recompute: bool,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    match finished(run, observer)? {
        Some(summary) => Ok(summary),
        None => Training::start(run, backend, recompute)?.go(observer),
    }
}

/// What came of the run, if nothing of it is left to train.
///
/// # Errors
/// A [`TrainError`] if its latest checkpoint cannot be read, or its record not be kept.
pub fn finished(run: &mut Run, observer: &mut dyn Observer) -> Result<Option<Summary>, TrainError> {
    let Some((step, path)) = checkpoint::list(&run.checkpoints())?.pop() else {
        return Ok(None);
    };
    let state = checkpoint::load_state(&path)?;
    let Some(ending) = ending(&state, &run.settings.training) else {
        return Ok(None);
    };
    // It may have been killed between its last checkpoint and the picture.
    warn(observer, draw(run));
    keep_events(run)?;
    Ok(Some(summary(ending, step, &state, path)))
}

struct Training<'r, B: Backend> {
    run: &'r mut Run,
    gpt: Gpt<B>,
    /// Where the run stands: after the last step that was settled.
    state: State,
    start: u64,
    /// The latest checkpoint.
    checkpoint: Option<PathBuf>,
    /// The step that it is of.
    saved: Option<u64>,
    /// What it learns from.
    corpus: B::Corpus,
    /// The token that documents begin with.
    bos: Option<u32>,
    validation: Option<Validation>,
    /// Room for texts, where the run writes any.
    single: Option<Single<B>>,
    began: Instant,
    pace: Pace,
    /// Steps behind `state` that were asked for.
    owed: VecDeque<Owed<B::Scalar>>,
}

impl<'r, B: Backend> Training<'r, B> {
    fn start(run: &'r mut Run, backend: B, recompute: bool) -> Result<Self, TrainError> {
        let latest = checkpoint::list(&run.checkpoints())?.pop();
        let checkpoint = latest.map(|(_, path)| path);
        let settings = &run.settings.training;
        let batch = Batch {
            n_batch: settings.batch as usize,
            n_time: run.config.n_ctx(),
        };
        let options = GptOptions {
            seed: settings.seed,
            method: settings.optimizer,
            recompute,
        };
        let mut gpt = Gpt::with_options(backend, run.config, batch, options)?;
        let mut state = State::start(run.settings.clone());
        if let Some(path) = &checkpoint {
            same_run(&checkpoint::load_state(path)?, run)?;
            state = checkpoint::load(path, &run.config, &mut |part, index, values| {
                gpt.write_array(part, index, values)
            })?;
            state.settings = run.settings.clone();
        }
        run.log.take_back(state.step)?;
        run.forget_divergence()?;
        keep_events(run)?;
        // Whether the device has it shows before any step; tokens take what is left.
        let single = room(&mut gpt, run)?;
        let corpus = gpt.corpus(&run.train)?;
        Ok(Self {
            gpt,
            corpus,
            start: state.step,
            saved: checkpoint.is_some().then_some(state.step),
            state,
            checkpoint,
            bos: run.tokenizer.view().specials().bos,
            validation: Validation::new(run, batch),
            single,
            began: Instant::now(),
            pace: Pace::new(),
            owed: VecDeque::new(),
            run,
        })
    }

    fn go(mut self, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        loop {
            match self.advance(observer) {
                Ok(None) => {}
                Ok(Some((ending, path))) => {
                    return Ok(summary(ending, self.start, &self.state, path));
                }
                Err(error) => return Err(self.rolled_back(error, observer)),
            }
        }
    }

    /// Asks for a step and settles those that are due; where the run has come to a place for it, saves. A
    /// checkpoint is of steps that were all settled.
    fn advance(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<Option<(Ending, PathBuf)>, TrainError> {
        let asked = self.ask()?;
        let (improved, ending) = self.catch_up(asked, observer)?;
        if !(self.is_saved(asked) || improved || ending.is_some()) {
            return Ok(None);
        }
        let path = self.save(observer)?;
        Ok(ending.map(|ending| (ending, path)))
    }

    /// `error`, and where it is that the run diverged, its directory says so and the record ends with the
    /// last checkpoint.
    fn rolled_back(&mut self, error: TrainError, observer: &mut dyn Observer) -> TrainError {
        if let TrainError::Diverged(diverged) = &error {
            if let Some(step) = self.saved {
                warn(observer, self.run.log.take_back(step));
            }
            warn(observer, self.run.note(&diverged.kept()));
        }
        self.located(error)
    }

    /// `error`, with the checkpoint that is left if the device failed.
    fn located(&self, error: TrainError) -> TrainError {
        match error {
            TrainError::Backend { error, .. } => TrainError::Backend {
                error,
                checkpoint: self.checkpoint.clone(),
            },
            error => error,
        }
    }
}

/// Begins event files of TensorBoard if the run is to have them.
fn keep_events(run: &mut Run) -> Result<(), MetricsError> {
    match run.settings.run.tensorboard {
        true => run.log.keep_events(&run.events()),
        false => Ok(()),
    }
}

/// A checkpoint of other settings would go on as a run that nobody asked for.
fn same_run(state: &State, run: &Run) -> Result<(), RunError> {
    let mut differences = state.settings.differences(&run.settings);
    differences.retain(|one| !crate::run::EXTENDABLE.contains(&one.field.as_str()));
    if differences.is_empty() {
        Ok(())
    } else {
        Err(RunError::Differs {
            path: run.checkpoints().join(checkpoint::name(state.step)),
            differences,
            further: false,
        })
    }
}

#[cfg(test)]
mod tests;
