//! Files and directories that appear whole or not at all.
//!
//! Everything is written under a name of its own, synced, renamed, and the directory synced after
//! it: whatever moment the power goes, the old or the new stands, never a mixture. The names are
//! hidden, made new and never taken over, so that nothing of anyone else's is in the way.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

/// Beginning of names that are being written.
const MARK: &str = ".minigpt-";
/// Ending of names that are being written; what bears both after a crash is worthless.
const PARTIAL: &str = ".partial";

/// Whether `name` is one that is given here to what is being written.
#[must_use]
pub fn is_partial(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(MARK.as_bytes()) && name.ends_with(PARTIAL.as_bytes())
}

/// Makes something new in `directory` under a name that nothing has.
fn create_aside<T>(
    directory: &Path,
    mut create: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{MARK}{}-{number}{PARTIAL}", process::id());
        let aside = directory.join(name);
        match create(&aside) {
            Ok(made) => return Ok((made, aside)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes `bytes` to the file at `path` and waits until the disk has them.
///
/// # Errors
/// What the system says; the file may then hold a part of `bytes`.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_all(File::create(path)?, bytes)
}

fn write_all(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// [`write_synced`] of what `fill` writes, piece by piece.
///
/// # Errors
/// What `fill` or the system says; the file may then hold a part.
pub fn stream_synced<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
) -> Result<T, E> {
    let mut file = BufWriter::new(File::create(path)?);
    let filled = fill(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(filled)
}

/// Replaces the file at `path` by one that holds `bytes`.
///
/// # Errors
/// What the system says. The file at `path` is then as it was; but if the directory could not be synced, it is
/// the new one, which a power failure may take back.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = |aside: &Path| OpenOptions::new().write(true).create_new(true).open(aside);
    let (file, aside) = create_aside(parent(path), create)?;
    let written = write_all(file, bytes).and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // The error that counts is the first.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    sync_directory(parent(path))
}

/// Makes the directory `path`, which `fill` fills under another name.
///
/// # Errors
/// What `fill` or the system says, such as that `path` exists and is not empty. `path` is then as it was; but if
/// the directory that holds it could not be synced, it is the new one, which a power failure may take back.
pub fn create_directory<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    fs::create_dir_all(parent(path))?;
    let ((), aside) = create_aside(parent(path), |aside| fs::create_dir(aside))?;
    let written = fill(&aside).and_then(|()| {
        sync_directory(&aside)?;
        Ok(fs::rename(&aside, path)?)
    });
    if let Err(error) = written {
        // The error that counts is the first.
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    Ok(sync_directory(parent(path))?)
}

/// Removes the directory `path`; half of it never bears its name.
///
/// # Errors
/// What the system says.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let ((), aside) = create_aside(parent(path), |aside| fs::create_dir(aside))?;
    fs::rename(path, aside.join("removed")).and(fs::remove_dir_all(&aside))
}

/// Removes from `directory` what a crash left half-written or half-removed.
///
/// # Errors
/// What the system says.
pub fn remove_partial(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !is_partial(&entry.file_name()) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
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

/// What the system says of a file that cannot be read, and what to do about it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a name for a way to print")]
pub struct Reading<'a>(pub &'a io::Error);

/// What the system says of a file that cannot be written, and what to do about it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a name for a way to print")]
pub struct Writing<'a>(pub &'a io::Error);

impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        f.write_str(match self.0.kind() {
            ErrorKind::PermissionDenied => "; choose one that you may read",
            ErrorKind::NotFound => "; check the name",
            _ => "",
        })
    }
}

impl fmt::Display for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        f.write_str(match self.0.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "; free space and run the same command again"
            }
            ErrorKind::FileTooLarge => {
                "; raise the limit on the size of files and run the same command again"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "; choose a directory you may write to"
            }
            ErrorKind::NotFound => "; choose a directory that exists",
            ErrorKind::AlreadyExists => "; choose another name",
            _ => "",
        })
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
    fn a_failed_replacement_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mine = dir.path().join("file.partial");
        fs::write(&mine, b"mine").unwrap();
        replace_file(&path, b"old").unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // A directory cannot be replaced by a file.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(replace_file(&taken, b"new").is_err());
        assert_eq!(fs::read(&mine).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_the_system_refuses_comes_with_advice() {
        let cases = [
            (
                ErrorKind::StorageFull,
                "free space and run the same command again",
            ),
            (ErrorKind::PermissionDenied, "a directory you may write to"),
            (ErrorKind::NotFound, "a directory that exists"),
        ];
        for (kind, words) in cases {
            let text = Writing(&kind.into()).to_string();
            assert!(text.ends_with(words), "{text}");
        }
        let text = Reading(&ErrorKind::PermissionDenied.into()).to_string();
        assert!(text.ends_with("that you may read"), "{text}");
    }

    #[test]
    fn only_what_bears_the_mark_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.partial", ".minigpt-1-0.partial", ".minigpt-notes"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        fs::create_dir(dir.path().join(".minigpt-1-1.partial")).unwrap();
        remove_partial(dir.path()).unwrap();
        assert!(dir.path().join("a.partial").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
