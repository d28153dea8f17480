//! Memory on a 16-byte boundary, for model files and arenas.

use minigpt_runtime::ARENA_ALIGNMENT;

/// Bytes that begin at a multiple of 16.
#[derive(Debug)]
pub struct AlignedBytes {
    /// Never grows, so the boundary stays where it is.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros, or `None` if there is no such memory.
    #[must_use]
    pub fn zeroed(len: usize) -> Option<Self> {
        let mut memory = Vec::new();
        let room = len.checked_add(ARENA_ALIGNMENT)?;
        memory.try_reserve_exact(room).ok()?;
        memory.resize(room, 0);
        let address = memory.as_ptr().addr();
        Some(Self {
            start: address.next_multiple_of(ARENA_ALIGNMENT) - address,
            memory,
            len,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    /// The bytes, to be written to.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_aligned() {
        for len in [0, 1, 15, 16, 1000] {
            let bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(bytes.bytes().len(), len);
            assert_eq!(bytes.bytes().as_ptr().addr() % ARENA_ALIGNMENT, 0);
        }
        assert!(AlignedBytes::zeroed(usize::MAX).is_none());
        assert!(AlignedBytes::zeroed(usize::MAX / 4).is_none());
    }
}
