//! `metrics.jsonl`: one JSON object a line, the record of a run.

use core::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::Writing;

/// One line: what a step was like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain numbers, all of them needed"
)]
pub struct Metrics {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens trained on since the run began.
    pub tokens: u64,
    /// Mean loss of the step's windows, in nats per token.
    pub train_loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f32,
    /// Steps that were skipped as outliers since the run began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Speed since the line before, without validation and saving.
    pub tokens_per_second: f64,
    /// Mean loss over the validation windows in nats per token, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// The same in bits per byte of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_bits_per_byte: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why the record cannot be kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum MetricsError {
    /// Another process is training in this directory.
    InUse {
        /// The record.
        path: PathBuf,
    },
    /// It cannot be opened, read or written.
    File {
        /// The record.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The record of a run, open for more lines. While it is open no other process can open it.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
    history: Vec<Metrics>,
}

impl MetricsLog {
    /// Opens the record at `path`, or a new one if there is none.
    ///
    /// # Errors
    /// A [`MetricsError`].
    pub fn open(path: &Path) -> Result<Self, MetricsError> {
        let failed = |error| MetricsError::File {
            path: path.to_owned(),
            error,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => MetricsError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => failed(error),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut log = Self {
            file,
            path: path.to_owned(),
            history: Vec::new(),
        };
        // The first line that cannot be read is the one that a crash cut short.
        let text = String::from_utf8_lossy(&bytes);
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        log.history = whole
            .map_while(|line| serde_json::from_str(line).ok())
            .collect();
        Ok(log)
    }

    /// Takes back every line after step `step`, and what a crash left of a line: those steps will
    /// be done again.
    ///
    /// # Errors
    /// [`MetricsError::File`].
    pub fn take_back(&mut self, step: u64) -> Result<(), MetricsError> {
        self.history.retain(|line| line.step <= step);
        keep_lines(&mut self.file, self.history.len()).map_err(|error| self.failed(error))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`MetricsError::File`], such as a full disk.
    pub fn append(&mut self, metrics: Metrics) -> Result<(), MetricsError> {
        let write = |file: &mut File| {
            let mut line = serde_json::to_vec(&metrics)?;
            line.push(b'\n');
            file.write_all(&line)
        };
        write(&mut self.file).map_err(|error| self.failed(error))?;
        self.history.push(metrics);
        Ok(())
    }

    /// Waits until the disk has all lines.
    ///
    /// # Errors
    /// [`MetricsError::File`].
    pub fn sync(&self) -> Result<(), MetricsError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    /// All lines from the beginning of the run.
    #[must_use]
    pub fn history(&self) -> &[Metrics] {
        &self.history
    }

    fn failed(&self, error: io::Error) -> MetricsError {
        MetricsError::File {
            path: self.path.clone(),
            error,
        }
    }
}

/// Shortens `file` to its first `n` lines and goes to its end.
fn keep_lines(file: &mut File, n: usize) -> io::Result<()> {
    file.rewind()?;
    let mut reader = BufReader::new(&*file);
    let mut length = 0;
    for _ in 0..n {
        length += reader.skip_until(b'\n')? as u64;
    }
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(|_| ())
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "another process is training in this directory ({} is locked); wait for it or use another --out",
                path.display()
            ),
            Self::File { path, error } => {
                write!(f, "cannot write {}: {}", path.display(), Writing(error))
            }
        }
    }
}

impl core::error::Error for MetricsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Metrics {
        Metrics {
            step,
            tokens: step * 10,
            train_loss: 1.0 / step as f64,
            learning_rate: 1e-3,
            grad_norm: 0.1,
            skipped: step / 3,
            tokens_per_second: 5.0,
            val_loss: (step == 2).then_some(0.1 + 0.2),
            val_bits_per_byte: None,
        }
    }

    #[test]
    fn lines_after_the_checkpoint_and_torn_lines_are_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path).unwrap();
        for step in 1..=4 {
            log.append(line(step)).unwrap();
        }
        drop(log);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"step\": 5, \"tok")).unwrap();
        let mut log = MetricsLog::open(&path).unwrap();
        assert_eq!(log.history(), [1, 2, 3, 4].map(line));
        log.take_back(4).unwrap();
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        let mut log = MetricsLog::open(&path).unwrap();
        log.take_back(2).unwrap();
        log.append(line(3)).unwrap();
        log.append(line(4)).unwrap();
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let _log = MetricsLog::open(&path).unwrap();
        assert!(matches!(
            MetricsLog::open(&path),
            Err(MetricsError::InUse { .. })
        ));
    }
}
