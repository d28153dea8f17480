//! What a run will take, before it begins: time and memory, from a few steps of its own.

use core::time::Duration;
use std::time::Instant;

use minigpt_runtime::layout;

use crate::backend::{Backend, BackendError, Batch};
use crate::data::windows::{Draw, ValidationWindows, WindowBatch};
use crate::model::{Gpt, GptOptions, PassOptions};
use crate::optimizer::AdamW;
use crate::run::Run;

/// Operations of a measured pass: a second or less on most machines. A batch that takes more is
/// measured on fewer tokens.
const PASS_FLOPS: f64 = 2e10;

/// Windows shorter than this say little about longer ones.
const LEAST_TIME: usize = 64;

/// Passes that are measured, and the time after which fewer will do.
const PASSES: usize = 8;
const ENOUGH: Duration = Duration::from_millis(1500);

/// What a run takes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forecast {
    /// Seconds of a step of the optimiser.
    pub step_seconds: f64,
    /// Seconds of the whole run, validation included.
    pub seconds: f64,
    /// Tokens of a step.
    pub step_tokens: u64,
}

/// Measures some steps of `run` on a model that `backend` trains and that is then thrown away. With `recompute`,
/// backward makes activations again, as a [`Plan`](crate::run::Plan) says.
///
/// # Errors
/// A [`BackendError`].
pub fn forecast<B: Backend>(
    run: &Run,
    backend: B,
    recompute: bool,
) -> Result<Forecast, BackendError> {
    let training = &run.settings.training;
    let full = Batch {
        n_batch: training.batch as usize,
        n_time: run.config.n_ctx(),
    };
    // A device that is asked ahead idles on less than it will get.
    let measured = match backend.ahead().steps {
        0 => affordable(full, layout::n_params(&run.config)),
        _ => full,
    };
    let share = full.rows() as f64 / measured.rows() as f64;
    let seconds = measure(run, backend, measured, recompute)?;
    let accumulation = u64::from(training.accumulation);
    let rounded = training
        .quantized()
        .map_or(0, |(first, _)| training.steps + 1 - first);
    let rounding = seconds.rounding * rounded as f64 / training.steps as f64;
    let step_seconds = seconds.pass * share * accumulation as f64 + seconds.update + rounding;
    let validations = training.steps.div_ceil(training.eval_interval) as f64;
    let validation = n_validation_batches(run, full) as f64 * seconds.evaluation * share;
    Ok(Forecast {
        step_seconds,
        seconds: step_seconds * training.steps as f64 + validations * validation,
        step_tokens: full.rows() as u64 * accumulation,
    })
}

/// What parts of training take, in seconds.
struct Seconds {
    /// Forward and backward of a batch.
    pass: f64,
    update: f64,
    /// Forward of a batch.
    evaluation: f64,
    /// To round the weights, where the run does.
    rounding: f64,
}

fn measure<B: Backend>(
    run: &Run,
    backend: B,
    batch: Batch,
    recompute: bool,
) -> Result<Seconds, BackendError> {
    let training = &run.settings.training;
    let options = GptOptions {
        seed: training.seed,
        method: training.optimizer,
        recompute,
    };
    let mut gpt = Gpt::with_options(backend, run.config, batch, options)?;
    let [pass, update] = steps(run, &mut gpt)?;
    let mut windows = WindowBatch::new(batch.n_batch, batch.n_time);
    let draw = Draw {
        bos: None,
        seed: training.seed,
        micro_step: 0,
    };
    windows.draw(&run.train, &draw);
    let mut evaluate = |format| {
        let start = Instant::now();
        gpt.round_to(format);
        let pending = gpt.evaluate(&windows.tokens, &windows.targets)?;
        gpt.loss(&pending)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let evaluation = evaluate(None)?;
    let rounding = match training.quantize_aware.format() {
        None => 0.0,
        format => (evaluate(format)? - evaluation).max(0.0),
    };
    Ok(Seconds {
        pass,
        update,
        evaluation,
        rounding,
    })
}

/// Seconds of a pass and of an update, each with all that is asked for in it done, or in the next one.
fn steps<B: Backend>(run: &Run, gpt: &mut Gpt<B>) -> Result<[f64; 2], BackendError> {
    let training = &run.settings.training;
    let corpus = gpt.corpus(&run.train)?;
    let bos = run.tokenizer.view().specials().bos;
    let (mut passes, mut updates) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    // The first pass makes what later ones find.
    for pass in 0..=PASSES {
        let options = PassOptions {
            dropout: training.dropout as f32,
            seed: training.seed,
            micro_step: pass as u64,
            accumulation: 1,
        };
        let start = Instant::now();
        let pending = gpt.accumulate_drawn(&corpus, bos, options)?;
        gpt.loss(&pending)?;
        let update = Instant::now();
        let norm = gpt.update(&AdamW::default(), pass as u64 + 1)?;
        gpt.norm(&norm)?;
        if pass > 0 {
            passes.push((update - start).as_secs_f64());
            updates.push(update.elapsed().as_secs_f64());
        }
        if passes.len() > 1 && begin.elapsed() > ENOUGH {
            break;
        }
    }
    Ok([median(passes), median(updates)])
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
