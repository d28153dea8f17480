//! Model files, opened as the runtime wants them.

use core::fmt::Display;
use std::fs;
use std::path::Path;

use minigpt_runtime::{ARENA_ALIGNMENT, ModelFile};

/// Does `work` with the model at `path`.
pub(crate) fn with_file<R>(
    path: &Path,
    work: impl FnOnce(&ModelFile<'_>) -> Result<R, String>,
) -> Result<R, String> {
    let failed = |error: &dyn Display| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    let mut room = vec![0; bytes.len() + ARENA_ALIGNMENT];
    let memory = aligned(&mut room, bytes.len());
    memory.copy_from_slice(&bytes);
    work(&ModelFile::open(memory).map_err(|error| failed(&error))?)
}

/// `len` bytes of `room` on the boundary that models and arenas want.
pub(crate) fn aligned(room: &mut [u8], len: usize) -> &mut [u8] {
    let start = room.as_ptr().align_offset(ARENA_ALIGNMENT);
    &mut room[start..][..len]
}
