//! Memory on a 16-byte boundary, for model files and arenas.

use memmap2::MmapMut;

/// Bytes that begin at a page, and so at every boundary that model files and arenas ask for.
#[derive(Debug)]
pub struct AlignedBytes(MmapMut);

impl AlignedBytes {
    /// `len` zeros, or `None` if there is no such memory. A page is taken when it is first written to.
    #[must_use]
    pub fn zeroed(len: usize) -> Option<Self> {
        MmapMut::map_anon(len).ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written to.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use minigpt_runtime::ARENA_ALIGNMENT;

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
