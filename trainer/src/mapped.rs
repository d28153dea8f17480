//! Files seen as memory: the one place that maps them.
#![allow(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; no other module of the trainer does it"
)]

use core::ops::Deref;
use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// A file's bytes, mapped read-only and not copied.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the file at `path`. The start is aligned to a page.
    ///
    /// The file must stay as it is while it is mapped: if another program shortens it, reading past
    /// its new end kills the process (`SIGBUS`). This project never changes such a file in place:
    /// it writes beside it and renames, which leaves a mapping whole.
    ///
    /// # Errors
    /// What the system says when it cannot open or map the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(&File::open(path)?)
    }

    /// Maps an open file, which must stay as [`Self::open`] says.
    ///
    /// # Errors
    /// What the system says when it cannot map the file.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is read-only and private to this value, and every writer of ours
        // replaces files by renaming, so that the mapped bytes do not change under the slice.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }

    /// The same kind of memory with a copy of `bytes` in it, and no file.
    ///
    /// # Errors
    /// What the system says when it has not the memory.
    pub fn copy(bytes: &[u8]) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self(map.make_read_only()?))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_files_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, 5000] {
            let path = dir.path().join("file");
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(&*Mapped::open(&path).unwrap(), bytes.as_slice());
        }
        assert!(Mapped::open(&dir.path().join("absent")).is_err());
    }
}
