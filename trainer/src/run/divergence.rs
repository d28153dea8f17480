//! That training diverged, in a file of the run until it is trained again.

use core::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::unfinished::absent;
use super::{DIVERGED, Run, RunError};
use crate::durable;

/// Where and how training diverged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Divergence {
    /// The step at which it was seen.
    pub step: u64,
    /// What shows it, such as `the training loss is NaN`.
    pub reason: String,
}

impl Divergence {
    pub(crate) const fn new(step: u64, reason: String) -> Self {
        Self { step, reason }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {}", self.reason, self.step)
    }
}

impl Run {
    /// How the run in the directory `path` diverged, or `None` if it did not.
    ///
    /// # Errors
    /// A [`RunError`] if what the directory says of it cannot be read.
    pub fn divergence(path: &Path) -> Result<Option<Divergence>, RunError> {
        let file = path.join(DIVERGED);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RunError::file(&file, error)),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|error| RunError::Malformed {
            path: file,
            message: error.to_string(),
        })
    }

    /// Writes down that it diverged.
    pub(crate) fn note(&self, divergence: &Divergence) -> Result<(), RunError> {
        let file = self.path().join(DIVERGED);
        let written = serde_json::to_vec(divergence)
            .map_err(Into::into)
            .and_then(|json| durable::replace_file(&file, &json));
        written.map_err(|error| RunError::file(&file, error))
    }

    /// Takes that back: it is trained again.
    pub(crate) fn forget_divergence(&self) -> Result<(), RunError> {
        let file = self.path().join(DIVERGED);
        absent(fs::remove_file(&file)).map_err(|error| RunError::file(&file, error))
    }
}
