//! Whether a run fits into memory, asked before anything is made: to run out of it ends a process
//! without a word.

use std::fs;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::RunError;
use crate::optimizer::Rule;
use crate::run_config::{RunConfig, TrainingSettings};

/// Arrays of the size of the parameters that exist at once while a checkpoint is written: the
/// parameters, gradients and both moments, a copy of all but the gradients, and five on their way
/// into files.
const STATES: u128 = 4 + 3 + 5;
/// The same of a moving average: it, its copy, and that on its way into a file.
const AVERAGE: u128 = 3;
/// The same of second moments, which Muon has none of: they, their copy, and two on their way into a
/// file.
const SECOND: u128 = 4;

/// Fails if training with `settings` takes more memory than there is. `n_vocab` may be a lower bound.
pub(crate) fn check(settings: &RunConfig, config: &Config) -> Result<(), RunError> {
    let needed = training_bytes(config, &settings.training);
    enough(
        needed,
        "lower --batch, or n_ctx, n_embd or n_layer with --set",
    )
}

/// Fails if stories of `bytes` bytes and their tokens take more memory than there is.
pub(super) fn check_stories(bytes: u64) -> Result<(), RunError> {
    // A word or more is one token of four bytes, if not fewer.
    enough(2 * u128::from(bytes), "lower stories_bytes with --set")
}

/// Bytes that training keeps at least: state, and activations of a batch with the gradients that
/// attention's backward makes of them.
fn training_bytes(config: &Config, training: &TrainingSettings) -> u128 {
    let size = |n: usize| n as u128;
    let rows = u128::from(training.batch) * size(config.n_ctx());
    let saved = 2 * size(config.n_embd()) // the residual stream
        + size(config.n_qkv()) + size(config.n_embd()) + size(config.n_head()) // attention
        + size(config.n_fc()) // MLP
        + 4; // statistics of two norms
    let around = 7 * size(config.n_embd());
    let activations = rows * (saved * size(config.n_layer()) + around);
    let arrays = match training.ema_decay > 0.0 {
        true => STATES + AVERAGE,
        false => STATES,
    };
    let second = layout::tensors(config).map(|spec| {
        let rule = Rule::of(&spec, config, training.optimizer);
        (spec.len() - rule.second_len(spec.len())) as u128
    });
    let states = arrays * u128::from(layout::n_params(config)) - SECOND * second.sum::<u128>();
    (activations + states) * size(size_of::<f32>())
}

fn enough(needed: u128, advice: &'static str) -> Result<(), RunError> {
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    let refused = |available| RunError::Memory {
        needed,
        available,
        advice,
    };
    match available() {
        Some(available) if needed > available => Err(refused(Some(available))),
        Some(_) => Ok(()),
        None => {
            let bytes = usize::try_from(needed).map_err(|_| refused(None))?;
            let reserved = Vec::<u8>::new().try_reserve_exact(bytes);
            reserved.map_err(|_| refused(None))
        }
    }
}

/// Bytes of memory that a program can take, where the system says.
#[must_use]
pub fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Batch, cpu::Cpu};
    use crate::model::Gpt;
    use crate::optimizer::Method;
    use minigpt_runtime::config::Mlp;

    #[test]
    fn no_run_that_fits_is_refused() {
        let (adamw, muon) = (Method::AdamW, Method::Muon);
        for (mlp, method, ema_decay) in [
            (Mlp::Gelu, adamw, 0.0),
            (Mlp::Swiglu, adamw, 0.0),
            (Mlp::Gelu, adamw, 0.9),
            (Mlp::Swiglu, muon, 0.9),
        ] {
            let mut settings = RunConfig::default();
            settings.model.mlp = mlp;
            settings.training.ema_decay = ema_decay;
            settings.training.optimizer = method;
            let config = Config::new(settings.model.hyperparameters(65)).unwrap();
            let batch = Batch {
                n_batch: settings.training.batch as usize,
                n_time: config.n_ctx(),
            };
            let mut model = Gpt::with_method(Cpu::default(), config, batch, 1, method).unwrap();
            let ids = vec![1; batch.rows()];
            let pass = crate::model::PassOptions {
                dropout: 0.0,
                seed: 1,
                micro_step: 0,
                accumulation: 1,
            };
            model.accumulate(&ids, &ids, pass).unwrap();
            // While a checkpoint is written there are eight more arrays of parameters, and two of an
            // average.
            let mut arrays = 8;
            if ema_decay > 0.0 {
                model.average(0.0).unwrap();
                arrays += 2;
            }
            let (_, second) = model.read_moments().unwrap();
            let second = second.iter().map(Vec::len).sum::<usize>() as u64;
            let absent = layout::n_params(&config) - second;
            let peak = model.bytes() + 4 * (arrays * layout::n_params(&config) - 3 * absent);
            let needed = training_bytes(&config, &settings.training) as u64;
            assert!(needed <= peak && needed > peak / 2, "{needed} {peak}");
        }
        check(&RunConfig::default(), &small()).unwrap();
    }

    fn small() -> Config {
        Config::new(RunConfig::default().model.hyperparameters(65)).unwrap()
    }

    #[test]
    fn absurd_sizes_are_refused_with_numbers() {
        let mut settings = RunConfig::default();
        settings.training.batch = u32::MAX;
        let message = check(&settings, &small()).unwrap_err().to_string();
        assert!(message.contains("bytes of memory"), "{message}");
        settings.model.n_embd = 1 << 20;
        settings.model.n_head = 1;
        settings.model.n_layer = 1 << 16;
        settings.model.n_ff = Some(1 << 20);
        settings.model.n_ctx = 1 << 24;
        let largest = Config::new(settings.model.hyperparameters(1 << 24)).unwrap();
        assert!(check(&settings, &largest).is_err());
        assert!(check_stories(u64::MAX).is_err());
    }
}
