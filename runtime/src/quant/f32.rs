//! Single precision: the weights as they were trained.

use core::ops::Range;

use super::{Activations, Format, WeightFormat};
use crate::bytes;
use crate::kernels::{Isa, Output};
use crate::parts::{copy, part};

/// [`Format::F32`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct F32;

/// A row-major matrix.
#[derive(Clone, Copy, Debug)]
pub struct F32Matrix<'w> {
    pub(crate) values: &'w [f32],
    pub(crate) cols: usize,
}

#[expect(private_interfaces, reason = "sealed")]
impl WeightFormat for F32 {
    const FORMAT: Format = Format::F32;

    type Matrix<'w> = F32Matrix<'w>;

    fn matrix(bytes: &[u8], _rows: usize, cols: usize) -> F32Matrix<'_> {
        F32Matrix {
            values: bytes::cast(bytes),
            cols,
        }
    }

    fn encode(out: &mut [u8], values: &[f32], _cols: usize) {
        for (out, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *out = value.to_le_bytes();
        }
    }

    fn row(_isa: Isa, out: &mut [f32], matrix: F32Matrix<'_>, row: usize) {
        copy(out, part(matrix.values, row * matrix.cols, matrix.cols));
    }

    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: F32Matrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    ) {
        let cols = matrix.cols;
        let w = part(matrix.values, rows.start * cols, rows.len() * cols);
        isa.matmul_f32(out, w, x.values, cols);
    }
}
