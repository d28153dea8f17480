//! What a run will take, before it begins: time and memory, from a few steps of its own.

use core::time::Duration;
use std::time::Instant;

use minigpt_runtime::layout;

use crate::backend::{Backend, Batch};
use crate::data::windows::{ValidationWindows, WindowBatch};
use crate::model::{Gpt, PassOptions};
use crate::optimizer::AdamW;
use crate::run::{Run, RunError, memory};

/// Operations of a measured pass: a second or less on most machines. A batch that takes more is
/// measured on fewer tokens.
const PASS_FLOPS: f64 = 2e10;

/// Windows shorter than this say little about longer ones.
const LEAST_TIME: usize = 64;

/// Passes that are measured, and the time after which fewer will do.
const PASSES: usize = 8;
const ENOUGH: Duration = Duration::from_millis(1500);

/// Copies of the parameters, in 4 bytes each, that exist while a checkpoint is written, beside what
/// training keeps; and those that training keeps.
const CHECKPOINT_COPIES: u64 = 8;
const STATE_COPIES: u64 = 4;

/// What a run takes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forecast {
    /// Bytes of memory at most, while a checkpoint is written.
    pub bytes: u64,
    /// Seconds of a step of the optimiser.
    pub step_seconds: f64,
    /// Seconds of the whole run, validation included.
    pub seconds: f64,
    /// Tokens of a step.
    pub step_tokens: u64,
}

/// Measures some steps of `run` on a model that is then thrown away.
///
/// # Errors
/// [`RunError::Memory`] if there is not enough for the run.
pub fn forecast<B: Backend>(run: &Run, backend: B) -> Result<Forecast, RunError> {
    memory::check(&run.settings, &run.config)?;
    let training = &run.settings.training;
    let n_params = layout::n_params(&run.config);
    let full = Batch {
        n_batch: training.batch as usize,
        n_time: run.config.n_ctx(),
    };
    let measured = affordable(full, n_params);
    let share = full.rows() as f64 / measured.rows() as f64;
    let mut gpt = Gpt::new(backend, run.config, measured, training.seed);
    let mut batch = WindowBatch::new(measured.n_batch, measured.n_time);
    let (mut passes, mut updates) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    // The first pass makes what later ones find.
    for pass in 0..=PASSES {
        batch.draw(&run.train, None, training.seed, pass as u64);
        let options = PassOptions {
            dropout: training.dropout as f32,
            seed: training.seed,
            micro_step: pass as u64,
            accumulation: 1,
        };
        let seconds = timed(|| gpt.accumulate(&batch.tokens, &batch.targets, options));
        let update = timed(|| gpt.update(&AdamW::default(), pass as u64 + 1));
        if pass > 0 {
            passes.push(seconds);
            updates.push(update);
        }
        if passes.len() > 1 && begin.elapsed() > ENOUGH {
            break;
        }
    }
    let evaluation = timed(|| gpt.evaluate(&batch.tokens, &batch.targets));
    let accumulation = u64::from(training.accumulation);
    let step_seconds = median(passes) * share * accumulation as f64 + median(updates);
    let validations = training.steps.div_ceil(training.eval_interval) as f64;
    let validation = n_validation_batches(run, full) as f64 * evaluation * share;
    let state = 4 * n_params * STATE_COPIES;
    let activations = gpt.bytes().saturating_sub(state) as f64 * share;
    Ok(Forecast {
        bytes: state + activations as u64 + 4 * n_params * CHECKPOINT_COPIES,
        step_seconds,
        seconds: step_seconds * training.steps as f64 + validations * validation,
        step_tokens: full.rows() as u64 * accumulation,
    })
}

/// A batch of fewer windows, or of one shorter one, where `full` takes long.
fn affordable(full: Batch, n_params: u64) -> Batch {
    // Forward and backward take six operations a parameter and token.
    let tokens = (PASS_FLOPS / (6.0 * n_params as f64)) as usize;
    Batch {
        n_batch: (tokens / full.n_time).clamp(1, full.n_batch),
        n_time: full.n_time.min(tokens.max(LEAST_TIME)),
    }
}

fn n_validation_batches(run: &Run, batch: Batch) -> usize {
    let bos = run.tokenizer.view().specials().bos;
    let most = run.settings.training.eval_batches as usize;
    ValidationWindows::new(&run.val, bos, batch.n_batch, batch.n_time, most).n_batches()
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_are_measured_in_part() {
        let full = |n_batch, n_time| Batch { n_batch, n_time };
        assert_eq!(affordable(full(12, 64), 800_000), full(12, 64));
        let part = affordable(full(64, 256), 11_000_000);
        assert!(part.n_batch < 64 && part.n_batch >= 1 && part.n_time == 256);
        assert_eq!(affordable(full(8, 1024), 124_000_000), full(1, 64));
        assert_eq!(affordable(full(8, 16), 124_000_000), full(1, 16));
    }
}
