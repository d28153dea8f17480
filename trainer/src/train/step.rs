//! One step of training, and validation.

use super::ahead::Owed;
use super::{Diverged, Diverging, Observer, TrainError, Training};
use crate::backend::Backend;
use crate::metrics::Metrics;
use crate::model::{PassOptions, PendingLoss};
use crate::optimizer::{AdamW, Muon, Optimizer};
use crate::run_config::TrainingSettings;

/// How many times the loss of the first step, and that of a guess, `ln n_vocab`, a loss must be that no
/// training comes back from.
const WORST: f64 = 3.0;

/// Share of the way to the deployed weights that weights would go at the last step, were the learning rate
/// still at its peak: enough to hold them against gradients that do not agree
/// (`benches/results/quantize_aware.csv`).
const SETTLED: f64 = 0.07;

impl<B: Backend> Training<'_, B> {
    /// Asks for the next step of the optimiser, which [`Self::settle`] settles. Returns its number.
    pub(super) fn ask(&mut self) -> Result<u64, TrainError> {
        let settings = self.run.settings.training.clone();
        let step = self.state.step + self.owed.len() as u64 + 1;
        if self.owed.is_empty() {
            self.pace.begin();
        }
        self.quantize(step, &settings);
        let losses = self.accumulate(step, &settings)?;
        let norm = self.gpt.gradient_norm()?;
        if !settings.judges() {
            self.descend(&settings, &norm, step)?;
        }
        self.owed.push_back(Owed { losses, norm });
        Ok(step)
    }

    /// Waits for what the first step that is owed came to. Unless it is an outlier, it has been taken then.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]; steps after it have been taken all the same, and mean nothing.
    pub(super) fn settle(&mut self, observer: &mut dyn Observer) -> Result<Metrics, TrainError> {
        let owed = self.owed.pop_front().expect("callers look for one first");
        let settings = self.run.settings.training.clone();
        let step = self.state.step + 1;
        let (train_loss, grad_norm) = self.numbers(&owed)?;
        if settings.judges() {
            self.judge(step, &settings, (train_loss, grad_norm), &owed, observer)?;
        }
        let tokens = self.gpt.batch().rows() as u64 * u64::from(settings.accumulation);
        self.state.step = step;
        self.state.tokens += tokens;
        self.pace.end(tokens);
        let before = self.run.log.history().last();
        Ok(Metrics {
            step,
            tokens: self.state.tokens,
            seconds: self.pace.seconds + before.map_or(0.0, |line| line.seconds),
            train_loss,
            learning_rate: settings.schedule().at(step),
            grad_norm,
            skipped: self.state.outliers.skipped,
            tokens_per_second: (self.pace.tokens as f64 / self.pace.seconds.max(1e-9)).round(),
            val_loss: None,
            val_bits_per_byte: None,
        })
    }

    /// From its step on, has the model compute with the weights that will be deployed. What others came to is
    /// then no measure any more, neither for outliers nor for early stopping.
    fn quantize(&mut self, step: u64, settings: &TrainingSettings) {
        let quantized = settings.quantized().filter(|(first, _)| *first <= step);
        self.gpt.round_to(quantized.map(|(_, format)| format));
        if quantized.is_some_and(|(first, _)| first == step) {
            self.state.outliers.forget();
            self.state.stale_evaluations = 0;
        }
    }

    /// Mean loss of a step and norm of its gradients, which show whether training still works.
    fn numbers(&mut self, owed: &Owed<B::Scalar>) -> Result<(f64, f32), TrainError> {
        // The last that a step comes to: nothing before it has to be waited for again.
        let grad_norm = self.gpt.norm(&owed.norm)?;
        let loss = self.mean_loss(&owed.losses)?;
        if !loss.is_finite() {
            return Err(self.diverged(Diverging::TrainingLoss, loss));
        }
        let first = *self.state.first_loss.get_or_insert(loss);
        let guess = (self.run.config.n_vocab() as f64).ln();
        if loss > WORST * first.max(guess) {
            return Err(self.diverged(Diverging::Hopeless, loss));
        }
        if !grad_norm.is_finite() {
            return Err(self.diverged(Diverging::GradientNorm, grad_norm.into()));
        }
        Ok((loss, grad_norm))
    }

    /// Takes step `step` unless it is an outlier.
    fn judge(
        &mut self,
        step: u64,
        settings: &TrainingSettings,
        (loss, grad_norm): (f64, f32),
        owed: &Owed<B::Scalar>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let outliers = &mut self.state.outliers;
        let Some(outlier) = outliers.judge(step, loss, grad_norm, settings.skip_z) else {
            return self.descend(settings, &owed.norm, step);
        };
        let optimizer = optimizer(settings, step);
        self.gpt.descend(optimizer, None, step)?;
        observer.skipped(&outlier);
        Ok(())
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
            let options = PassOptions {
                dropout: settings.dropout as f32,
                seed: settings.seed,
                micro_step,
                accumulation: settings.accumulation as usize,
            };
            let drawn = self.gpt.accumulate_drawn(&self.corpus, self.bos, options);
            losses.push(drawn?);
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

    /// The update of step `step`, and that of the average.
    fn descend(
        &mut self,
        settings: &TrainingSettings,
        norm: &B::Scalar,
        step: u64,
    ) -> Result<(), TrainError> {
        let updates = step - self.state.outliers.skipped;
        let optimizer = optimizer(settings, step);
        self.gpt.descend(optimizer, Some(norm), updates)?;
        if let Some(share) = settled(settings, step) {
            self.gpt.settle(share)?;
        }
        if settings.ema_decay > 0.0 {
            let decay = average_decay(settings.ema_decay, updates);
            self.gpt.average(decay)?;
        }
        Ok(())
    }

    pub(super) fn validate(&mut self, metrics: &mut Metrics) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(());
        };
        let settings = &self.run.settings.training;
        self.gpt.round_to(settings.quantize_aware.format());
        self.gpt.swap_average();
        let best = validation.measure(self.state.step, &mut self.gpt, self.run)?;
        self.gpt.swap_average();
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

    pub(super) fn diverged(&self, what: Diverging, value: f64) -> TrainError {
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

fn optimizer(settings: &TrainingSettings, step: u64) -> Optimizer {
    let learning_rate = settings.schedule().at(step);
    let adamw = AdamW {
        learning_rate: learning_rate as f32,
        beta1: settings.beta1 as f32,
        beta2: settings.beta2 as f32,
        eps: settings.eps as f32,
        weight_decay: settings.weight_decay as f32,
        max_norm: match settings.grad_clip {
            0.0 => f32::INFINITY,
            norm => norm as f32,
        },
    };
    let muon_peak = settings.muon_learning_rate;
    let share = muon_peak.map_or(1.0, |peak| peak / settings.learning_rate);
    let muon = Muon {
        learning_rate: (learning_rate * share) as f32,
        momentum: settings.muon_momentum as f32,
        weight_decay: settings.weight_decay as f32,
    };
    Optimizer { adamw, muon }
}

/// What stays of the moving average at update `n`, counted from 1: less while there are few, so that
/// it forgets the weights that training began with.
///
/// # Source
/// TensorFlow, `tf.train.ExponentialMovingAverage`, `num_updates`.
fn average_decay(decay: f64, n: u64) -> f32 {
    let n = n as f64;
    decay.min((1.0 + n) / (10.0 + n)) as f32
}

/// How far the weights go at step `step` to those that will be deployed: from the first step that computes
/// with these on ever further, up to [`SETTLED`] at the last, and as the learning rate does, for it is
/// against its updates.
fn settled(settings: &TrainingSettings, step: u64) -> Option<f32> {
    let (first, _) = settings.quantized()?;
    let done = (step + 1).checked_sub(first).filter(|done| *done > 0)?;
    let progress = done as f64 / (settings.steps + 1 - first) as f64;
    let rate = settings.schedule().at(step) / settings.learning_rate;
    Some((SETTLED * rate * progress) as f32)
}
