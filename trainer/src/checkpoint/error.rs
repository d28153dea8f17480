//! What can be wrong with a checkpoint.

use core::fmt;
use std::io;
use std::path::PathBuf;

use super::VERSION;
use crate::backend::BackendError;
use crate::durable::{Reading, Writing};

/// Why a checkpoint was not saved or not loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It cannot be written.
    Write {
        /// Where it should have been.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The device that has the arrays, or is to have them, failed.
    Device(BackendError),
    /// A part of it cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// An old one cannot be removed.
    Remove {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file has not the bytes that were written.
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// A file cannot be understood.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What its parser says.
        message: String,
    },
    /// Another version of minigpt wrote it.
    Version {
        /// Which.
        path: PathBuf,
        /// The version it has.
        version: u32,
    },
    /// A tensor that the model needs is not there.
    Absent {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor has another shape or type than the model needs.
    Shape {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape of the model.
        needed: Vec<usize>,
    },
    /// There are more tensors than the model has.
    Surplus {
        /// The file.
        path: PathBuf,
        /// Tensors in it.
        found: usize,
        /// Tensors of the model.
        needed: usize,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, error } => write!(
                f,
                "cannot save the checkpoint {}: {}; earlier checkpoints are untouched",
                path.display(),
                Writing(error)
            ),
            Self::Device(error) => error.fmt(f),
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {}", path.display(), Reading(error))
            }
            Self::Remove { path, error } => write!(
                f,
                "cannot remove the old checkpoint {}: {error}",
                path.display()
            ),
            Self::Damaged { path } => write!(
                f,
                "{} has changed since it was written; remove that checkpoint to go on from the one before it",
                path.display()
            ),
            Self::Malformed { path, message } => write!(
                f,
                "{} is damaged ({message}); remove that checkpoint to go on from the one before it",
                path.display()
            ),
            Self::Version { path, version } => write!(
                f,
                "{} is a checkpoint of version {version}, and this minigpt reads versions up to {VERSION}",
                path.display()
            ),
            Self::Absent { path, tensor } => write!(
                f,
                "{} has no tensor {tensor}: it is of another model than this configuration says",
                path.display()
            ),
            Self::Shape {
                path,
                tensor,
                found,
                needed,
            } => write!(
                f,
                "{tensor} in {} is {found:?} and this configuration needs {needed:?} of f32: \
                 the checkpoint is of another model",
                path.display()
            ),
            Self::Surplus {
                path,
                found,
                needed,
            } => write!(
                f,
                "{} has {found} tensors and this configuration needs {needed}: \
                 the checkpoint is of another model",
                path.display()
            ),
        }
    }
}

impl core::error::Error for CheckpointError {}
