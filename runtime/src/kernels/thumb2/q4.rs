//! Matrix times vector in 4 bits.
//!
//! A word of weights has eight, plus 8 each: those of columns `4j` to `4j + 3` by turns with those of `4j + 16` to
//! `4j + 19`. Turned and masked it is `u(w0) + 2^24 u(w3)` or `u(w2) + 2^24 u(w1)` of four columns, as the words of
//! 8 bits are in [`super::matrix`]; so the records are the same, but for the sum to begin with, which takes away
//! `8 sum(x)`, and a last block of fewer columns, which is a whole one here.

use core::arch::naked_asm;

use super::Thumb2;
use super::float::sum;
use super::integers::{RECORD, block};
use super::matrix::{Product, Stored, Token, matmul};
use crate::kernels::{Output, scalar};
use crate::parts::{copy, part, part_mut};
use crate::quant::{Activations, BLOCK, Q4_BYTES, Q4Matrix, Q4Row, Q8Activations};

/// Whether the records of `cols` activations have room where those lie: rows of fewer than 20 columns, or of 33 to
/// 39, are too short.
const fn has_records(cols: usize) -> bool {
    cols > 0 && cols.div_ceil(BLOCK) * RECORD <= cols
}

impl Thumb2 {
    /// Rows of activations to integers, and to records at their place if those have room.
    pub(in crate::kernels) fn quantize_q4(
        self,
        quants: &mut [i8],
        scales: &mut [f32],
        x: &mut [f32],
        cols: usize,
    ) {
        if !has_records(cols) {
            return scalar::quantize(quants, scales, x, cols);
        }
        let blocks = cols.div_ceil(BLOCK).max(1);
        let quants = quants.as_chunks_mut::<BLOCK>().0.chunks_exact_mut(blocks);
        let tokens = quants.zip(scales.chunks_exact_mut(blocks));
        for (x, (quants, scales)) in x.chunks_exact_mut(cols.max(1)).zip(tokens) {
            for (i, (quants, scale)) in quants.iter_mut().zip(scales).enumerate() {
                *scale = whole_block(x, i, quants);
            }
        }
    }

    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    pub(in crate::kernels) fn matmul_q4(
        self,
        out: Output<'_>,
        w: Q4Matrix<'_>,
        x: Activations<'_>,
    ) {
        let Q8Activations {
            quants,
            scales,
            blocks,
        } = x.q8;
        let (nibbles, w_scales) = w.stored();
        let (n, bytes) = (blocks.n, blocks.n * Q4_BYTES);
        let n_rows = nibbles.len() / bytes.max(1);
        let n_tokens = quants.len() / blocks.quants.max(1);
        let cols = x.values.len() / n_tokens.max(1);
        let stored = Stored {
            quants: nibbles,
            scales: w_scales,
            block_bytes: Q4_BYTES,
            rows: rows_q4,
        };
        for t in 0..n_tokens {
            let out = part_mut(out.values, t * out.stride + out.first, n_rows);
            let token = Token {
                records: part(x.values, t * cols, cols),
                scales: part(scales, t * n, n),
                tail: 0,
            };
            let odd = |row: usize| {
                let row = Q4Row {
                    nibbles: part(nibbles, row * bytes, bytes),
                    scales: part(w_scales, row * n, n),
                };
                let quants = part(quants, t * blocks.quants, blocks.quants);
                scalar::dot_q4(row, (quants, token.scales))
            };
            matmul(out, stored, token, has_records(cols), odd);
        }
    }
}

/// Turns block `i` of `x` into its record, filled up with zeros; returns the scale.
fn whole_block(x: &mut [f32], i: usize, quants: &mut [i8; BLOCK]) -> f32 {
    let scale = if x.len() >= (i + 1) * BLOCK {
        block(x, i, BLOCK, quants)
    } else {
        let mut padded = [0.0; BLOCK];
        copy(&mut padded, x.get(i * BLOCK..).unwrap_or_default());
        let scale = block(&mut padded, 0, BLOCK, quants);
        copy(part_mut(x, i * RECORD, RECORD), &padded);
        scale
    };
    let sum: i64 = quants.iter().map(|quant| i64::from(*quant)).sum();
    let first = (1 << 23) - (sum << 27);
    let words = [first as u32, (first >> 32) as u32];
    copy(part_mut(x, i * RECORD, 2), &words.map(f32::from_bits));
    scale
}

/// Two words of weights at r9: with the words of a record at r10, and with those sixteen columns later.
macro_rules! columns {
    () => {
        "ldrd r6, r7, [r9], #8
         ldmia r10!, {{r0-r3}}
         and r12, r8, r6
         smlal r4, r5, r12, r0
         and r12, r8, r6, ror #16
         smlal r4, r5, r12, r1
         and r12, r8, r7
         smlal r4, r5, r12, r2
         and r12, r8, r7, ror #16
         smlal r4, r5, r12, r3
         ldrd r0, r1, [r10, #16]
         ldrd r2, r3, [r10, #24]
         and r12, r8, r6, ror #4
         smlal r4, r5, r12, r0
         and r12, r8, r6, ror #20
         smlal r4, r5, r12, r1
         and r12, r8, r7, ror #4
         smlal r4, r5, r12, r2
         and r12, r8, r7, ror #20
         smlal r4, r5, r12, r3
        "
    };
}

rows!(
    rows_q4,
    mask: ["0x000f", "0x0f00"],
    whole: [columns!(), columns!(), "add r10, #32",],
    tail: [],
    sign: ["sbfx r2, r6, #15, #1", "bic r6, #0x8000",],
    turn: ["eor r4, r4, r2", "sub r4, r4, r2",]
);
