//! Files and directories that appear whole or not at all.
//!
//! Everything is written under a name that ends in [`PARTIAL`], synced, renamed, and the directory
//! synced after it: whatever moment the power goes, the old or the new stands, never a mixture.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ending of names that are being written; what bears it after a crash is worthless.
pub const PARTIAL: &str = ".partial";

/// `path` with [`PARTIAL`] appended to its last component.
#[must_use]
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Writes `bytes` to a new file at `path` and waits until the disk has them.
///
/// # Errors
/// What the system says; the file may then hold a part of `bytes`.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces the file at `path` by one that holds `bytes`.
///
/// # Errors
/// What the system says; the file at `path` is then as it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = partial(path);
    let written = write_synced(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // The error that counts is the first; a leftover is removed at the next start anyway.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    sync_directory(parent(path))
}

/// Gives the finished directory `aside` its name `path`, and waits until the disk knows.
///
/// # Errors
/// What the system says, such as that `path` exists and is not empty.
pub fn publish_directory(aside: &Path, path: &Path) -> io::Result<()> {
    sync_directory(aside)?;
    fs::rename(aside, path)?;
    sync_directory(parent(path))
}

/// Waits until the names in a directory are on the disk.
///
/// # Errors
/// What the system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}

/// The directory that holds `path`.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace_file(&path, b"old").unwrap();
        // The place beside it is taken by a directory, so that the new file cannot be written.
        fs::create_dir(partial(&path)).unwrap();
        assert!(replace_file(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir(partial(&path)).unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!partial(&path).exists());
    }
}
