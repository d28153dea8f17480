//! Finding and reading the files of a data set.
//!
//! The name of a file says what it is: `.jsonl` and `.ndjson` hold a JSON object in each line and
//! `.parquet` rows of columns; of both one text of each is a document, with
//! [`END_OF_TEXT`] between documents. Anything else is text as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::content::{Content, Writer};
use super::{DataError, json_lines};
use crate::tokenizer::END_OF_TEXT;

/// A piece of data with the name it was asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// Path of the file, or a description of text that is no file.
    pub name: String,
    /// All its bytes.
    pub bytes: Content,
}

/// How files become texts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading<'a> {
    /// Where the text of a document stands in JSON lines and Parquet files.
    pub field: &'a str,
    /// Files that are asked for by another name, such as an address on the web.
    pub located: &'a BTreeMap<PathBuf, PathBuf>,
}

impl<'a> Reading<'a> {
    /// Texts under `field`, and the files that stand for names.
    #[must_use]
    pub const fn new(field: &'a str, located: &'a BTreeMap<PathBuf, PathBuf>) -> Self {
        Self { field, located }
    }
}

/// Where the text of a document stands if nobody says.
pub const FIELD: &str = "text";

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
            bytes: text.into_bytes().into(),
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
    digits(xxh64(bytes, 0))
}

/// [`hash`] of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct Hasher(Xxh64);

impl Hasher {
    /// The next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all.
    pub(crate) fn finish(&self) -> String {
        digits(self.0.digest())
    }
}

fn digits(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Reads every file of `paths`, where a directory stands for all files below it, sorted by path;
/// names that begin with a dot and empty files are left out there.
///
/// # Errors
/// A [`DataError`] for what cannot be read, is empty, or is a directory without files.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, DataError> {
    read_as(paths, &Reading::new(FIELD, &BTreeMap::new()))
}

/// As [`read`], where `reading` says what is where.
///
/// # Errors
/// As [`read`], and for files whose form is not what their name says.
pub fn read_as(paths: &[PathBuf], reading: &Reading<'_>) -> Result<Vec<Source>, DataError> {
    let mut sources = Vec::new();
    for path in paths {
        let located = reading.located.get(path);
        if located.is_some() || !path.is_dir() {
            let file = located.unwrap_or(path);
            let content = read_file(file, reading.field)?;
            sources.push(Source {
                name: path.to_string_lossy().into_owned(),
                bytes: content.ok_or_else(|| DataError::Empty { path: path.clone() })?,
            });
            continue;
        }
        let (mut files, before) = (Vec::new(), sources.len());
        walk(path, &mut files)?;
        for file in files {
            let content = read_file(&file, reading.field)?;
            // What has a form and nothing in it was not written to its end.
            if content.is_none() && Form::of(&file) != Form::Text {
                return Err(DataError::Empty { path: file });
            }
            sources.extend(content.map(|bytes| Source {
                name: file.to_string_lossy().into_owned(),
                bytes,
            }));
        }
        if sources.len() == before {
            return Err(DataError::NoFiles { path: path.clone() });
        }
    }
    Ok(sources)
}

/// What a file is, by the end of its name.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    JsonLines,
    Parquet,
}

impl Form {
    fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson") => Self::JsonLines,
            Some("parquet") => Self::Parquet,
            _ => Self::Text,
        }
    }
}

/// The text of a file, `None` if there is nothing in it.
fn read_file(path: &Path, field: &str) -> Result<Option<Content>, DataError> {
    let read = || {
        Content::read(path).map_err(|error| DataError::Read {
            path: path.to_owned(),
            error,
        })
    };
    let mut documents = Documents::new(path);
    let content = match Form::of(path) {
        Form::JsonLines => {
            json_lines::texts(path, &read()?, field, &mut |text| documents.add(text))?;
            documents.finish()?
        }
        Form::Parquet => {
            parquet_texts(path, field, &mut |text| documents.add(text))?;
            documents.finish()?
        }
        Form::Text => read()?,
    };
    Ok((!content.is_empty()).then_some(content))
}

/// What takes the texts of a file, one by one.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&str) -> Result<(), DataError>;

#[cfg(feature = "parquet")]
use super::parquet::texts as parquet_texts;

#[cfg(not(feature = "parquet"))]
fn parquet_texts(path: &Path, _: &str, _: Sink<'_>) -> Result<(), DataError> {
    Err(DataError::WithoutParquet {
        path: path.to_owned(),
    })
}

/// Texts on their way into one, with [`END_OF_TEXT`] on a line of its own behind each.
struct Documents<'p> {
    path: &'p Path,
    writer: io::BufWriter<Writer>,
}

impl<'p> Documents<'p> {
    fn new(path: &'p Path) -> Self {
        Self {
            path,
            writer: io::BufWriter::new(Writer::new()),
        }
    }

    fn add(&mut self, text: &str) -> Result<(), DataError> {
        if text.is_empty() {
            return Ok(());
        }
        let parts = [text.as_bytes(), b"\n", END_OF_TEXT, b"\n"];
        let mut parts = parts.into_iter();
        let written = parts.try_for_each(|part| self.writer.write_all(part));
        written.map_err(|error| self.failed(error))
    }

    fn finish(self) -> Result<Content, DataError> {
        let path = self.path;
        let inner = self
            .writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        inner
            .and_then(Writer::finish)
            .map_err(|error| DataError::Temporary {
                path: path.to_owned(),
                error,
            })
    }

    fn failed(&self, error: io::Error) -> DataError {
        DataError::Temporary {
            path: self.path.to_owned(),
            error,
        }
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
        let (bytes, mut hasher) = ([7; 100], Hasher::default());
        bytes.chunks(33).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), hash(&bytes));
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
