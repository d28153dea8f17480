//! Finding and reading the files of a data set.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use super::DataError;

/// A piece of data with the name it was asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// Path of the file, or a description of text that is no file.
    pub name: String,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

/// What is remembered of a source: enough to see that it has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fingerprint {
    /// Path of the file as it was given.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// xxHash64 of its bytes, as 16 hexadecimal digits.
    pub xxh64: String,
}

impl Source {
    /// Text that is no file, such as the built-in stories.
    #[must_use]
    pub fn text(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            bytes: text.into_bytes(),
        }
    }

    /// The text, where this is text.
    ///
    /// # Errors
    /// [`DataError::NotText`] with the place of the first byte that is not UTF-8.
    pub fn as_text(&self) -> Result<&str, DataError> {
        core::str::from_utf8(&self.bytes).map_err(|error| DataError::NotText {
            path: PathBuf::from(&self.name),
            offset: error.valid_up_to(),
        })
    }

    /// Size and hash.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            path: self.name.clone(),
            bytes: self.bytes.len() as u64,
            xxh64: hash(&self.bytes),
        }
    }
}

/// xxHash64 as 16 hexadecimal digits: notices changes, proves nothing against malice.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh64(bytes, 0))
}

/// Reads every file of `paths`, where a directory stands for all files below it, sorted by path;
/// names that begin with a dot and empty files are left out there.
///
/// # Errors
/// A [`DataError`] for what cannot be read, is empty, or is a directory without files.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, DataError> {
    let mut sources = Vec::new();
    for path in paths {
        if !path.is_dir() {
            let source = read_file(path.clone())?;
            sources.push(source.ok_or_else(|| DataError::Empty { path: path.clone() })?);
            continue;
        }
        let (mut files, before) = (Vec::new(), sources.len());
        walk(path, &mut files)?;
        for file in files {
            sources.extend(read_file(file)?);
        }
        if sources.len() == before {
            return Err(DataError::NoFiles { path: path.clone() });
        }
    }
    Ok(sources)
}

/// `None` if there is nothing in it.
fn read_file(path: PathBuf) -> Result<Option<Source>, DataError> {
    match fs::read(&path) {
        Ok(bytes) => Ok((!bytes.is_empty()).then(|| Source {
            name: path.to_string_lossy().into_owned(),
            bytes,
        })),
        Err(error) => Err(DataError::Read { path, error }),
    }
}

/// Adds the files below `directory` to `files`. Links to directories are not followed: they may
/// form a ring.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let failed = |error: io::Error| DataError::Read {
        path: directory.to_owned(),
        error,
    };
    let mut entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use super::*;

    #[test]
    fn a_directory_is_its_files_sorted_without_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for (name, text) in [
            ("c", "3"),
            ("b/z", "2"),
            ("a", "1"),
            (".git", "no"),
            ("nil", ""),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let sources = read(&[dir.path().to_owned()]).unwrap();
        let texts: Vec<_> = sources.iter().map(|s| s.as_text().unwrap()).collect();
        assert_eq!(texts, ["1", "2", "3"]);
        let print = sources[0].fingerprint();
        assert_eq!((print.bytes, print.xxh64.len()), (1, 16));
    }

    #[test]
    fn absent_empty_and_binary_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let error = read(from_ref(&path)).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("there is no file"));
        fs::write(&path, "").unwrap();
        assert!(matches!(
            read(from_ref(&path)),
            Err(DataError::Empty { .. })
        ));
        fs::write(&path, b"abc\xff").unwrap();
        let sources = read(&[path]).unwrap();
        assert!(matches!(
            sources[0].as_text(),
            Err(DataError::NotText { offset: 3, .. })
        ));
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(matches!(read(&[empty]), Err(DataError::NoFiles { .. })));
    }
}
