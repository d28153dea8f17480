//! Checked casts between bytes and numbers.
#![allow(unsafe_code, reason = "the only place where bytes become numbers")]

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and are used where they lie");

use half::f16;

/// Numbers without padding for which every bit pattern is a value.
///
/// # Safety
/// Only for such types.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: four bytes, every pattern a float.
unsafe impl Plain for f32 {}
// SAFETY: `f16` is a transparent `u16`.
unsafe impl Plain for f16 {}
// SAFETY: one byte, every pattern an integer.
unsafe impl Plain for i8 {}
// SAFETY: two bytes, every pattern an integer.
unsafe impl Plain for i16 {}
// SAFETY: four bytes, every pattern an integer.
unsafe impl Plain for i32 {}

/// The bytes as numbers; empty if the address is not aligned or the length not a multiple.
///
/// Both are checked once where a file is opened or an arena is carved, so "empty" is never seen.
#[inline]
pub(crate) fn cast<T: Plain>(bytes: &[u8]) -> &[T] {
    if !is_whole::<T>(bytes) {
        return &[];
    }
    let n = bytes.len() / size_of::<T>();
    // SAFETY: so many values lie there, aligned, and `Plain` promises that any bytes are values of `T`.
    unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), n) }
}

/// [`cast`], to be written to.
#[inline]
pub(crate) fn cast_mut<T: Plain>(bytes: &mut [u8]) -> &mut [T] {
    if !is_whole::<T>(bytes) {
        return &mut [];
    }
    let n = bytes.len() / size_of::<T>();
    // SAFETY: as above and, as `T` has no padding, the other way round; `bytes` are borrowed as long.
    unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), n) }
}

/// Whether the bytes are aligned for `T`, and a number of them.
#[inline(always)]
fn is_whole<T>(bytes: &[u8]) -> bool {
    let unaligned = bytes.as_ptr().addr() % align_of::<T>();
    unaligned == 0 && bytes.len().is_multiple_of(size_of::<T>())
}

/// Bytes on a 16-byte boundary, as files and arenas of tests need them.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    blocks: std::vec::Vec<crate::arena::Aligned<[u8; 16]>>,
    len: usize,
}

#[cfg(test)]
impl Buffer {
    pub(crate) fn new(len: usize) -> Self {
        let blocks = std::vec![crate::arena::Aligned([0; 16]); len.div_ceil(16)];
        Self { blocks, len }
    }

    pub(crate) fn copied(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.bytes().copy_from_slice(bytes);
        buffer
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the blocks are bytes without padding, and bytes have no alignment.
        let (_, all, _) = unsafe { self.blocks.align_to_mut::<u8>() };
        &mut all[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_read_and_write_little_endian() {
        let mut buffer = Buffer::new(32);
        let bytes = buffer.bytes();
        cast_mut::<f32>(&mut bytes[..8]).copy_from_slice(&[1.0, -2.5]);
        assert_eq!(bytes[..4], 1.0f32.to_le_bytes());
        assert_eq!(cast::<f32>(&bytes[..8]), [1.0, -2.5]);
        assert_eq!(cast::<i8>(&bytes[1..4]), [0, -128, 63]);
        assert_eq!(cast::<f16>(&bytes[2..4])[0].to_bits(), 0x3F80);
    }

    #[test]
    fn wrong_alignment_or_length_is_empty() {
        let mut buffer = Buffer::new(32);
        let bytes = buffer.bytes();
        assert!(cast::<f32>(&bytes[1..5]).is_empty());
        assert!(cast::<f32>(&bytes[..7]).is_empty());
        assert!(cast::<f16>(&bytes[..3]).is_empty());
    }
}
