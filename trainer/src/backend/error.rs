//! Why a device does not do what it was asked.

use core::fmt;

/// Why a step of training was not done. The CPU has none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendError {
    /// The device has not enough memory.
    Memory {
        /// Name of the device.
        device: String,
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes that were free.
        free: u64,
    },
    /// The device cannot train such a model.
    Unsupported {
        /// Name of the device.
        device: String,
        /// What it cannot do.
        what: String,
    },
    /// The device failed, or is gone.
    Device {
        /// Name of the device.
        device: String,
        /// What it was doing.
        doing: String,
        /// What its driver says.
        message: String,
    },
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory {
                device,
                needed,
                free,
            } => write!(
                f,
                "{device} has {free} bytes of memory free and {needed} more are needed: \
                 lower --batch, or train with --device cpu"
            ),
            Self::Unsupported { device, what } => {
                write!(
                    f,
                    "{device} cannot train this model: {what}; use --device cpu"
                )
            }
            Self::Device {
                device,
                doing,
                message,
            } => write!(f, "{device} failed at {doing}: {message}"),
        }
    }
}

impl core::error::Error for BackendError {}
