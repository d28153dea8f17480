//! The directory of a run's checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use crate::durable;

/// The checkpoints in `directory`, by step; none if there is no directory.
///
/// # Errors
/// [`CheckpointError::Read`].
pub fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let step = name.and_then(|name| name.strip_prefix("step-")?.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes all checkpoints in `directory` but the latest `keep` and that of step `best`.
///
/// # Errors
/// [`CheckpointError::Read`] or [`CheckpointError::Remove`].
pub fn prune(directory: &Path, keep: usize, best: Option<u64>) -> Result<(), CheckpointError> {
    let found = list(directory)?;
    let surplus = found.len().saturating_sub(keep);
    for (step, path) in &found[..surplus] {
        if Some(*step) != best {
            durable::remove_directory(path).map_err(|error| CheckpointError::Remove {
                path: path.clone(),
                error,
            })?;
        }
    }
    Ok(())
}

/// Removes what a crash left half-written in `directory`.
///
/// # Errors
/// [`CheckpointError::Remove`].
pub fn remove_leftovers(directory: &Path) -> Result<(), CheckpointError> {
    match durable::remove_partial(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CheckpointError::Remove {
                path: directory.to_owned(),
                error,
            })
        }
        _ => Ok(()),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| CheckpointError::Read {
            path: directory.to_owned(),
            error,
        })
}
