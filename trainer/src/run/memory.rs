//! Whether a run fits into the host's memory, asked before anything is made: to run out of it ends a process
//! without a word.

mod system;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::RunError;
use crate::device::Needs;
use crate::optimizer::Rule;
use crate::run_config::{Recompute, RunConfig, TrainingSettings};
pub use system::available;

/// Arrays of the size of the parameters that lie where training runs, beside second moments: the parameters, gradients
/// and first moments. A checkpoint adds none: its arrays go to the disk one by one.
const STATES: u128 = 3;

/// What a refusal calls it where it is that of the device, too.
const MEMORY: &str = "memory";

/// What training on the CPU needs, and whether it makes activations again in backward.
///
/// # Errors
/// [`RunError::Memory`] if it takes more memory than there is.
pub(super) fn of_cpu(settings: &RunConfig, config: &Config) -> Result<(Needs, bool), RunError> {
    let needs = cpu_needs(config, &settings.training);
    let asked = settings.run.recompute;
    let decided = needs.recompute(asked, &|bytes| is_there(bytes).is_ok());
    let recompute = decided.map_err(|(needed, other)| RunError::Memory {
        memory: MEMORY,
        needed,
        other: Some(other),
        available: available(),
        advice: match asked {
            Recompute::Off => "--set recompute=auto, or lower --batch",
            _ => "lower --batch, or n_ctx, n_embd or n_layer with --set",
        },
    })?;
    Ok((needs, recompute))
}

/// Bytes that the host holds at least where a GPU trains: the largest array of a checkpoint on its way to the disk.
///
/// # Errors
/// [`RunError::Memory`] if that is more memory than there is.
pub(super) fn beside_gpu(config: &Config) -> Result<u64, RunError> {
    let largest = layout::tensors(config).map(|spec| spec.len() as u128).max();
    let needed = bytes(largest.unwrap_or(0));
    is_there(needed).map_err(|available| RunError::Memory {
        memory: "the host's memory",
        needed,
        other: None,
        available,
        advice: "a checkpoint passes through it from the GPU: lower n_embd or n_ff with --set",
    })?;
    Ok(needed)
}

/// Fails if stories of `bytes` bytes and their tokens take more memory than there is.
pub(super) fn check_stories(bytes: u64) -> Result<(), RunError> {
    // A word or more is one token of four bytes, if not fewer.
    let needed = bytes.saturating_mul(2);
    is_there(needed).map_err(|available| RunError::Memory {
        memory: MEMORY,
        needed,
        other: None,
        available,
        advice: "lower stories_bytes with --set",
    })
}

/// What training on the CPU keeps: state, activations of a batch, and the scratch of the MLP's backward.
fn cpu_needs(config: &Config, training: &TrainingSettings) -> Needs {
    let size = |n: usize| n as u128;
    let rows = u128::from(training.batch) * size(config.n_ctx());
    let width = size(config.n_embd());
    let saved = width // the residual stream between the branches
        + size(config.n_qkv()) + width + size(config.n_head()) // attention
        + size(config.n_fc()) // MLP
        + 4; // statistics of two norms
    let layers = size(config.n_layer());
    let stream = (layers + 1) * width;
    let gradients = 2 * width;
    let scratch = 2 * width + size(config.n_ff()) + size(config.n_fc());
    let states = states(config, training);
    let with = |places| bytes(rows * (stream + places * saved + gradients + scratch) + states);
    Needs {
        kept: with(layers),
        recomputed: with(1),
    }
}

/// Numbers where training runs that are neither activations nor scratch.
fn states(config: &Config, training: &TrainingSettings) -> u128 {
    let second = layout::tensors(config).map(|spec| {
        let rule = Rule::of(&spec, config, training.optimizer);
        rule.second_len(spec.len()) as u128
    });
    let averaged = u128::from(training.ema_decay > 0.0);
    let rounded = u128::from(training.quantized().is_some());
    let whole = (STATES + averaged + rounded) * u128::from(layout::n_params(config));
    whole + second.sum::<u128>()
}

/// Of so many `f32`; the most there are where it is more.
fn bytes(numbers: u128) -> u64 {
    let bytes = numbers * size_of::<f32>() as u128;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Whether there is so much memory; else how much there is, where the system says.
type Fits = Result<(), Option<u64>>;

fn is_there(needed: u64) -> Fits {
    match available() {
        Some(available) if needed > available => Err(Some(available)),
        Some(_) => Ok(()),
        None => {
            let bytes = usize::try_from(needed).map_err(|_| None)?;
            let reserved = Vec::<u8>::new().try_reserve_exact(bytes);
            reserved.map_err(|_| None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Batch, cpu::Cpu};
    use crate::model::{Gpt, GptOptions};
    use crate::optimizer::Method;
    use crate::run_config::QuantizeAware;
    use minigpt_runtime::config::Mlp;

    #[test]
    fn no_run_that_fits_is_refused() {
        let (adamw, muon) = (Method::AdamW, Method::Muon);
        for (mlp, method, ema_decay, recompute) in [
            (Mlp::Gelu, adamw, 0.0, false),
            (Mlp::Swiglu, adamw, 0.0, true),
            (Mlp::Gelu, adamw, 0.9, true),
            (Mlp::Swiglu, muon, 0.9, false),
        ] {
            let mut settings = RunConfig::default();
            settings.model.mlp = mlp;
            settings.training.ema_decay = ema_decay;
            settings.training.optimizer = method;
            settings.training.quantize_aware = QuantizeAware::Q8;
            let config = Config::new(settings.model.hyperparameters(65)).unwrap();
            let batch = Batch {
                n_batch: settings.training.batch as usize,
                n_time: config.n_ctx(),
            };
            let options = GptOptions {
                seed: 1,
                method,
                recompute,
            };
            let mut model = Gpt::with_options(Cpu::default(), config, batch, options).unwrap();
            model.round_to(settings.training.quantize_aware.format());
            let ids = vec![1; batch.rows()];
            let pass = crate::model::PassOptions {
                dropout: 0.0,
                seed: 1,
                micro_step: 0,
                accumulation: 1,
            };
            model.accumulate(&ids, &ids, pass).unwrap();
            if ema_decay > 0.0 {
                model.average(0.0).unwrap();
            }
            let peak = model.bytes();
            let needs = cpu_needs(&config, &settings.training);
            let (needed, _) = needs.figures(recompute);
            assert!(needs.recomputed < needs.kept);
            assert!(needed <= peak && needed > peak / 2, "{needed} {peak}");
        }
        assert!(!of_cpu(&RunConfig::default(), &small()).unwrap().1);
    }

    fn small() -> Config {
        Config::new(RunConfig::default().model.hyperparameters(65)).unwrap()
    }

    #[test]
    fn absurd_sizes_are_refused_with_numbers() {
        let mut settings = RunConfig::default();
        settings.training.batch = u32::MAX;
        let message = of_cpu(&settings, &small()).unwrap_err().to_string();
        assert!(message.contains("bytes of memory"), "{message}");
        settings.model.n_embd = 1 << 20;
        settings.model.n_head = 1;
        settings.model.n_layer = 1 << 16;
        settings.model.n_ff = Some(1 << 20);
        settings.model.n_ctx = 1 << 24;
        let largest = Config::new(settings.model.hyperparameters(1 << 24)).unwrap();
        assert!(of_cpu(&settings, &largest).is_err());
        let refused = beside_gpu(&largest).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("bytes of the host's memory and there are"),
            "{message}"
        );
        assert!(check_stories(u64::MAX).is_err());
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        let mut settings = RunConfig::default();
        settings.training.batch = u32::MAX;
        for (asked, words) in [
            (
                Recompute::Auto,
                ["with recompute=off", "; lower --batch, or"],
            ),
            (Recompute::On, ["with recompute=off", "; lower --batch, or"]),
            (
                Recompute::Off,
                ["with recompute=on", "; --set recompute=auto, or"],
            ),
        ] {
            settings.run.recompute = asked;
            let message = of_cpu(&settings, &small()).unwrap_err().to_string();
            assert!(
                words.iter().all(|words| message.contains(words)),
                "{message}"
            );
        }
    }
}
