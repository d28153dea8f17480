//! Eight bits: blocks of [`BLOCK`] integers that share an `f16` scale, `value = scale * integer`.
//!
//! The scale is the block's largest magnitude over 127, rounded to `f16` before the integers are,
//! so that they make up for its rounding. Blocks never cross rows: the last one of a row is filled
//! up with zeros, which add nothing to a dot product.

use core::ops::Range;

use half::f16;

use super::weight_format::Blocks;
use super::{Activations, BLOCK, Format, WeightFormat};
use crate::bytes;
use crate::kernels::{Isa, Output};
use crate::parts::part;

/// [`Format::Q8`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Q8;

/// A matrix: all integers, row by row, then all scales.
#[derive(Clone, Copy, Debug)]
pub struct Q8Matrix<'w> {
    pub(crate) quants: &'w [i8],
    pub(crate) scales: &'w [f16],
    blocks: Blocks,
}

/// One row: `scales.len()` blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q8Row<'w> {
    pub(crate) quants: &'w [i8],
    pub(crate) scales: &'w [f16],
}

impl<'w> Q8Matrix<'w> {
    /// The rows, first to last.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Q8Row<'w>> + use<'w> {
        let quants = self.quants.chunks_exact(self.blocks.quants.max(1));
        let rows = quants.zip(self.scales.chunks_exact(self.blocks.n.max(1)));
        rows.map(|(quants, scales)| Q8Row { quants, scales })
    }

    /// All integers and all scales, row by row.
    #[cfg(any(target_arch = "x86_64", kernel_neon, kernel_simd128, test))]
    pub(crate) const fn stored(&self) -> (&'w [i8], &'w [f16]) {
        (self.quants, self.scales)
    }

    /// The matrix of these rows.
    pub(crate) fn part(self, rows: Range<usize>) -> Self {
        let Blocks { n, quants } = self.blocks;
        Self {
            quants: part(self.quants, rows.start * quants, rows.len() * quants),
            scales: part(self.scales, rows.start * n, rows.len() * n),
            ..self
        }
    }
}

/// Rows of activations as integers: `value = scale * integer`.
///
/// # Shapes
/// `quants` `[T, blocks.quants]`, `scales` `[T, blocks.n]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q8Activations<'a> {
    pub(crate) quants: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) blocks: Blocks,
}

impl<'a> Q8Activations<'a> {
    /// Integers and scales of each token.
    pub(crate) fn rows(self) -> impl Iterator<Item = (&'a [i8], &'a [f32])> + Clone {
        let quants = self.quants.chunks_exact(self.blocks.quants.max(1));
        quants.zip(self.scales.chunks_exact(self.blocks.n.max(1)))
    }
}

/// Scale and integers of a block, which may be shorter than [`BLOCK`].
pub(super) fn encode_block(values: &[f32]) -> (f16, [i8; BLOCK]) {
    let largest = values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let scale = super::f16::nearest(largest / 127.0);
    let inverse = match scale.to_f32() {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    let mut quants = [0; BLOCK];
    for (quant, value) in quants.iter_mut().zip(values) {
        *quant = libm::rintf(value * inverse).clamp(-127.0, 127.0) as i8;
    }
    (scale, quants)
}

/// Integers and scale of block `block` of row `row` of a `[rows, cols]` matrix.
pub(super) fn read_block(
    bytes: &[u8],
    rows: usize,
    cols: usize,
    row: usize,
    block: usize,
) -> ([i8; BLOCK], f16) {
    let blocks = Blocks::new(cols);
    let index = row * blocks.n + block;
    let scales = blocks.quant_bytes(rows as u64) as usize;
    let quants = part(bytes, index * BLOCK, BLOCK).as_array();
    let scale = part(bytes, scales + index * 2, 2).as_array();
    (
        quants.copied().unwrap_or([0; BLOCK]).map(u8::cast_signed),
        f16::from_le_bytes(scale.copied().unwrap_or_default()),
    )
}

#[expect(private_interfaces, reason = "sealed")]
impl WeightFormat for Q8 {
    const FORMAT: Format = Format::Q8;

    type Matrix<'w> = Q8Matrix<'w>;

    fn matrix(bytes: &[u8], rows: usize, cols: usize) -> Q8Matrix<'_> {
        let blocks = Blocks::new(cols);
        let split = bytes.split_at_checked(blocks.quant_bytes(rows as u64) as usize);
        let (quants, scales) = split.unwrap_or_default();
        Q8Matrix {
            quants: bytes::cast(quants),
            scales: bytes::cast(scales),
            blocks,
        }
    }

    fn encode(out: &mut [u8], values: &[f32], cols: usize) {
        let rows = values.len() / cols;
        let quant_bytes = Blocks::new(cols).quant_bytes(rows as u64);
        let (quants, scales) = out.split_at_mut(quant_bytes as usize);
        let values = values.chunks_exact(cols).flat_map(|row| row.chunks(BLOCK));
        let quants = quants.as_chunks_mut::<BLOCK>().0.iter_mut();
        let scales = scales.as_chunks_mut::<2>().0.iter_mut();
        for ((values, bytes), scale_bytes) in values.zip(quants).zip(scales) {
            let (scale, quants) = encode_block(values);
            *scale_bytes = scale.to_le_bytes();
            *bytes = quants.map(i8::cast_unsigned);
        }
    }

    fn row(_isa: Isa, out: &mut [f32], matrix: Q8Matrix<'_>, row: usize) {
        let Q8Matrix { quants, scales, .. } = matrix.part(row..row + 1);
        for ((out, quants), scale) in out.chunks_mut(BLOCK).zip(quants.chunks(BLOCK)).zip(scales) {
            let scale = scale.to_f32();
            for (out, quant) in out.iter_mut().zip(quants) {
                *out = f32::from(*quant) * scale;
            }
        }
    }

    fn quantize(isa: Isa, quants: &mut [i8], scales: &mut [f32], x: &mut [f32], cols: usize) {
        isa.quantize(quants, scales, x, cols);
    }

    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: Q8Matrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    ) {
        isa.matmul_q8(out, matrix.part(rows), x);
    }
}
