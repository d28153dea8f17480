//! Whether a run fits into memory, asked before anything is made: to run out of it ends a process
//! without a word.

mod system;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::RunError;
use crate::optimizer::Rule;
use crate::run_config::{Recompute, RunConfig, TrainingSettings};
pub use system::available;

/// Arrays of the size of the parameters that exist at once: the parameters, gradients and both moments. A
/// checkpoint adds none: its arrays go to the disk from where they lie.
const STATES: u128 = 4;
/// The same of a moving average.
const AVERAGE: u128 = 1;
/// The same of second moments, of which Muon has none.
const SECOND: u128 = 1;

/// Whether training with `settings` makes activations again in backward, where that is left open because
/// otherwise there is not enough memory. `n_vocab` may be a lower bound.
///
/// # Errors
/// [`RunError::Memory`] if it takes more memory than there is.
pub(crate) fn plan(settings: &RunConfig, config: &Config) -> Result<bool, RunError> {
    choose(
        settings.run.recompute,
        Needs::new(config, &settings.training),
        &is_there,
    )
}

/// Bytes that training keeps at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// With all activations.
    pub(crate) kept: u64,
    /// With those that backward does not make again.
    pub(crate) recomputed: u64,
}

impl Needs {
    /// Of a model of shape `config`.
    pub(crate) fn new(config: &Config, training: &TrainingSettings) -> Self {
        let bytes = |recompute| training_bytes(config, training, recompute);
        let bytes = |recompute| u64::try_from(bytes(recompute)).unwrap_or(u64::MAX);
        Self {
            kept: bytes(false),
            recomputed: bytes(true),
        }
    }
}

/// [`plan`], where `fits` says whether there are so many bytes, and how many else.
fn choose(
    recompute: Recompute,
    needs: Needs,
    fits: &dyn Fn(u64) -> Fits,
) -> Result<bool, RunError> {
    let Needs { kept, recomputed } = needs;
    let check = |needed, other, advice| {
        fits(needed).map_err(|available| RunError::Memory {
            needed,
            other,
            available,
            advice,
        })
    };
    match recompute {
        Recompute::Auto if fits(kept).is_ok() => Ok(false),
        Recompute::Off => {
            let other = Some(("with recompute=on", recomputed));
            check(kept, other, "--set recompute=auto, or lower --batch")?;
            Ok(false)
        }
        Recompute::Auto | Recompute::On => {
            let other = Some(("with recompute=off", kept));
            let advice = "lower --batch, or n_ctx, n_embd or n_layer with --set";
            check(recomputed, other, advice)?;
            Ok(true)
        }
    }
}

/// Fails if stories of `bytes` bytes and their tokens take more memory than there is.
pub(super) fn check_stories(bytes: u64) -> Result<(), RunError> {
    // A word or more is one token of four bytes, if not fewer.
    let needed = bytes.saturating_mul(2);
    is_there(needed).map_err(|available| RunError::Memory {
        needed,
        other: None,
        available,
        advice: "lower stories_bytes with --set",
    })
}

/// Bytes that training keeps at least: state, activations of a batch, and the scratch of the MLP's
/// backward.
fn training_bytes(config: &Config, training: &TrainingSettings, recompute: bool) -> u128 {
    let size = |n: usize| n as u128;
    let rows = u128::from(training.batch) * size(config.n_ctx());
    let width = size(config.n_embd());
    let saved = width // the residual stream between the branches
        + size(config.n_qkv()) + width + size(config.n_head()) // attention
        + size(config.n_fc()) // MLP
        + 4; // statistics of two norms
    let layers = size(config.n_layer());
    let saved = saved * if recompute { 1 } else { layers };
    let stream = (layers + 1) * width;
    let gradients = 2 * width;
    let scratch = 2 * width + size(config.n_ff()) + size(config.n_fc());
    let activations = rows * (stream + saved + gradients + scratch);
    let arrays = STATES
        + if training.ema_decay > 0.0 { AVERAGE } else { 0 }
        + u128::from(training.quantized().is_some());
    let second = layout::tensors(config).map(|spec| {
        let rule = Rule::of(&spec, config, training.optimizer);
        (spec.len() - rule.second_len(spec.len())) as u128
    });
    let states = arrays * u128::from(layout::n_params(config)) - SECOND * second.sum::<u128>();
    (activations + states) * size(size_of::<f32>())
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
            let needs = Needs::new(&config, &settings.training);
            let needed = if recompute {
                needs.recomputed
            } else {
                needs.kept
            };
            assert!(needs.recomputed < needs.kept);
            assert!(needed <= peak && needed > peak / 2, "{needed} {peak}");
        }
        assert!(!plan(&RunConfig::default(), &small()).unwrap());
    }

    fn small() -> Config {
        Config::new(RunConfig::default().model.hyperparameters(65)).unwrap()
    }

    #[test]
    fn absurd_sizes_are_refused_with_numbers() {
        let mut settings = RunConfig::default();
        settings.training.batch = u32::MAX;
        let message = plan(&settings, &small()).unwrap_err().to_string();
        assert!(message.contains("bytes of memory"), "{message}");
        settings.model.n_embd = 1 << 20;
        settings.model.n_head = 1;
        settings.model.n_layer = 1 << 16;
        settings.model.n_ff = Some(1 << 20);
        settings.model.n_ctx = 1 << 24;
        let largest = Config::new(settings.model.hyperparameters(1 << 24)).unwrap();
        assert!(plan(&settings, &largest).is_err());
        assert!(check_stories(u64::MAX).is_err());
    }

    #[test]
    fn activations_are_made_again_where_memory_will_not_do_otherwise() {
        use Recompute::{Auto, Off, On};
        let needs = Needs {
            kept: 1000,
            recomputed: 300,
        };
        let with = |recompute, bytes| {
            let fits = |needed| {
                if needed <= bytes {
                    Ok(())
                } else {
                    Err(Some(bytes))
                }
            };
            choose(recompute, needs, &fits).map_err(|error| error.to_string())
        };
        assert_eq!([with(Auto, 1000), with(Auto, 999)], [Ok(false), Ok(true)]);
        assert_eq!([with(On, 5000), with(Off, 1000)], [Ok(true), Ok(false)]);
        let refused = "this needs at least 300 bytes of memory, 1000 with recompute=off, and there are 299; \
                       lower --batch";
        for recompute in [Auto, On] {
            let message = with(recompute, 299).unwrap_err();
            assert!(message.starts_with(refused), "{message}");
        }
        let message = with(Off, 999).unwrap_err();
        assert!(
            message.contains("1000 bytes of memory, 300 with recompute=on, and there are 999; --set recompute=auto"),
            "{message}"
        );
    }
}
