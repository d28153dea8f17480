//! A run directory in the making.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{
    CHECKPOINTS, CONFIG, DATA, DIVERGED, EVENTS, LOADED, METRICS, PICTURE, Run, RunError, SAMPLES,
    TABLE, TOKENIZER,
};
use crate::durable;
use crate::metrics::{MetricsError, MetricsLog};

/// Says that the directory is an unfinished run. It is locked while a process is at work on it.
const MARK: &str = ".minigpt-unfinished";

/// A directory that belongs to this process until it is a run.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    /// Whether the directory was there before.
    found: bool,
    _lock: File,
}

impl Unfinished {
    /// Whether the directory `path` is one.
    pub(super) fn is_in(path: &Path) -> bool {
        path.join(MARK).is_file()
    }

    /// Takes the directory `path`, which is made if there is none; what an unfinished run, or one
    /// without a checkpoint, left in it is removed.
    pub(super) fn begin(path: &Path) -> Result<Self, RunError> {
        let found = path.is_dir();
        let failed = |error| RunError::file(path, error);
        if Run::find(path)?.is_some() && Run::has_checkpoint(path)? {
            return Err(RunError::file(path, ErrorKind::AlreadyExists.into()));
        }
        fs::create_dir_all(path).map_err(failed)?;
        let mark = path.join(MARK);
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).open(&mark);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(MetricsError::InUse { path: mark }.into()),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Of a run, locked for as long as it takes: nobody may be training in it.
        let is_run = path.join(CONFIG).exists();
        let log = is_run.then(|| MetricsLog::open(&path.join(METRICS)));
        let _log = log.transpose()?;
        clear(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            found,
            _lock: lock,
        })
    }

    /// Says that the directory now is a run.
    pub(super) fn finish(self) -> Result<(), RunError> {
        fs::remove_file(self.path.join(MARK))
            .and_then(|()| durable::sync_directory(&self.path))
            .map_err(|error| RunError::file(&self.path, error))
    }

    /// Leaves things as they were before.
    pub(super) fn remove(self) {
        remove(&self.path, self.found);
    }
}

/// Removes an unfinished run, and its directory unless that is to be kept.
pub(super) fn remove(path: &Path, keep_directory: bool) {
    if !Unfinished::is_in(path) {
        return;
    }
    // What cannot be removed is marked and will be at the next start.
    if clear(path).is_ok() && fs::remove_file(path.join(MARK)).is_ok() && !keep_directory {
        let _ = fs::remove_dir(path);
    }
}

/// Removes what preparation made in `path`, and the directory if it is then empty.
pub(super) fn discard(path: &Path) -> std::io::Result<()> {
    clear(path)?;
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

/// Removes what preparation makes, and training before its first checkpoint; the settings first: without them
/// there is no run.
fn clear(path: &Path) -> std::io::Result<()> {
    for name in [CONFIG, TOKENIZER, METRICS, PICTURE, TABLE, LOADED, DIVERGED] {
        absent(fs::remove_file(path.join(name)))?;
    }
    for name in [DATA, CHECKPOINTS, EVENTS, SAMPLES] {
        absent(fs::remove_dir_all(path.join(name)))?;
    }
    durable::remove_partial(path)
}

/// That there was nothing to remove is fine.
pub(super) fn absent(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
