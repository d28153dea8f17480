//! Rows of equal length that may lie apart.

use core::ops::Range;

/// Rows of `size` numbers, each `stride` numbers behind the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    size: usize,
}

impl<'a> Rows<'a> {
    /// Columns `first..first + size` of rows of `stride` numbers.
    pub(super) fn new(data: &'a [f32], first: usize, size: usize, stride: usize) -> Self {
        assert!(size <= stride);
        Self {
            data: &data[first..],
            stride,
            size,
        }
    }

    /// Rows of `size` numbers without gaps.
    pub(super) fn whole(data: &'a [f32], size: usize) -> Self {
        Self::new(data, 0, size, size)
    }

    /// The rows from number `first` on.
    pub(super) fn skip(self, first: usize) -> Self {
        Self {
            data: &self.data[first * self.stride..],
            ..self
        }
    }

    /// Those columns of the rows.
    pub(super) fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.size);
        Self {
            data: &self.data[columns.start..],
            size: columns.len(),
            ..self
        }
    }

    /// Numbers of a row.
    #[inline(always)]
    pub(super) const fn size(self) -> usize {
        self.size
    }

    /// Row number `i`.
    #[inline(always)]
    pub(super) fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..self.size]
    }
}
