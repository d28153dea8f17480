//! The bytes of a text, wherever they lie.

use core::ops::Deref;
use std::fs;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use tempfile::{SpooledData, SpooledTempFile};

use crate::mapped::Mapped;

/// Texts from this size on are mapped instead of read, in bytes.
const LARGE: usize = 1 << 26;

/// Bytes in memory, or of a file that is mapped because there are many. Clones share them.
#[derive(Clone, Debug)]
pub struct Content(Arc<Bytes>);

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Mapped),
}

impl Content {
    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        match found.is_file() && found.len() >= LARGE as u64 {
            true => Mapped::open(path).map(Bytes::Mapped),
            // Devices and pipes have no length and cannot be mapped.
            false => fs::read(path).map(Bytes::Read),
        }
        .map(|bytes| Self(Arc::new(bytes)))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Bytes::Read(bytes)))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Read(bytes) => bytes,
            Bytes::Mapped(bytes) => bytes,
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Content {}

/// A text in the making: in memory until it is large, then in a temporary file without a name.
pub(super) struct Writer(SpooledTempFile);

impl Writer {
    pub(super) fn new() -> Self {
        Self(SpooledTempFile::new(LARGE))
    }

    /// The text, complete.
    pub(super) fn finish(mut self) -> io::Result<Content> {
        self.0.flush()?;
        self.0.rewind()?;
        let bytes = match self.0.into_inner() {
            SpooledData::InMemory(bytes) => Bytes::Read(bytes.into_inner()),
            // The file stays as it is: nobody else can open what has no name.
            SpooledData::OnDisk(file) => Bytes::Mapped(Mapped::of(&file)?),
        };
        Ok(Content(Arc::new(bytes)))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_texts_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        for n in [0, 1, LARGE / 8 + 1] {
            let text = b"12345678".repeat(n);
            fs::write(&path, &text).unwrap();
            let read = Content::read(&path).unwrap();
            let mut writer = Writer::new();
            for part in text.chunks(1 << 20) {
                writer.write_all(part).unwrap();
            }
            let written = writer.finish().unwrap();
            assert!(*read == text[..] && read == written);
            let large = text.len() >= LARGE;
            assert_eq!(matches!(*read.0, Bytes::Mapped(_)), large);
            assert_eq!(matches!(*written.0, Bytes::Mapped(_)), large);
        }
    }
}
