//! The folder of a file: the file under its own name, `part` while it comes, and `origin.json`, which
//! says what `part` is a part of and at last which checksum the file has.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minigpt_trainer::durable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::page;
use crate::failure::Failure;
use crate::library::address::{Address, hexadecimal};

const PART: &str = "part";
const ORIGIN: &str = "origin.json";
const LOCK: &str = "lock";

/// Bytes that are read at a time.
const PIECE: usize = 1 << 16;

/// What is known of the file in a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) url: String,
    /// `ETag` or `Last-Modified`, by which the server knows its file again.
    pub(super) validator: Option<String>,
    /// Its size, where the server says.
    pub(super) bytes: Option<u64>,
    /// Its checksum, once all of it is there.
    pub(super) sha256: Option<String>,
}

impl Origin {
    /// What the folder says; nothing where it says nothing that can be read.
    pub(super) fn read(directory: &Path) -> Self {
        let bytes = fs::read(directory.join(ORIGIN)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(ORIGIN);
        let json = serde_json::to_vec_pretty(self).map_err(Failure::failed)?;
        durable::replace_file(&path, &json).map_err(|error| Failure::writing(&path, &error))
    }
}

/// Where the file is once it is whole: under its own name, unless something else in the folder has it.
pub(super) fn place(address: &Address, directory: &Path) -> PathBuf {
    let name = address.file_name();
    let taken = |own: &str| name.eq_ignore_ascii_case(own);
    match [PART, ORIGIN, LOCK].into_iter().any(taken) {
        true => directory.join("data"),
        false => directory.join(name),
    }
}

/// Whether the file is whole, and the one that `address` means.
pub(super) fn is_whole(address: &Address, directory: &Path) -> bool {
    let origin = Origin::read(directory);
    let found = fs::metadata(place(address, directory));
    let whole = found.is_ok_and(|found| Some(found.len()) == origin.bytes);
    let same = address.sha256.is_none() || address.sha256 == origin.sha256;
    origin.sha256.is_some() && whole && same
}

/// Where the file is while it comes.
pub(super) fn part(directory: &Path) -> PathBuf {
    directory.join(PART)
}

/// Checks `part` and gives it its name.
pub(super) fn keep(address: &Address, directory: &Path, file: &Path) -> Result<(), Failure> {
    let part = part(directory);
    let failed = |error: io::Error| Failure::writing(&part, &error);
    if page::is_in(&part).map_err(failed)? && !page::is_meant(address) {
        fs::remove_file(&part).map_err(failed)?;
        return Err(Failure::Failed(page::refused(address)));
    }
    let sha256 = sha256(&part).map_err(failed)?;
    if let Some(wanted) = address.sha256.as_ref().filter(|wanted| **wanted != sha256) {
        let removed = fs::remove_file(&part);
        removed.map_err(failed)?;
        return Err(Failure::Failed(format!(
            "{} has the SHA-256 {sha256} and should have {wanted}: it was changed, there or on its way, and is not kept",
            address.asked
        )));
    }
    let origin = Origin {
        bytes: Some(length(&part)),
        sha256: Some(sha256),
        ..Origin::read(directory)
    };
    let synced = OpenOptions::new()
        .write(true)
        .open(&part)
        .and_then(|file| file.sync_all());
    synced
        .and_then(|()| fs::rename(&part, file))
        .map_err(failed)?;
    origin.write(directory)
}

/// Keeps other processes from the folder as long as it lives.
pub(super) fn lock(directory: &Path, address: &Address) -> Result<File, Failure> {
    let path = directory.join(LOCK);
    let failed = |error: &io::Error| Failure::writing(&path, error);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Failed(format!(
            "another process is getting {}; wait for it",
            address.asked
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Removes what came so far.
pub(super) fn forget(directory: &Path) -> Result<(), Failure> {
    let part = part(directory);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::writing(&part, &error))
        }
        _ => Ok(()),
    }
}

/// Its size; 0 where there is no such file.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&digest.finalize())),
            n => digest.update(&piece[..n]),
        }
    }
}
