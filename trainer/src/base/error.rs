//! What can be wrong with a model to begin with.

use core::fmt;
use std::io;
use std::path::PathBuf;

use crate::durable::Reading;
use crate::inference::OpenError;
use crate::run::RunError;

/// Why no model can begin with these weights.
#[derive(Debug)]
#[non_exhaustive]
pub enum BaseError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The directory is no run with a checkpoint.
    Run(Box<RunError>),
    /// The file is no model.
    Model {
        /// Which.
        path: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The file is no safetensors.
    Safetensors {
        /// Which.
        path: PathBuf,
        /// What its parser says.
        message: String,
    },
    /// None of its tensors is one of the model to be trained.
    NothingFits {
        /// The model to begin with.
        path: PathBuf,
        /// Why the first of its tensors is none.
        example: String,
        /// Where it does not say its shape itself, what its tensors show of it.
        shown: Option<Shown>,
    },
}

/// What the shapes of tensors show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// Columns of `wte.weight`.
    pub n_embd: usize,
    /// Layers `h.0` to `h.N`.
    pub n_layer: usize,
}

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(
                    f,
                    "cannot begin with {}: {}",
                    path.display(),
                    Reading(error)
                )
            }
            Self::Run(error) => write!(f, "cannot begin with a run: {error}"),
            Self::Model { path, error } => write!(
                f,
                "cannot begin with {}: {error}; give a model file, a run directory or a file .safetensors",
                path.display()
            ),
            Self::Safetensors { path, message } => write!(
                f,
                "cannot begin with {}: it is no safetensors ({message})",
                path.display()
            ),
            Self::NothingFits {
                path,
                example,
                shown,
            } => {
                write!(
                    f,
                    "nothing in {} fits this model: {example}; ",
                    path.display()
                )?;
                match shown {
                    None => f.write_str(
                        "leave --preset and the settings of the shape away, or set them to its own",
                    ),
                    Some(Shown { n_embd, n_layer }) => write!(
                        f,
                        "such a file does not say its shape: add --set n_embd={n_embd} --set n_layer={n_layer} \
                         and its --set n_head, or give the run directory that it came from"
                    ),
                }
            }
        }
    }
}

impl core::error::Error for BaseError {}
