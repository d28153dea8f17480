//! A weight format as a value and as a type.

use core::fmt::Debug;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::f16::nearest as nearest_f16;
use super::q8_dsp::{self, GROUP};
use super::{F16, F32, Q4, Q8, Q8Activations, Q8Dsp};
use super::{q4, q8};
use crate::kernels::{Isa, Output};

/// Values of a block that share one scale, in [`Format::Q8`] and [`Format::Q4`].
pub const BLOCK: usize = 32;

/// How the matrices of a file are stored. Vectors (norms, biases) are always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
// Append only: the order is the file format.
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 `i8` with an `f16` scale. All blocks of a matrix come first, row by row (the
    /// last block of a row is filled up with zeros), then all scales.
    Q8,
    /// The numbers of [`Self::Q8`] in the order that Cortex-M4, M7, M33 and M55 multiply them in.
    Q8Dsp,
    /// Blocks of 32 integers of four bits with an `f16` scale, in the order of [`Self::Q8`].
    Q4,
}

impl Format {
    /// Every format, as numbered in files.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Q8, Self::Q8Dsp, Self::Q4];

    /// As written on the command line: `f32`, `f16`, `q8`, `q8-dsp`, `q4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q8Dsp => "q8-dsp",
            Self::Q4 => "q4",
        }
    }

    /// The first version of the model file that has this format.
    pub(crate) const fn version(self) -> u8 {
        match self {
            Self::F32 | Self::F16 | Self::Q8 => 1,
            Self::Q8Dsp => 2,
            Self::Q4 => 4,
        }
    }

    /// Bytes of a `[rows, cols]` matrix.
    #[must_use]
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> u64 {
        let rows = rows as u64;
        match self {
            Self::F32 => 4 * rows * cols as u64,
            Self::F16 => 2 * rows * cols as u64,
            Self::Q8 => Blocks::new(cols).bytes(rows),
            Self::Q8Dsp => rows.div_ceil(GROUP as u64) * q8_dsp::group_bytes(cols),
            Self::Q4 => q4::matrix_bytes(rows, cols),
        }
    }

    /// The blocks of a row of `cols` activations; none where they are not turned into integers.
    pub(crate) const fn blocks(self, cols: usize) -> Blocks {
        match self {
            Self::F32 | Self::F16 => Blocks::new(0),
            Self::Q8 | Self::Q4 => Blocks::new(cols),
            Self::Q8Dsp => Blocks::dsp(cols),
        }
    }

    /// Whether matrices meet activations as integers, so that every instruction set gives the
    /// same bits.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Q8 | Self::Q8Dsp | Self::Q4)
    }

    /// Stores a `[rows, cols]` matrix.
    ///
    /// Values beyond what the format can hold become the largest it can. In all but
    /// [`Self::F32`] NaN becomes 0.
    ///
    /// # Panics
    /// If `cols` is 0, or if `values` or `out` have other lengths than `rows * cols` and
    /// [`Self::matrix_bytes`].
    pub fn encode(self, out: &mut [u8], values: &[f32], cols: usize) {
        assert_ne!(cols, 0, "rows have columns");
        let rows = values.len() / cols;
        assert_eq!(values.len(), rows * cols, "values are whole rows");
        assert_eq!(out.len() as u64, self.matrix_bytes(rows, cols), "out fits");
        match self {
            Self::F32 => F32::encode(out, values, cols),
            Self::F16 => F16::encode(out, values, cols),
            Self::Q8 => Q8::encode(out, values, cols),
            Self::Q8Dsp => Q8Dsp::encode(out, values, cols),
            Self::Q4 => Q4::encode(out, values, cols),
        }
    }

    /// What becomes of a `[rows, cols]` matrix by being stored: the numbers that [`Self::encode`] of
    /// `values` stands for.
    ///
    /// # Panics
    /// If `cols` is 0, or if `values` are no whole rows or not as many as `out`.
    #[inline(always)]
    pub fn round(self, out: &mut [f32], values: &[f32], cols: usize) {
        assert_eq!(values.len() % cols, 0, "values are whole rows");
        assert_eq!(out.len(), values.len(), "out fits");
        let rows = out.chunks_exact_mut(cols).zip(values.chunks_exact(cols));
        for (out, values) in rows {
            for (out, values) in out.chunks_mut(BLOCK).zip(values.chunks(BLOCK)) {
                match self {
                    Self::F32 => out.copy_from_slice(values),
                    Self::F16 => {
                        for (out, value) in out.iter_mut().zip(values) {
                            *out = nearest_f16(*value).to_f32();
                        }
                    }
                    Self::Q8 | Self::Q8Dsp => decode_block(out, &q8::encode_block(values)),
                    Self::Q4 => decode_block(out, &q4::encode_block(values)),
                }
            }
        }
    }
}

/// The numbers that scale and integers of a block stand for.
#[inline(always)]
fn decode_block(out: &mut [f32], (scale, quants): &(half::f16, [i8; BLOCK])) {
    let scale = scale.to_f32();
    for (out, quant) in out.iter_mut().zip(quants) {
        *out = f32::from(*quant) * scale;
    }
}

/// How a row divides into blocks: all of [`BLOCK`] values, the last one filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Blocks of a row: as many scales.
    pub(crate) n: usize,
    /// Bytes of the integers of a row.
    pub(crate) quants: usize,
}

impl Blocks {
    /// Of rows of `cols` values.
    pub(crate) const fn new(cols: usize) -> Self {
        let n = cols.div_ceil(BLOCK);
        let quants = n * BLOCK;
        Self { n, quants }
    }

    /// Bytes of the integers of a matrix, which come first.
    pub(crate) const fn quant_bytes(self, rows: u64) -> u64 {
        rows * self.quants as u64
    }

    /// Bytes of a matrix with `f16` scales.
    pub(crate) const fn bytes(self, rows: u64) -> u64 {
        self.quant_bytes(rows) + rows * self.n as u64 * 2
    }
}

/// Activations of some tokens, as the kernels take them.
///
/// # Shapes
/// `values` `[T, cols]`; for integer formats the same as integers, else those are empty, and what
/// [`Isa::quantize`] made of `values`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activations<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) q8: Q8Activations<'a>,
}

#[cfg(feature = "rayon")]
impl<'a> Activations<'a> {
    /// Those of the first `n` tokens of `cols` values, and the others.
    pub(crate) fn split_at(self, n: usize, cols: usize) -> (Self, Self) {
        let Q8Activations {
            quants,
            scales,
            blocks,
        } = self.q8;
        let (values, quants) = (
            self.values.split_at(n * cols),
            quants.split_at(n * blocks.quants),
        );
        let scales = scales.split_at(n * blocks.n);
        let part = |values, quants, scales| Self {
            values,
            q8: Q8Activations {
                quants,
                scales,
                blocks,
            },
        };
        (
            part(values.0, quants.0, scales.0),
            part(values.1, quants.1, scales.1),
        )
    }
}

/// A weight format as a type: firmware that names one links one set of kernels.
///
/// Sealed: [`F32`], [`F16`], [`Q8`], [`Q8Dsp`] and [`Q4`].
#[expect(
    private_interfaces,
    reason = "sealed: the hidden methods are for this crate"
)]
pub trait WeightFormat: sealed::Sealed + Copy + Debug + 'static {
    /// The same as a value.
    const FORMAT: Format;

    /// A matrix that lies in the file.
    type Matrix<'w>: Copy + Debug + Send;

    /// Borrows a matrix from exactly its bytes.
    #[doc(hidden)]
    fn matrix(bytes: &[u8], rows: usize, cols: usize) -> Self::Matrix<'_>;

    /// Stores `values`, whole rows of `cols`.
    #[doc(hidden)]
    fn encode(out: &mut [u8], values: &[f32], cols: usize);

    /// Reads row `row` of `matrix`.
    #[doc(hidden)]
    fn row(isa: Isa, out: &mut [f32], matrix: Self::Matrix<'_>, row: usize);

    /// Turns rows of activations into what [`Self::matmul`] takes besides them; with integers `x` may be used up.
    #[doc(hidden)]
    fn quantize(_isa: Isa, _quants: &mut [i8], _scales: &mut [f32], _x: &mut [f32], _cols: usize) {}

    /// `out[t, r] = sum(matrix[r, c] * x[t, c])` for the rows `rows`.
    ///
    /// # Shapes
    /// `x` `[T, cols]`.
    #[doc(hidden)]
    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: Self::Matrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    );
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::quant::F32 {}
    impl Sealed for crate::quant::F16 {}
    impl Sealed for crate::quant::Q4 {}
    impl Sealed for crate::quant::Q8 {}
    impl Sealed for crate::quant::Q8Dsp {}
}
