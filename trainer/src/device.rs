//! Which device trains: the CPU, or a GPU that is found and can do it.

use core::fmt;
use core::str::FromStr;

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};

use crate::backend::cuda::{Cuda, Demands, FindError, Found};
use crate::backend::{BackendError, Batch};
use crate::model::{Gpt, PassOptions};
use crate::optimizer::AdamW;
use crate::run_config::{Recompute, RunConfig};
use crate::{Backend, Cpu};

/// What is asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// The first GPU if there is one that trains the model, or else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number, from 0.
    Cuda(usize),
}

/// A device that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The CPU.
    Cpu,
    /// A GPU.
    Cuda {
        /// Which.
        found: Found,
        /// Whether activations are made again in backward: as asked for, and always where its memory will
        /// not do otherwise and that is left open.
        recompute: Recompute,
    },
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is none such.
    Find(FindError),
    /// It does not do its work.
    Backend(BackendError),
    /// Its memory is too small.
    Memory {
        /// Name of the device.
        device: String,
        /// Bytes that are needed at least.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Largest batch that fits; 0 for none.
        batch: usize,
    },
    /// What it computes is wrong.
    Wrong {
        /// Name of the device.
        device: String,
        /// What it computed.
        message: String,
    },
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) if !number.starts_with('+') => {
                let number = number.parse();
                number.map(Self::Cuda).map_err(|_| unknown(text))
            }
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    format!("there is no device {text}; there are auto, cpu, cuda and cuda:N, such as cuda:1")
}

impl Choice {
    /// The device for a run of `settings`, whose model has the shape `config`. `auto` never fails; if
    /// there is a GPU that it does not take, `reason` is told why.
    ///
    /// # Errors
    /// A [`DeviceError`] if the GPU that was asked for cannot do it.
    pub fn device(
        self,
        settings: &RunConfig,
        config: &Config,
        reason: &mut dyn FnMut(&DeviceError),
    ) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => gpu(number, settings, config),
            Self::Auto => Ok(match gpu(0, settings, config) {
                Ok(device) => device,
                Err(error) => {
                    if !error.is_absence() {
                        reason(&error);
                    }
                    Device::Cpu
                }
            }),
        }
    }
}

/// GPU number `number`, if it trains the model.
fn gpu(number: usize, settings: &RunConfig, config: &Config) -> Result<Device, DeviceError> {
    let found = Cuda::find(number)?;
    Cuda::supports(&found, config)?;
    let free = check(&found)?;
    let n_batch = settings.training.batch as usize;
    let fits = |n_batch, recompute| {
        let demands = Demands {
            method: settings.training.optimizer,
            averaged: settings.training.ema_decay > 0.0,
            recompute,
            rounded: settings.training.quantize_aware.format().is_some(),
            cublaslt: settings.training.cublaslt,
        };
        let needed = found.needed(config, n_batch, demands);
        if needed <= free { Ok(()) } else { Err(needed) }
    };
    let recompute = match settings.run.recompute {
        Recompute::Auto if fits(n_batch, false).is_err() => Recompute::On,
        asked => asked,
    };
    let fits = |n_batch| fits(n_batch, recompute == Recompute::On);
    let Err(needed) = fits(n_batch) else {
        return Ok(Device::Cuda { found, recompute });
    };
    // Needs grow with the batch: the largest that fits, by halving.
    let (mut fitting, mut over) = (0, n_batch);
    while over - fitting > 1 {
        let middle = fitting.midpoint(over);
        match fits(middle) {
            Ok(()) => fitting = middle,
            Err(_) => over = middle,
        }
    }
    Err(DeviceError::Memory {
        device: found.name,
        needed,
        free,
        batch: fitting,
    })
}

/// Has a small model take a step on `found` and on the CPU, and compares losses and parameters.
/// Returns the free bytes of the device.
///
/// # Errors
/// A [`DeviceError`] if it fails, or if the two differ by more than rounding.
///
/// # Panics
/// Never: the model's shape is valid.
pub fn check(found: &Found) -> Result<u64, DeviceError> {
    let config = Config::new(CHECKED).expect("the sizes divide");
    let cuda = Cuda::new(found.clone())?;
    let free = cuda.free();
    let (own, expected) = (
        small_step(cuda, config)?,
        small_step(Cpu::new(None), config)?,
    );
    let far = own.iter().zip(expected).any(|(own, expected)| {
        let distance = (own - expected).abs();
        distance.is_nan() || distance > 0.01 * expected
    });
    match far {
        false => Ok(free),
        true => Err(DeviceError::Wrong {
            device: found.name.clone(),
            message: format!("losses {own:?} where the CPU has {expected:?}"),
        }),
    }
}

/// The model of [`check`]: no size is round.
const CHECKED: Hyperparameters = Hyperparameters {
    n_vocab: 83,
    n_ctx: 70,
    n_embd: 72,
    n_head: 3,
    n_head_kv: 1,
    n_layer: 2,
    n_ff: 200,
    positions: Positions::Rope,
    rope_theta: 10_000.0,
    norm: Norm::LayerNorm,
    mlp: Mlp::Gelu,
    bias: true,
    tied_head: true,
};

/// Losses of a small model before and after a large step on one batch.
fn small_step<B: Backend>(backend: B, config: Config) -> Result<[f64; 2], BackendError> {
    let batch = Batch {
        n_batch: 2,
        n_time: config.n_ctx(),
    };
    let mut model = Gpt::new(backend, config, batch, 1)?;
    let id = |i: usize| (i * i % 83) as u32;
    let tokens: Vec<u32> = (0..batch.rows()).map(id).collect();
    let targets: Vec<u32> = (1..=batch.rows()).map(id).collect();
    let pass = PassOptions {
        dropout: 0.1,
        seed: 1,
        micro_step: 0,
        accumulation: 1,
    };
    let first = model.accumulate(&tokens, &targets, pass)?;
    model.update(&AdamW::default(), 1)?;
    let second = model.evaluate(&tokens, &targets)?;
    Ok([model.loss(&first)?.mean(), model.loss(&second)?.mean()])
}

impl DeviceError {
    /// Whether it only says that there is no GPU.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::Find(FindError::NoDriver | FindError::NoDevice))
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Find(error) => error.fmt(f),
            Self::Backend(error) => error.fmt(f),
            Self::Memory {
                device,
                needed,
                free,
                batch,
            } => {
                write!(
                    f,
                    "{device} has {free} bytes of memory free and {needed} are needed; "
                )?;
                match batch {
                    0 => {
                        f.write_str("not even --batch 1 fits: use a smaller model or --device cpu")
                    }
                    batch => write!(f, "--batch {batch} fits"),
                }
            }
            Self::Wrong { device, message } => write!(
                f,
                "{device} does not compute what the CPU does ({message}); use --device cpu, and please \
                 report it with the output of minigpt doctor"
            ),
        }
    }
}

impl core::error::Error for DeviceError {}

impl From<FindError> for DeviceError {
    fn from(error: FindError) -> Self {
        Self::Find(error)
    }
}

impl From<BackendError> for DeviceError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}
