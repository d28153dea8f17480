//! Half precision: half the bytes, 11 bits of every weight.

use core::ops::Range;

use half::f16;

use super::{Activations, Format, WeightFormat};
use crate::bytes;
use crate::kernels::{Isa, Output};
use crate::parts::part;

/// [`Format::F16`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct F16;

/// A row-major matrix.
#[derive(Clone, Copy, Debug)]
pub struct F16Matrix<'w> {
    pub(crate) values: &'w [f16],
    pub(crate) cols: usize,
}

/// The nearest `f16`; values beyond its range become its largest, NaN becomes 0.
pub(crate) fn nearest(value: f32) -> f16 {
    if value.is_nan() {
        return f16::ZERO;
    }
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

#[expect(private_interfaces, reason = "sealed")]
impl WeightFormat for F16 {
    const FORMAT: Format = Format::F16;

    type Matrix<'w> = F16Matrix<'w>;

    fn matrix(bytes: &[u8], _rows: usize, cols: usize) -> F16Matrix<'_> {
        F16Matrix {
            values: bytes::cast(bytes),
            cols,
        }
    }

    fn encode(out: &mut [u8], values: &[f32], _cols: usize) {
        for (out, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *out = nearest(*value).to_le_bytes();
        }
    }

    fn row(isa: Isa, out: &mut [f32], matrix: F16Matrix<'_>, row: usize) {
        isa.widen_f16(out, part(matrix.values, row * matrix.cols, matrix.cols));
    }

    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: F16Matrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    ) {
        let cols = matrix.cols;
        let w = part(matrix.values, rows.start * cols, rows.len() * cols);
        isa.matmul_f16(out, w, x.values, cols);
    }
}
