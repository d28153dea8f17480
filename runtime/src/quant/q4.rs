//! Four bits: blocks of [`BLOCK`] integers in -8..=7 that share an `f16` scale, `value = scale * integer`.
//!
//! A block is 16 bytes: byte `i` holds value `i` in its lower half and value `i + 16` in its upper one, both
//! plus 8. All blocks of a matrix come first, row by row, then all scales.
//!
//! Sixteen steps are few, so where they lie matters: [`encode_block`] tries scales at which the largest
//! magnitude becomes some number from -9.5 to -6.5 or from 6 to 8, in steps of an eighth, and takes the one
//! with the least squared error. Most scales are such that the largest magnitude becomes about -8, the
//! end that has one step more, whatever its sign: scales may be negative.

use core::ops::Range;

use half::f16;

use super::{Activations, BLOCK, Format, WeightFormat};
use crate::bytes;
use crate::kernels::{Isa, Output};
use crate::parts::part;

/// Added to an integer where it is stored.
pub(crate) const OFFSET: i8 = 8;

/// Bytes of a block.
pub(crate) const BYTES: usize = BLOCK / 2;

/// [`Format::Q4`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Q4;

/// A matrix: all integers, row by row, then all scales.
#[derive(Clone, Copy, Debug)]
pub struct Q4Matrix<'w> {
    nibbles: &'w [i8],
    scales: &'w [f16],
    /// Blocks of a row.
    blocks: usize,
}

/// One row: `scales.len()` blocks of [`BYTES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q4Row<'w> {
    pub(crate) nibbles: &'w [i8],
    pub(crate) scales: &'w [f16],
}

impl<'w> Q4Matrix<'w> {
    /// The rows, first to last.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Q4Row<'w>> + use<'w> {
        let nibbles = self.nibbles.chunks_exact((self.blocks * BYTES).max(1));
        let rows = nibbles.zip(self.scales.chunks_exact(self.blocks.max(1)));
        rows.map(|(nibbles, scales)| Q4Row { nibbles, scales })
    }

    /// All integers and all scales, row by row.
    #[cfg(any(
        target_arch = "x86_64",
        kernel_dsp,
        kernel_neon,
        kernel_simd128,
        kernel_thumb2,
        test
    ))]
    pub(crate) const fn stored(&self) -> (&'w [i8], &'w [f16]) {
        (self.nibbles, self.scales)
    }

    /// The matrix of these rows.
    fn part(self, rows: Range<usize>) -> Self {
        let (n, bytes) = (self.blocks, self.blocks * BYTES);
        Self {
            nibbles: part(self.nibbles, rows.start * bytes, rows.len() * bytes),
            scales: part(self.scales, rows.start * n, rows.len() * n),
            ..self
        }
    }
}

/// Bytes of a `[rows, cols]` matrix.
pub(super) const fn matrix_bytes(rows: u64, cols: usize) -> u64 {
    rows * (cols.div_ceil(BLOCK) * (BYTES + 2)) as u64
}

/// The integers of a block.
#[inline(always)]
pub(crate) fn integers(block: &[i8; BYTES]) -> [i8; BLOCK] {
    let mut out = [0; BLOCK];
    let (low, high) = out.split_at_mut(BYTES);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(block) {
        let byte = byte.cast_unsigned();
        *low = (byte & 15).cast_signed() - OFFSET;
        *high = (byte >> 4).cast_signed() - OFFSET;
    }
    out
}

/// Scales that are tried: as many as whole vectors hold, [`steps`] of them and then none.
const SCALES: usize = 48;

/// Scale and integers of a block, which may be shorter than [`BLOCK`].
///
/// The errors of all scales are summed side by side, value after value: a compiler makes vectors of them.
#[inline(always)]
pub(super) fn encode_block(values: &[f32]) -> (f16, [i8; BLOCK]) {
    let mut numbers = [0.0f32; BLOCK];
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = if value.is_nan() {
            0.0
        } else {
            value.clamp(f32::MIN, f32::MAX)
        };
    }
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let largest = numbers.iter().copied().fold(0.0, larger);
    let (mut scales, mut inverses) = ([f16::ZERO; SCALES], [0.0; SCALES]);
    for ((scale, inverse), step) in scales.iter_mut().zip(&mut inverses).zip(steps()) {
        *scale = super::f16::nearest(largest / step);
        if scale.to_f32() != 0.0 {
            *inverse = 1.0 / scale.to_f32();
        }
    }
    let mut errors = [0.0f32; SCALES];
    for number in numbers {
        for (error, inverse) in errors.iter_mut().zip(&inverses) {
            let scaled = number * inverse;
            let distance = scaled - nearest(scaled);
            *error += distance * distance;
        }
    }
    let (mut best, mut least) = ((f16::ZERO, 0.0), f32::INFINITY);
    for ((scale, inverse), error) in scales.into_iter().zip(inverses).zip(errors) {
        // In units of the largest magnitude, whose square may be more than a number holds.
        let unit = scale.to_f32() / largest;
        let error = error * (unit * unit);
        if inverse != 0.0 && error < least {
            (best, least) = ((scale, inverse), error);
        }
    }
    let (scale, inverse) = best;
    (scale, numbers.map(|number| nearest(number * inverse) as i8))
}

/// The nearest integer that there is, halves to even.
#[inline(always)]
fn nearest(value: f32) -> f32 {
    // Between this and twice as much, numbers are integers.
    const INTEGERS: f32 = 12_582_912.0;
    value.clamp(-8.0, 7.0) + INTEGERS - INTEGERS
}

/// What the largest magnitude may become, in integers.
fn steps() -> impl Iterator<Item = f32> {
    let eighths = |range: Range<i32>| range.map(|i| i as f32 / 8.0);
    eighths(-76..-51).chain(eighths(48..65))
}

#[expect(private_interfaces, reason = "sealed")]
impl WeightFormat for Q4 {
    const FORMAT: Format = Format::Q4;

    type Matrix<'w> = Q4Matrix<'w>;

    fn matrix(bytes: &[u8], rows: usize, cols: usize) -> Q4Matrix<'_> {
        let blocks = cols.div_ceil(BLOCK);
        let split = bytes.split_at_checked(rows * blocks * BYTES);
        let (nibbles, scales) = split.unwrap_or_default();
        Q4Matrix {
            nibbles: bytes::cast(nibbles),
            scales: bytes::cast(scales),
            blocks,
        }
    }

    fn encode(out: &mut [u8], values: &[f32], cols: usize) {
        let blocks = values.len() / cols * cols.div_ceil(BLOCK);
        let (nibbles, scales) = out.split_at_mut(blocks * BYTES);
        let values = values.chunks_exact(cols).flat_map(|row| row.chunks(BLOCK));
        let nibbles = nibbles.as_chunks_mut::<BYTES>().0.iter_mut();
        let scales = scales.as_chunks_mut::<2>().0.iter_mut();
        for ((values, bytes), scale_bytes) in values.zip(nibbles).zip(scales) {
            let (scale, quants) = encode_block(values);
            *scale_bytes = scale.to_le_bytes();
            let (low, high) = quants.split_at(BYTES);
            for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
                let stored = |q: i8| (q + OFFSET).cast_unsigned();
                *byte = stored(*low) | stored(*high) << 4;
            }
        }
    }

    fn row(_isa: Isa, out: &mut [f32], matrix: Q4Matrix<'_>, row: usize) {
        let Q4Matrix {
            nibbles, scales, ..
        } = matrix.part(row..row + 1);
        let blocks = nibbles.as_chunks::<BYTES>().0.iter().zip(scales);
        for (out, (block, scale)) in out.chunks_mut(BLOCK).zip(blocks) {
            let scale = scale.to_f32();
            for (out, quant) in out.iter_mut().zip(integers(block)) {
                *out = f32::from(quant) * scale;
            }
        }
    }

    fn quantize(isa: Isa, quants: &mut [i8], scales: &mut [f32], x: &mut [f32], cols: usize) {
        isa.quantize_q4(quants, scales, x, cols);
    }

    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: Q4Matrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    ) {
        isa.matmul_q4(out, matrix.part(rows), x);
    }
}
