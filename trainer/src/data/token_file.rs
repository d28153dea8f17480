//! Tokens on disk: little-endian `u16` where the vocabulary allows, else `u32`, nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DataError;
use super::sources::hash;
use crate::mapped::Mapped;

/// Vocabularies up to this size are stored in two bytes a token.
const SMALL_VOCABULARY: usize = 1 << 16;

/// A sequence of tokens, mapped from its file; clones share the mapping.
#[derive(Clone, Debug)]
pub struct TokenFile {
    bytes: Arc<Mapped>,
    n_vocab: usize,
}

impl TokenFile {
    /// Writes `tokens` to `directory/name.u16` or `.u32`, as the vocabulary requires, and waits
    /// until the disk has them.
    ///
    /// # Errors
    /// [`DataError::Write`].
    ///
    /// # Panics
    /// If a token is not below `n_vocab`.
    pub fn create(
        directory: &Path,
        name: &str,
        tokens: &[u32],
        n_vocab: usize,
    ) -> Result<(), DataError> {
        let mut writer = TokenWriter::create(directory, name, n_vocab)?;
        writer.append(tokens)?;
        writer.finish()
    }

    /// Maps `directory/name.u16` or `.u32` and checks that all it holds are tokens.
    ///
    /// # Errors
    /// A [`DataError`] that says what is wrong with the file.
    pub fn open(directory: &Path, name: &str, n_vocab: usize) -> Result<Self, DataError> {
        let path = token_path(directory, name, n_vocab);
        let bytes = Mapped::open(&path).map_err(|error| DataError::LostTokens {
            path: path.clone(),
            error,
        })?;
        if bytes.len() % width(is_wide(n_vocab)) != 0 {
            let bytes = bytes.len();
            return Err(DataError::TornTokens { path, bytes });
        }
        let bytes = Arc::new(bytes);
        let file = Self { bytes, n_vocab };
        match (0..file.len()).find(|&i| file.token(i) as usize >= n_vocab) {
            Some(index) => Err(DataError::ForeignToken {
                path,
                index,
                token: file.token(index),
                n_vocab,
            }),
            None => Ok(file),
        }
    }

    /// `tokens` as a file holds them, in memory.
    ///
    /// # Errors
    /// What the system says when it has not the memory.
    ///
    /// # Panics
    /// If a token is not below `n_vocab`.
    pub fn in_memory(tokens: &[u32], n_vocab: usize) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(tokens.len() * width(is_wide(n_vocab)));
        write(&mut bytes, tokens, n_vocab)?;
        let bytes = Arc::new(Mapped::copy(&bytes)?);
        Ok(Self { bytes, n_vocab })
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / width(self.is_wide())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// xxHash64 of the file's bytes, as 16 hexadecimal digits.
    #[must_use]
    pub fn xxh64(&self) -> String {
        hash(&self.bytes)
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tokens of its vocabulary: all in it are below.
    #[must_use]
    pub const fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// Whether a token takes four bytes, not two.
    pub(crate) const fn is_wide(&self) -> bool {
        is_wide(self.n_vocab)
    }

    /// How the file's name ends.
    pub(crate) const fn extension(&self) -> &'static str {
        extension(self.is_wide())
    }

    /// Token `index`.
    ///
    /// # Panics
    /// If there is no such token.
    #[must_use]
    pub fn token(&self, index: usize) -> u32 {
        let start = index * width(self.is_wide());
        if self.is_wide() {
            let bytes = &self.bytes[start..start + 4];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        } else {
            let bytes = &self.bytes[start..start + 2];
            u32::from(u16::from_le_bytes([bytes[0], bytes[1]]))
        }
    }

    /// Fills `out` with the tokens from `start` on.
    ///
    /// # Panics
    /// If the file has fewer.
    pub fn copy(&self, start: usize, out: &mut [u32]) {
        for (i, token) in out.iter_mut().enumerate() {
            *token = self.token(start + i);
        }
    }
}

/// A token file in the making, of any length.
#[derive(Debug)]
pub struct TokenWriter {
    file: BufWriter<File>,
    path: PathBuf,
    n_vocab: usize,
    len: usize,
}

impl TokenWriter {
    /// Begins `directory/name.u16` or `.u32`, as the vocabulary requires.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub fn create(directory: &Path, name: &str, n_vocab: usize) -> Result<Self, DataError> {
        let path = token_path(directory, name, n_vocab);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        match options.open(&path) {
            Ok(file) => Ok(Self {
                file: BufWriter::new(file),
                path,
                n_vocab,
                len: 0,
            }),
            Err(error) => Err(DataError::Write { path, error }),
        }
    }

    /// Adds tokens.
    ///
    /// # Errors
    /// [`DataError::Write`].
    ///
    /// # Panics
    /// If a token is not below `n_vocab`.
    pub fn append(&mut self, tokens: &[u32]) -> Result<(), DataError> {
        let written = write(&mut self.file, tokens, self.n_vocab);
        self.len += tokens.len();
        written.map_err(|error| self.failed(error))
    }

    /// Number of tokens so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves the last `n` tokens to the end of `other`, of the same vocabulary.
    ///
    /// # Errors
    /// [`DataError::Write`].
    ///
    /// # Panics
    /// If there are fewer.
    pub fn move_last(&mut self, n: usize, other: &mut Self) -> Result<(), DataError> {
        assert_eq!(self.n_vocab, other.n_vocab, "files of one vocabulary");
        let kept = (self.len - n) * width(is_wide(self.n_vocab));
        let moved = self.file.flush().and_then(|()| {
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(kept as u64))?;
            io::copy(file, &mut other.file)?;
            file.set_len(kept as u64)?;
            file.seek(SeekFrom::Start(kept as u64))
        });
        self.len -= n;
        other.len += n;
        moved.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Waits until the disk has all tokens.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub fn finish(mut self) -> Result<(), DataError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> DataError {
        DataError::Write {
            path: self.path.clone(),
            error,
        }
    }
}

/// Writes `tokens` in as many bytes each as a vocabulary of `n_vocab` requires.
fn write(to: &mut impl Write, tokens: &[u32], n_vocab: usize) -> io::Result<()> {
    assert!(tokens.iter().all(|&t| (t as usize) < n_vocab));
    let wide = is_wide(n_vocab);
    tokens.iter().try_for_each(|token| match wide {
        true => to.write_all(&token.to_le_bytes()),
        false => to.write_all(&(*token as u16).to_le_bytes()),
    })
}

const fn is_wide(n_vocab: usize) -> bool {
    n_vocab > SMALL_VOCABULARY
}

const fn width(wide: bool) -> usize {
    if wide { 4 } else { 2 }
}

fn token_path(directory: &Path, name: &str, n_vocab: usize) -> PathBuf {
    directory.join(format!("{name}.{}", extension(is_wide(n_vocab))))
}

const fn extension(wide: bool) -> &'static str {
    if wide { "u32" } else { "u16" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_both_widths_come_back() {
        let dir = tempfile::tempdir().unwrap();
        for (n_vocab, bytes) in [(65_536, 6), (65_537, 12)] {
            let tokens = [0, 65_535, 7];
            TokenFile::create(dir.path(), "train", &tokens, n_vocab).unwrap();
            let file = TokenFile::open(dir.path(), "train", n_vocab).unwrap();
            assert_eq!((file.len(), file.bytes.len()), (3, bytes));
            let mut out = [0; 2];
            file.copy(1, &mut out);
            assert_eq!(out, [65_535, 7]);
        }
    }

    #[test]
    fn a_file_is_written_in_parts_and_split() {
        let dir = tempfile::tempdir().unwrap();
        for n_vocab in [100, 100_000] {
            let tokens: Vec<u32> = (0..100).collect();
            let mut a = TokenWriter::create(dir.path(), "a", n_vocab).unwrap();
            let mut b = TokenWriter::create(dir.path(), "b", n_vocab).unwrap();
            tokens.chunks(7).for_each(|part| a.append(part).unwrap());
            a.move_last(33, &mut b).unwrap();
            assert_eq!((a.len(), b.len()), (67, 33));
            a.append(&[5]).unwrap();
            a.finish().unwrap();
            b.finish().unwrap();
            let read = |name| {
                let file = TokenFile::open(dir.path(), name, n_vocab).unwrap();
                (0..file.len()).map(|i| file.token(i)).collect::<Vec<_>>()
            };
            assert_eq!(read("a"), [&tokens[..67], &[5]].concat());
            assert_eq!(read("b"), &tokens[67..]);
        }
    }

    #[test]
    fn damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train.u16"), [1, 0, 2]).unwrap();
        assert!(matches!(
            TokenFile::open(dir.path(), "train", 10),
            Err(DataError::TornTokens { bytes: 3, .. })
        ));
        std::fs::write(dir.path().join("train.u16"), [1, 0, 10, 0]).unwrap();
        assert!(matches!(
            TokenFile::open(dir.path(), "train", 10),
            Err(DataError::ForeignToken {
                index: 1,
                token: 10,
                ..
            })
        ));
    }
}
