//! Whether a GPU computes what the CPU does, on a small model that learns as the run does.

use minigpt_runtime::config::{Config, Hyperparameters};
use minigpt_runtime::layout;

use super::DeviceError;
use crate::backend::cuda::{Cuda, Found};
use crate::backend::{BackendError, Batch};
use crate::model::{Gpt, GptOptions, PassOptions};
use crate::optimizer::AdamW;
use crate::run_config::{ModelSettings, RunConfig, TrainingSettings};
use crate::{Backend, Cpu};

/// How far a loss may be from the CPU's, relative to it. The GPU multiplies in `bf16`, whose 8 bits are up to
/// `2^-9` off; of that, 3e-4 is left in the mean over a batch, on the simulated device, which rounds as a GPU does.
const LOSS: f64 = 3e-3;

/// How far the change of a tensor may be from the CPU's, relative to it. There, rounding makes 1% of it, 5% with
/// a ReLU, whose derivative jumps where rounding takes a value across its kink, and 10% with Muon, which gives
/// directions that are short in the gradient the length of all others. A step that is not taken is 1 away, one of
/// something else more.
const CHANGE: f64 = 0.3;

/// Added to the root of AdamW's second moment, as large as the gradients are here. With less, an update has the
/// sign of its gradient alone, and where that is 0 but for rounding, as of the biases of keys, two devices differ.
const EPS: f32 = 1e-3;

/// Has a small model take a step on `found` and on the CPU, and compares the losses before it and behind it
/// and, tensor by tensor, what the step changed. Returns the free bytes of the device.
///
/// Method, norm, MLP, positions, biases, head, grouping of heads and cuBLASLt are those of `settings`; sizes,
/// dropout and rates are the check's own. What only other sizes meet, rounded weights and the moving
/// average are not compared.
///
/// # Errors
/// A [`DeviceError`] if it fails, or if the two differ by more than rounding.
///
/// # Panics
/// Never: the model's shape is valid.
pub fn check(found: &Found, settings: &RunConfig) -> Result<u64, DeviceError> {
    let cuda = open(found.clone(), &settings.training)?;
    let free = cuda.free();
    let config = Config::new(shape(&settings.model)).expect("the sizes divide");
    let options = GptOptions {
        seed: 1,
        method: settings.training.optimizer,
        recompute: false,
    };
    let own = step(cuda, config, options)?;
    let expected = step(Cpu::new(None), config, options)?;
    match own.difference(&expected, &config) {
        None => Ok(free),
        Some(message) => Err(DeviceError::Wrong {
            device: found.name.clone(),
            message,
        }),
    }
}

/// Takes `found` into use, with cuBLASLt where `training` wants it.
///
/// # Errors
/// A [`BackendError`] if the device or cuBLASLt cannot be had.
pub fn open(found: Found, training: &TrainingSettings) -> Result<Cuda, BackendError> {
    let cuda = Cuda::new(found)?;
    match training.cublaslt {
        true => cuda.with_cublaslt(),
        false => Ok(cuda),
    }
}

/// A small shape of the kind of `model`; no size is round.
fn shape(model: &ModelSettings) -> Hyperparameters {
    let own = model.hyperparameters(83);
    Hyperparameters {
        n_ctx: 70,
        n_embd: 72,
        n_head: 3,
        n_head_kv: if own.n_head_kv < own.n_head { 1 } else { 3 },
        n_layer: 2,
        n_ff: 200,
        ..own
    }
}

/// What a step came to.
#[derive(Clone)]
struct Step {
    /// Before it, with dropout, and behind it, without.
    losses: [f64; 2],
    /// Of each tensor, what was added to it.
    changes: Vec<Vec<f32>>,
}

/// One large step of a fresh model on one batch.
fn step<B: Backend>(backend: B, config: Config, options: GptOptions) -> Result<Step, BackendError> {
    let batch = Batch {
        n_batch: 2,
        n_time: config.n_ctx(),
    };
    let mut model = Gpt::with_options(backend, config, batch, options)?;
    let id = |i: usize| (i * i % config.n_vocab()) as u32;
    let tokens: Vec<u32> = (0..batch.rows()).map(id).collect();
    let targets: Vec<u32> = (1..=batch.rows()).map(id).collect();
    let pass = PassOptions {
        dropout: 0.1,
        seed: 1,
        micro_step: 0,
        accumulation: 1,
    };
    let optimizer = AdamW {
        eps: EPS,
        ..AdamW::default()
    };
    let fresh = model.read_parameters()?;
    let first = model.accumulate(&tokens, &targets, pass)?;
    model.update(&optimizer, 1)?;
    let second = model.evaluate(&tokens, &targets)?;
    let mut changes = model.read_parameters()?;
    for (changed, fresh) in changes.iter_mut().flatten().zip(fresh.iter().flatten()) {
        *changed -= fresh;
    }
    Ok(Step {
        losses: [model.loss(&first)?.mean(), model.loss(&second)?.mean()],
        changes,
    })
}

impl Step {
    /// What of it is not what the CPU has, if anything is.
    fn difference(&self, expected: &Self, config: &Config) -> Option<String> {
        let losses = self.losses.iter().zip(&expected.losses);
        for ((own, expected), when) in losses.zip(["before", "behind"]) {
            if beyond((own / expected - 1.0).abs(), LOSS) {
                return Some(format!(
                    "the loss {when} a step is {own} and not {expected}"
                ));
            }
        }
        let changes = self.changes.iter().zip(&expected.changes);
        for ((own, expected), spec) in changes.zip(layout::tensors(config)) {
            let distance = distance(own, expected);
            if beyond(distance, CHANGE) {
                return Some(format!(
                    "what a step adds to {} is {distance:.2} of the length of what it should add away from it",
                    spec.id
                ));
            }
        }
        None
    }
}

/// What is no number is beyond every limit.
fn beyond(distance: f64, limit: f64) -> bool {
    distance.is_nan() || distance > limit
}

/// From `a` to `b`, in lengths of `b`.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let length: f64 = b.iter().map(|x| square(*x)).sum();
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / length).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Method;

    #[test]
    fn what_differs_is_named() {
        let config = Config::new(shape(&ModelSettings::default())).unwrap();
        let options = GptOptions {
            seed: 1,
            method: Method::Muon,
            recompute: false,
        };
        let expected = step(Cpu::new(Some(1)), config, options).unwrap();
        let difference = |change: &dyn Fn(&mut Step)| {
            let mut own = expected.clone();
            change(&mut own);
            own.difference(&expected, &config)
        };
        assert_eq!(difference(&|_| ()), None);
        let tensor = |i: usize| layout::tensors(&config).nth(i).unwrap().id.to_string();
        for i in 0..expected.changes.len() {
            // Not taken, the wrong way, and no number.
            for factor in [0.0, -1.0, f32::NAN] {
                let wrong = |own: &mut Step| own.changes[i].iter_mut().for_each(|x| *x *= factor);
                let message = difference(&wrong).unwrap();
                assert!(message.contains(&tensor(i)), "{message}");
            }
        }
        for (i, when) in ["before", "behind"].into_iter().enumerate() {
            for factor in [0.99, 1.01, f64::NAN] {
                let message = difference(&|own| own.losses[i] *= factor).unwrap();
                assert!(message.contains(when), "{message}");
            }
        }
    }
}
