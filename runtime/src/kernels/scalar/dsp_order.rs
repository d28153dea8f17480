//! [`crate::quant::Q8Dsp`] in plain Rust: the sums of `dot_q8`, in the order of that format.

use super::super::Output;
use super::{block_product, quantize_block, sum_lanes};
use crate::parts::part_mut;
use crate::quant::{BLOCK, DspMatrix, Q8Activations, integers};

/// Every row with every token.
#[cfg_attr(kernel_dsp, inline(never))]
pub(in super::super) fn matmul_q8_dsp(out: Output<'_>, w: DspMatrix<'_>, x: Q8Activations<'_>) {
    for (t, x) in x.quants.chunks_exact(w.token_bytes().max(1)).enumerate() {
        let out = part_mut(out.values, t * out.stride + out.first, w.rows);
        for (row, out) in out.iter_mut().enumerate() {
            *out = dot(w, row, x);
        }
    }
}

/// Dot product of a row with one token's activations.
fn dot(w: DspMatrix<'_>, row: usize, x: &[i8]) -> f32 {
    let widths = (0..w.cols)
        .step_by(BLOCK)
        .map(|start| (w.cols - start).min(BLOCK));
    let mut rest = x;
    sum_lanes(widths.zip(w.row(row)).map(|(width, (words, scale))| {
        let (records, later) = rest
            .split_at_checked(2 * width.next_multiple_of(8))
            .unwrap_or_default();
        let (x_scale, later) = later.split_first_chunk().unwrap_or((&[0; 4], &[]));
        rest = later;
        let sum: i32 = words
            .zip(records.as_chunks().0)
            .map(|(word, record)| {
                let [a, b, c, d] = integers(word).map(i32::from);
                let [high, second_high, low, second_low] = lanes_of(*record);
                (256 * b + a) * high + (256 * d + c) * second_high + a * low + c * second_low
            })
            .sum();
        let x_scale = f32::from_le_bytes(x_scale.map(i8::cast_unsigned));
        block_product(sum >> 8, scale, x_scale)
    }))
}

fn lanes_of(record: [i8; 8]) -> [i32; 4] {
    let [a, b, c, d, e, f, g, h] = record.map(i8::cast_unsigned);
    [[a, b], [c, d], [e, f], [g, h]].map(|lane| i32::from(i16::from_le_bytes(lane)))
}

/// Rows of activations to records.
#[cfg_attr(kernel_dsp, inline(never))]
pub(in super::super) fn quantize_dsp(records: &mut [i8], x: &[f32], cols: usize) {
    let mut rest = records;
    for row in x.chunks_exact(cols.max(1)) {
        for block in row.chunks(BLOCK) {
            let bytes = 2 * block.len().next_multiple_of(8) + 4;
            let (record, later) = rest.split_at_mut_checked(bytes).unwrap_or_default();
            pack(record, block);
            rest = later;
        }
    }
}

/// A block of activations to its record.
fn pack(record: &mut [i8], x: &[f32]) {
    let mut quants = [0; BLOCK];
    let scale = quantize_block(&mut quants, x);
    let (words, place) = record
        .split_at_mut_checked(record.len().saturating_sub(4))
        .unwrap_or_default();
    for (out, q) in words
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(quants.as_chunks::<4>().0)
    {
        let [a, b, c, d] = q.map(i16::from);
        let lanes = [b, d, 256 * a - b, 256 * c - d].map(i16::to_le_bytes);
        for (out, byte) in out.iter_mut().zip(lanes.as_flattened()) {
            *out = byte.cast_signed();
        }
    }
    for (out, byte) in place.iter_mut().zip(scale.to_le_bytes()) {
        *out = byte.cast_signed();
    }
}
