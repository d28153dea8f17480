//! What trains a run, and how its memory is used: decided once, before it.

use minigpt_runtime::config::Config;

use super::{Run, RunError, memory};
use crate::device::{self, Choice, Device, Needs};
use crate::run_config::RunConfig;

/// How a run is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// By what.
    pub device: Device,
    /// Whether backward makes activations again, for [`train`](crate::train::train).
    pub recompute: bool,
    /// Bytes of the device's memory that it takes at least.
    pub needs: Needs,
    /// Bytes of the host's memory that it takes at least, where that is not the device's.
    pub host: Option<u64>,
}

impl Run {
    /// How `device` trains this run. Its memory is asked for what lies there, the host's for what lies on the
    /// host.
    ///
    /// # Errors
    /// [`RunError::Memory`] if it takes more memory of the host than there is, [`RunError::Device`] if it takes
    /// more of the device.
    pub fn plan(&self, device: Device) -> Result<Plan, RunError> {
        plan(device, &self.settings, &self.config)
    }
}

/// Fails if no device of `choice` can train a run of `settings`, before anything is made. The vocabulary of
/// `config` may be a lower bound.
pub(super) fn foresee(
    choice: Choice,
    settings: &RunConfig,
    config: &Config,
) -> Result<(), RunError> {
    plan(choice.at_best(settings, config)?, settings, config).map(|_| ())
}

fn plan(device: Device, settings: &RunConfig, config: &Config) -> Result<Plan, RunError> {
    let (needs, recompute, host) = match &device {
        Device::Cpu => {
            let (needs, recompute) = memory::of_cpu(settings, config)?;
            (needs, recompute, None)
        }
        Device::Cuda { found, free } => {
            let (needs, recompute) = device::of_gpu(found, *free, settings, config)?;
            let host = memory::beside_gpu(config)?;
            (needs, recompute, Some(host))
        }
    };
    Ok(Plan {
        device,
        recompute,
        needs,
        host,
    })
}
