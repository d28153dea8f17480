//! Which device trains: the CPU, or a GPU that is found and can do it.

mod check;
mod needs;

use core::fmt;
use core::str::FromStr;

use minigpt_runtime::config::Config;

use crate::backend::BackendError;
use crate::backend::cuda::{Cuda, FindError, Found};
use crate::run_config::RunConfig;

pub use check::{check, open};
pub use needs::Needs;
pub(crate) use needs::of_gpu;

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
        /// Bytes of its memory that a run may take.
        free: u64,
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
        /// The same under another setting, and which.
        other: (&'static str, u64),
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

/// Says how many bytes of a GPU's memory a run may take.
type Free<'a> = &'a dyn Fn(&Found) -> Result<u64, DeviceError>;

impl Choice {
    /// The device for a run of `settings`, whose model has the shape `config`; a GPU has shown that it computes
    /// right ([`check()`]). `auto` never fails; if there is a GPU that it does not take, `reason` is told why.
    ///
    /// # Errors
    /// A [`DeviceError`] if the GPU that was asked for cannot do it.
    pub fn device(
        self,
        settings: &RunConfig,
        config: &Config,
        reason: &mut dyn FnMut(&DeviceError),
    ) -> Result<Device, DeviceError> {
        let free = |found: &Found| check(found, settings);
        self.with_memory(settings, config, &free, reason)
    }

    /// The device that it may come to at best: of a GPU it is not asked whether it computes right, and all of
    /// its memory counts. The vocabulary of `config` may be a lower bound.
    ///
    /// # Errors
    /// A [`DeviceError`] if the GPU that was asked for can never do it.
    pub(crate) fn at_best(
        self,
        settings: &RunConfig,
        config: &Config,
    ) -> Result<Device, DeviceError> {
        let choose = |free| self.with_memory(settings, config, free, &mut |_| ());
        // A refusal says what is free, which is known of a GPU in use only.
        let in_use = |found: &Found| Ok(Cuda::new(found.clone())?.free());
        choose(&|found| Ok(found.memory)).or_else(|_| choose(&in_use))
    }

    fn with_memory(
        self,
        settings: &RunConfig,
        config: &Config,
        free: Free<'_>,
        reason: &mut dyn FnMut(&DeviceError),
    ) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => gpu(number, settings, config, free),
            Self::Auto => Ok(match gpu(0, settings, config, free) {
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
fn gpu(
    number: usize,
    settings: &RunConfig,
    config: &Config,
    free: Free<'_>,
) -> Result<Device, DeviceError> {
    let found = Cuda::find(number)?;
    Cuda::supports(&found, config)?;
    let free = free(&found)?;
    of_gpu(&found, free, settings, config)?;
    Ok(Device::Cuda { found, free })
}

impl Device {
    /// What a person calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "the CPU",
            Self::Cuda { found, .. } => &found.name,
        }
    }
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
                other: (setting, other),
                free,
                batch,
            } => {
                write!(
                    f,
                    "{device} has {free} bytes of memory free and at least {needed} are needed, {other} {setting}; "
                )?;
                match batch {
                    0 => {
                        f.write_str("not even --batch 1 fits: use a smaller model or --device cpu")
                    }
                    batch => write!(f, "at most --batch {batch} fits"),
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
