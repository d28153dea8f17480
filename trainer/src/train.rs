//! Training: steps, validation, checkpoints, and every way to end.

mod error;
mod summary;
mod validation;

use std::path::PathBuf;
use std::time::Instant;

use crate::backend::{Backend, Batch};
use crate::checkpoint::{self, Snapshot, State};
use crate::data::windows::WindowBatch;
use crate::durable;
use crate::loss_plot::loss_plot;
use crate::metrics::Metrics;
use crate::model::{Gpt, PassOptions, PendingLoss};
use crate::optimizer::AdamW;
use crate::run::{Run, RunError, memory};
use crate::run_config::TrainingSettings;

pub use error::{Diverged, Diverging, TrainError};
pub use summary::{Ending, Summary};
use summary::{ending, summary};
use validation::Validation;

/// Who watches a run and may end it.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, _metrics: &Metrics) {}

    /// Something beside the training itself did not work; the run goes on.
    fn warning(&mut self, _message: &str) {}

    /// Asked after each step: whether to save and stop here.
    fn stops(&mut self) -> bool {
        false
    }
}

/// Nobody watches.
impl Observer for () {}

/// Trains until the run is finished or has to stop, from its latest checkpoint if there is one.
///
/// Everything that is learned depends on the settings alone: not on the number of threads, and not
/// on how often it was interrupted.
///
/// # Errors
/// A [`TrainError`]; the checkpoints up to then are untouched.
pub fn train<B: Backend>(
    run: &mut Run,
    backend: B,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let latest = checkpoint::list(&run.checkpoints())?.pop();
    if let Some((step, path)) = &latest {
        let state = checkpoint::load_state(path)?;
        if let Some(ending) = ending(&state, &run.settings.training) {
            // It may have been killed between its last checkpoint and the picture.
            warn(observer, draw(run));
            return Ok(summary(ending, *step, &state, path.clone()));
        }
    }
    memory::check(&run.settings, &run.config)?;
    Training::start(run, backend, latest.map(|(_, path)| path))?.go(observer)
}

struct Training<'r, B: Backend> {
    run: &'r mut Run,
    gpt: Gpt<B>,
    state: State,
    start: u64,
    /// The latest checkpoint.
    checkpoint: Option<PathBuf>,
    batch: WindowBatch,
    /// The token that documents begin with.
    bos: Option<u32>,
    validation: Option<Validation>,
    began: Instant,
    /// Seconds of steps and tokens in them since the last line of the record.
    pace: (f64, u64),
}

impl<'r, B: Backend> Training<'r, B> {
    fn start(
        run: &'r mut Run,
        backend: B,
        checkpoint: Option<PathBuf>,
    ) -> Result<Self, TrainError> {
        let settings = &run.settings.training;
        let batch = Batch {
            n_batch: settings.batch as usize,
            n_time: run.config.n_ctx(),
        };
        let mut gpt = Gpt::new(backend, run.config, batch, settings.seed)?;
        let mut state = State::start(run.settings.clone());
        if let Some(path) = &checkpoint {
            let snapshot = checkpoint::load(path, &run.config)?;
            same_run(&snapshot.state, run)?;
            gpt.write_parameters(&snapshot.parameters)?;
            gpt.write_moments(&snapshot.first, &snapshot.second)?;
            state = snapshot.state;
            state.settings = run.settings.clone();
        }
        run.log.take_back(state.step)?;
        Ok(Self {
            gpt,
            start: state.step,
            state,
            checkpoint,
            batch: WindowBatch::new(batch.n_batch, batch.n_time),
            bos: run.tokenizer.view().specials().bos,
            validation: Validation::new(run, batch),
            began: Instant::now(),
            pace: (0.0, 0),
            run,
        })
    }

    fn go(mut self, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        loop {
            let metrics = self.step().map_err(|error| self.located(error))?;
            let improved = metrics.val_loss.is_some() && self.state.stale_evaluations == 0;
            let run = self.run.settings.run.clone();
            let ending = ending(&self.state, &self.run.settings.training);
            let logged = metrics.step.is_multiple_of(run.log_interval);
            if logged || metrics.val_loss.is_some() {
                self.run.log.append(metrics)?;
                self.pace = (0.0, 0);
            }
            observer.step(&metrics);
            let late =
                run.max_seconds > 0.0 && self.began.elapsed().as_secs_f64() >= run.max_seconds;
            let ending = match ending {
                Some(ending) => Some(ending),
                None if observer.stops() => Some(Ending::Stopped),
                None => late.then_some(Ending::OutOfTime),
            };
            let due = metrics.step.is_multiple_of(run.checkpoint_interval);
            if due || improved || ending.is_some() {
                let path = self.save(observer)?;
                if let Some(ending) = ending {
                    return Ok(summary(ending, self.start, &self.state, path));
                }
            }
        }
    }

    /// One step of the optimiser and, where it is due, validation.
    fn step(&mut self) -> Result<Metrics, TrainError> {
        let settings = self.run.settings.training.clone();
        let step = self.state.step + 1;
        let begin = Instant::now();
        let losses = self.accumulate(step, &settings)?;
        let learning_rate = settings.schedule().at(step);
        let optimizer = optimizer(&settings, learning_rate);
        let grad_norm = self.gpt.update(&optimizer, step)?;
        // All is asked for before anything is waited for.
        let train_loss = self.mean_loss(&losses)?;
        if !train_loss.is_finite() {
            return Err(self.diverged(Diverging::TrainingLoss, train_loss));
        }
        let grad_norm = self.gpt.norm(&grad_norm)?;
        if !grad_norm.is_finite() {
            return Err(self.diverged(Diverging::GradientNorm, grad_norm.into()));
        }
        let tokens = self.batch.tokens.len() as u64 * u64::from(settings.accumulation);
        self.state.step = step;
        self.state.tokens += tokens;
        self.pace.0 += begin.elapsed().as_secs_f64();
        self.pace.1 += tokens;
        let mut metrics = Metrics {
            step,
            tokens: self.state.tokens,
            train_loss,
            learning_rate,
            grad_norm,
            tokens_per_second: (self.pace.1 as f64 / self.pace.0.max(1e-9)).round(),
            val_loss: None,
            val_bits_per_byte: None,
        };
        if step.is_multiple_of(settings.eval_interval) || step == settings.steps {
            self.validate(&mut metrics)?;
        }
        Ok(metrics)
    }

    /// Forward and backward of all passes of step `step`; their losses.
    fn accumulate(
        &mut self,
        step: u64,
        settings: &TrainingSettings,
    ) -> Result<Vec<PendingLoss<B::Scalar>>, TrainError> {
        let mut losses = Vec::new();
        for pass in 0..u64::from(settings.accumulation) {
            let micro_step = (step - 1) * u64::from(settings.accumulation) + pass;
            self.batch
                .draw(&self.run.train, self.bos, settings.seed, micro_step);
            let options = PassOptions {
                dropout: settings.dropout as f32,
                seed: settings.seed,
                micro_step,
                accumulation: settings.accumulation as usize,
            };
            let (tokens, targets) = (&self.batch.tokens, &self.batch.targets);
            losses.push(self.gpt.accumulate(tokens, targets, options)?);
        }
        Ok(losses)
    }

    /// The mean loss of the passes of a step.
    fn mean_loss(&self, losses: &[PendingLoss<B::Scalar>]) -> Result<f64, TrainError> {
        let (mut sum, mut count) = (0.0, 0);
        for pending in losses {
            let loss = self.gpt.loss(pending)?;
            sum += loss.sum;
            count += loss.count;
        }
        Ok(sum / count as f64)
    }

    fn validate(&mut self, metrics: &mut Metrics) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(());
        };
        let best = validation.measure(self.state.step, &mut self.gpt, self.run, &mut self.batch)?;
        if !best.val_loss.is_finite() {
            return Err(self.diverged(Diverging::ValidationLoss, best.val_loss));
        }
        metrics.val_loss = Some(best.val_loss);
        metrics.val_bits_per_byte = Some(best.val_bits_per_byte);
        if self
            .state
            .best
            .is_none_or(|old| best.val_loss < old.val_loss)
        {
            self.state.best = Some(best);
            self.state.stale_evaluations = 0;
        } else {
            self.state.stale_evaluations += 1;
        }
        Ok(())
    }

    /// Saves a checkpoint and the picture, and removes checkpoints that are no longer needed.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<PathBuf, TrainError> {
        // The record first: it must not end before the checkpoint does.
        self.run.log.sync()?;
        let snapshot = self.snapshot().map_err(|error| self.located(error))?;
        let directory = self.run.checkpoints();
        let path = checkpoint::save(&directory, &self.run.config, &snapshot)?;
        let keep = self.run.settings.run.keep_checkpoints as usize;
        // The checkpoint is safe: what follows is no reason to stop.
        let best = self.state.best.map(|best| best.step);
        warn(observer, checkpoint::prune(&directory, keep, best));
        warn(observer, draw(self.run));
        self.checkpoint = Some(path.clone());
        Ok(path)
    }

    fn snapshot(&self) -> Result<Snapshot, TrainError> {
        let (first, second) = self.gpt.read_moments()?;
        Ok(Snapshot {
            state: self.state.clone(),
            parameters: self.gpt.read_parameters()?,
            first,
            second,
        })
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

    fn diverged(&self, what: Diverging, value: f64) -> TrainError {
        let schedule = self.run.settings.training.schedule();
        TrainError::Diverged(Diverged {
            what,
            value,
            // Validation is of a step that is done; the others end one that is not.
            step: self.state.step + u64::from(what != Diverging::ValidationLoss),
            checkpoint: self.checkpoint.clone(),
            learning_rate: schedule.learning_rate,
            warmup_steps: schedule.warmup_steps,
        })
    }
}

fn warn<E: core::fmt::Display>(observer: &mut dyn Observer, result: Result<(), E>) {
    if let Err(error) = result {
        observer.warning(&error.to_string());
    }
}

/// Writes `loss.svg`.
fn draw(run: &Run) -> Result<(), RunError> {
    let picture = run.picture();
    let svg = loss_plot(&run.path().display().to_string(), run.log.history());
    durable::replace_file(&picture, svg.as_bytes()).map_err(|error| RunError::File {
        path: picture,
        error,
    })
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

fn optimizer(settings: &TrainingSettings, learning_rate: f64) -> AdamW {
    AdamW {
        learning_rate: learning_rate as f32,
        beta1: settings.beta1 as f32,
        beta2: settings.beta2 as f32,
        eps: settings.eps as f32,
        weight_decay: settings.weight_decay as f32,
        max_norm: match settings.grad_clip {
            0.0 => f32::INFINITY,
            norm => norm as f32,
        },
    }
}
