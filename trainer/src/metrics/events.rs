//! Event files of TensorBoard.
//!
//! A file is a row of records: length as 8 bytes, its checksum, that many bytes of a protobuf
//! message `Event`, their checksum, all little-endian. Checksums are CRC-32C, rotated and shifted
//! so that a record may hold records.
//!
//! Each start of a run has a file of its own, whose first record after the version says from which
//! step on the files before it no longer count: those steps were done again.
//!
//! # Source
//! TensorFlow: `core/util/event.proto`, `core/framework/summary.proto`, `core/lib/io/record_writer.h`.

use core::time::Duration;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::encoding::{bytes, double, float, int32, int64, string};

use super::Metrics;

/// What readers know event files by.
const NAME: &str = "events.out.tfevents.";
/// The content of the first record; since this version, later files replace steps of earlier ones.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;
const MASK: u32 = 0xa282_ead8;

/// The event files of a run, one of them open after the first line.
#[derive(Debug)]
pub(super) struct Events {
    directory: PathBuf,
    file: Option<File>,
}

impl Events {
    /// For files in `directory`, which is made. Where it holds none, `history` is written, as if its
    /// last line were of now.
    pub(super) fn open(directory: &Path, history: &[Metrics]) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        let begun = names
            .iter()
            .any(|name| name.to_string_lossy().starts_with(NAME));
        let mut events = Self {
            directory: directory.to_owned(),
            file: None,
        };
        let (now, end) = (now(), history.last().map_or(0.0, |line| line.seconds));
        if !begun {
            for line in history {
                events.write(line, now - (end - line.seconds))?;
            }
        }
        Ok(events)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a line.
    pub(super) fn append(&mut self, line: &Metrics) -> io::Result<()> {
        self.write(line, now())
    }

    fn write(&mut self, line: &Metrics, wall_time: f64) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => create(&self.directory, line.step, wall_time)?,
        };
        file.write_all(&record(&scalars(line, wall_time)))?;
        self.file = Some(file);
        Ok(())
    }
}

/// A new file, which takes the place of all that others say of `step` and later ones.
fn create(directory: &Path, step: u64, wall_time: f64) -> io::Result<File> {
    // Readers take the files of a directory in the order of their names.
    let at = since_1970();
    let name = format!(
        "{NAME}{:010}.{:09}.minigpt",
        at.as_secs(),
        at.subsec_nanos()
    );
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create_new(true)
        .open(directory.join(name))?;
    let mut version = event(wall_time, 0);
    string::encode(3, &VERSION.to_owned(), &mut version);
    let (mut session, mut start) = (Vec::new(), event(wall_time, step));
    int32::encode(1, &START, &mut session);
    bytes::encode(7, &session, &mut start);
    file.write_all(&[record(&version), record(&start)].concat())?;
    Ok(file)
}

/// The `Event` with all numbers of `line`, each under its name.
fn scalars(line: &Metrics, wall_time: f64) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, number) in Metrics::COLUMNS {
        if let Some(number) = number(line) {
            let mut value = Vec::new();
            string::encode(1, &name.to_owned(), &mut value);
            float::encode(2, &(number as f32), &mut value);
            bytes::encode(1, &value, &mut summary);
        }
    }
    let mut event = event(wall_time, line.step);
    bytes::encode(5, &summary, &mut event);
    event
}

/// The beginning of an `Event`.
fn event(wall_time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    double::encode(1, &wall_time, &mut event);
    int64::encode(2, &(step as i64), &mut event);
    event
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(checksum(&length).to_le_bytes());
    record.extend(message);
    record.extend(checksum(message).to_le_bytes());
    record
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

fn since_1970() -> Duration {
    // A clock that stands before 1970 counts as that.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn now() -> f64 {
    since_1970().as_secs_f64()
}
