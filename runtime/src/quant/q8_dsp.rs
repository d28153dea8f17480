//! The numbers of [`super::Q8`] in the order that cores with `smlad` multiply them in.
//!
//! Rows come in groups of four (the last one filled up with zeros), and a group is a sequence of blocks of
//! 32 columns. A block is a word of four columns for each row, column by column, then the four scales. A
//! word holds two lanes of 16 bits, `256 q[1] + q[0]` and `256 q[3] + q[2]`. A last block of fewer columns is
//! filled up to eight.
//!
//! A token's activations `x` come in the same blocks: for four columns the words `(x[1], x[3])` and
//! `(256 x[0] - x[1], 256 x[2] - x[3])` in lanes of 16 bits, and the scale in `f32` behind them.

use core::ops::Range;

use half::f16;

use super::q8::{encode_block, read_block};
use super::weight_format::Blocks;
use super::{Activations, BLOCK, Format, WeightFormat};
use crate::bytes::cast;
use crate::kernels::{Isa, Output};
use crate::parts::{copy, part, part_mut};

/// Rows of a group.
pub(crate) const GROUP: usize = 4;

/// Columns that a last block is filled up to.
const COLUMNS: usize = 8;

/// [`Format::Q8Dsp`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Q8Dsp;

/// A matrix: groups of rows.
#[derive(Clone, Copy, Debug)]
pub struct DspMatrix<'w> {
    pub(crate) records: &'w [u8],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Bytes of a group of rows.
    pub(crate) group_bytes: usize,
}

/// Columns of the blocks of a row, all but the last [`BLOCK`].
fn block_widths(cols: usize) -> impl Iterator<Item = usize> {
    let starts = (0..cols).step_by(BLOCK);
    starts.map(move |start| (cols - start).min(BLOCK).next_multiple_of(COLUMNS))
}

/// Columns of a row with those that fill it up.
const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(COLUMNS)
}

/// Bytes of a group of rows.
pub(super) const fn group_bytes(cols: usize) -> u64 {
    (padded(cols) * GROUP + cols.div_ceil(BLOCK) * GROUP * size_of::<f16>()) as u64
}

/// Bytes of a token's activations.
pub(crate) const fn token_bytes(cols: usize) -> usize {
    padded(cols) * 2 + cols.div_ceil(BLOCK) * size_of::<f32>()
}

impl<'w> DspMatrix<'w> {
    pub(crate) const fn token_bytes(&self) -> usize {
        token_bytes(self.cols)
    }

    /// The matrix of these rows, which begin with a group.
    fn part(self, rows: Range<usize>) -> Self {
        let (first, n) = (rows.start / GROUP, rows.len().div_ceil(GROUP));
        Self {
            records: part(self.records, first * self.group_bytes, n * self.group_bytes),
            rows: rows.len(),
            ..self
        }
    }

    /// Words and scale of each block of row `row`.
    pub(crate) fn row(
        &self,
        row: usize,
    ) -> impl Iterator<Item = (impl Iterator<Item = [u8; 4]>, f16)> {
        let (group, row) = (row / GROUP, row % GROUP);
        let mut rest = part(self.records, group * self.group_bytes, self.group_bytes);
        block_widths(self.cols).map(move |columns| {
            let (block, later) = rest
                .split_at_checked(columns * GROUP + GROUP * 2)
                .unwrap_or_default();
            rest = later;
            let (words, scales) = block.split_at_checked(columns * GROUP).unwrap_or_default();
            let scale = scales
                .as_chunks::<2>()
                .0
                .get(row)
                .copied()
                .unwrap_or_default();
            let words = words
                .as_chunks::<4>()
                .0
                .iter()
                .skip(row)
                .step_by(GROUP)
                .copied();
            (words, f16::from_le_bytes(scale))
        })
    }
}

/// The four integers of a word: any word is one, though the second and fourth of a foreign file may be 128.
pub(crate) fn integers(word: [u8; 4]) -> [i16; 4] {
    let [a, b, c, d] = word;
    let pair = |low: u8, high: u8| {
        let lane = i16::from_le_bytes([low, high]);
        let low = i16::from(low.cast_signed());
        (low, ((i32::from(lane) - i32::from(low)) >> 8) as i16)
    };
    let ((a, b), (c, d)) = (pair(a, b), pair(c, d));
    [a, b, c, d]
}

/// The word of four integers in -127..=127.
fn word(q: [i8; 4]) -> [u8; 4] {
    let lane = |low: i8, high: i8| (256 * i16::from(high) + i16::from(low)).to_le_bytes();
    let ([a, b], [c, d]) = (lane(q[0], q[1]), lane(q[2], q[3]));
    [a, b, c, d]
}

/// Puts block `block` of row `row` of a matrix of `cols` columns at its place.
fn put(out: &mut [u8], cols: usize, row: usize, block: usize, scale: f16, quants: &[i8; BLOCK]) {
    let columns = block_widths(cols).nth(block).unwrap_or(0);
    let start = row / GROUP * group_bytes(cols) as usize + block * (BLOCK + 2) * GROUP;
    let row = row % GROUP;
    for (i, q) in quants
        .as_chunks::<4>()
        .0
        .iter()
        .take(columns / 4)
        .enumerate()
    {
        let place = part_mut(out, start + (i * GROUP + row) * 4, 4);
        copy(place, &word(*q));
    }
    let place = part_mut(out, start + columns * GROUP + row * 2, 2);
    copy(place, &scale.to_le_bytes());
}

/// Puts a `[rows, cols]` matrix that is stored as [`Format::Q8`] into the order of [`Format::Q8Dsp`], which has the
/// same numbers.
///
/// # Errors
/// The row of an integer that has no place in the other order: -128, which is never written.
///
/// # Panics
/// If `out` or `q8` have other lengths than [`Format::matrix_bytes`].
pub fn reorder(out: &mut [u8], q8: &[u8], rows: usize, cols: usize) -> Result<(), usize> {
    assert_eq!(
        q8.len() as u64,
        Format::Q8.matrix_bytes(rows, cols),
        "q8 is a matrix"
    );
    assert_eq!(
        out.len() as u64,
        Format::Q8Dsp.matrix_bytes(rows, cols),
        "out fits"
    );
    out.fill(0);
    for row in 0..rows {
        for block in 0..cols.div_ceil(BLOCK) {
            let (mut quants, mut scale) = read_block(q8, rows, cols, row, block);
            if quants.contains(&i8::MIN) {
                return Err(row);
            }
            // A zero that a negative scale made negative would stay one.
            if scale.is_sign_negative() {
                scale = -scale;
                quants = quants.map(|q| -q);
            }
            put(out, cols, row, block, scale, &quants);
        }
    }
    Ok(())
}

#[expect(private_interfaces, reason = "sealed")]
impl WeightFormat for Q8Dsp {
    const FORMAT: Format = Format::Q8Dsp;

    type Matrix<'w> = DspMatrix<'w>;

    fn matrix(records: &[u8], rows: usize, cols: usize) -> DspMatrix<'_> {
        DspMatrix {
            records,
            rows,
            cols,
            group_bytes: group_bytes(cols) as usize,
        }
    }

    fn encode(out: &mut [u8], values: &[f32], cols: usize) {
        out.fill(0);
        for (row, values) in values.chunks_exact(cols).enumerate() {
            for (block, values) in values.chunks(BLOCK).enumerate() {
                let (scale, quants) = encode_block(values);
                put(out, cols, row, block, scale, &quants);
            }
        }
    }

    fn row(isa: Isa, out: &mut [f32], matrix: DspMatrix<'_>, row: usize) {
        let start = row / GROUP * matrix.group_bytes;
        let mut rest = part(matrix.records, start, matrix.group_bytes);
        for out in out.chunks_mut(BLOCK) {
            let bytes = out.len().next_multiple_of(COLUMNS) * GROUP;
            let stored: &[f16] = cast(part(rest, bytes + row % GROUP * 2, 2));
            let mut scale = [0.0];
            isa.widen_f16(&mut scale, stored);
            let words = rest.as_chunks::<4>().0.iter().skip(row % GROUP);
            for (out, word) in out.chunks_mut(4).zip(words.step_by(GROUP)) {
                for (out, q) in out.iter_mut().zip(integers(*word)) {
                    *out = f32::from(q) * scale[0];
                }
            }
            rest = rest.get(bytes + GROUP * 2..).unwrap_or_default();
        }
    }

    fn quantize(isa: Isa, quants: &mut [i8], _scales: &mut [f32], x: &mut [f32], cols: usize) {
        isa.quantize_dsp(quants, x, cols);
    }

    fn matmul(
        isa: Isa,
        out: Output<'_>,
        matrix: DspMatrix<'_>,
        rows: Range<usize>,
        x: Activations<'_>,
    ) {
        isa.matmul_q8_dsp(out, matrix.part(rows), x.q8);
    }
}

impl Blocks {
    /// Of tokens in the order of [`Format::Q8Dsp`], scales included.
    pub(super) const fn dsp(cols: usize) -> Self {
        Self {
            n: 0,
            quants: token_bytes(cols),
        }
    }
}
