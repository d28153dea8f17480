//! Matrix times vector in 8 bits.
//!
//! A word of four weights becomes `u(w0) + 2^24 w3` and `u(w2) + 2^24 w1`, where `u(w) = w + 128`, with an
//! exclusive or and two masks. Activations are prepared once as `x3 + 2^24 x0` and `x1 + 2^24 x2`. In a product
//! of 64 bits the field from bit 24 on is `u(w0) x0 + w3 x3`, or `u(w2) x2 + w1 x1`: its sums over a block
//! keep within 21 bits, those of the field below within 20, and the field above is not wanted. So an
//! instruction is two multiply-adds (it takes a Cortex-M3 up to 7 cycles), and with loads and masks 12 are eight.
//!
//! A block of activations is a record: the sum to begin with, which takes away `128 (x0 + x2)` and makes
//! the field below positive; two words for every four columns; mantissa and exponent of the scale. Records
//! lie where the activations were.

use core::arch::naked_asm;

use half::f16;

use super::Thumb2;
use super::float::{plus, sum};
use super::integers::{RECORD, has_records};
use crate::kernels::{Output, scalar};
use crate::ops::LANES;
use crate::parts::{part, part_mut};
use crate::quant::{Activations, BLOCK, Q8Activations, Q8Matrix, Q8Row};

/// Exponents, as their bits are, of scales of activations with which sums of products are normal numbers or 0.
const PLAIN_EXPONENTS: core::ops::Range<u32> = 64..182;

/// What the assembly takes; it knows the order.
#[repr(C)]
pub(super) struct Product {
    /// `[rows]`, or the products of one row.
    out: *mut f32,
    rows: usize,
    /// Records of one token.
    x: *const f32,
    /// Whole blocks of a row, up to 8.
    whole: usize,
    /// What becomes of the products of a row: 1 to 8 of them are added up, [`APART`] are put to `out`.
    n: usize,
    /// Words of a last block that is shorter.
    tail: usize,
    /// Bytes from there to the next row.
    skip: usize,
    w: *const i8,
    w_scales: *const f16,
}

/// See [`Product::n`].
const APART: usize = 9;

/// A matrix, and the assembly for it.
#[derive(Clone, Copy)]
pub(super) struct Stored<'w> {
    pub(super) quants: &'w [i8],
    pub(super) scales: &'w [f16],
    /// Bytes of the integers of a block.
    pub(super) block_bytes: usize,
    /// [`rows_q8`], or the same for other integers.
    pub(super) rows: unsafe extern "C" fn(*const Product) -> usize,
}

/// One token's activations.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    /// Records, or what else lies where the activations were.
    pub(super) records: &'a [f32],
    pub(super) scales: &'a [f32],
    /// Words of weights in a last block that is shorter.
    pub(super) tail: usize,
}

impl Thumb2 {
    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    #[inline(never)]
    pub(in crate::kernels) fn matmul_q8(
        self,
        out: Output<'_>,
        w: Q8Matrix<'_>,
        x: Activations<'_>,
    ) {
        let Q8Activations {
            quants,
            scales,
            blocks,
        } = x.q8;
        let (n, bytes) = (blocks.n, blocks.quants.max(1));
        let (n_rows, n_tokens) = (w.quants.len() / bytes, quants.len() / bytes);
        let cols = x.values.len() / n_tokens.max(1);
        let stored = Stored {
            quants: w.quants,
            scales: w.scales,
            block_bytes: BLOCK,
            rows: rows_q8,
        };
        for t in 0..n_tokens {
            let out = part_mut(out.values, t * out.stride + out.first, n_rows);
            let token = Token {
                records: part(x.values, t * cols, cols),
                scales: part(scales, t * n, n),
                tail: cols % BLOCK / 4,
            };
            let odd = |row: usize| {
                let row = Q8Row {
                    quants: part(w.quants, row * bytes, bytes),
                    scales: part(w.scales, row * n, n),
                };
                scalar::dot_q8(row, (part(quants, t * bytes, bytes), token.scales))
            };
            matmul(out, stored, token, has_records(cols), odd);
        }
    }
}

/// All rows with a token: from its records if it has some and all scales are plain, and by `odd` what is not plain.
pub(super) fn matmul(
    out: &mut [f32],
    w: Stored<'_>,
    x: Token<'_>,
    has_records: bool,
    odd: impl Fn(usize) -> f32,
) {
    let plain = has_records && x.scales.iter().all(|scale| is_plain(*scale));
    let mut done = 0;
    while done < out.len() {
        if plain {
            done += products(out, done, w, x);
        }
        // A scale of the weights that is not plain stopped it.
        if let Some(out) = out.get_mut(done) {
            *out = odd(done);
        }
        done += 1;
    }
}

/// Whether sums of products with a scale of activations are normal numbers or 0.
fn is_plain(scale: f32) -> bool {
    let bits = scale.to_bits();
    bits == 0 || PLAIN_EXPONENTS.contains(&(bits >> 23))
}

/// Products of rows from `first` on, until a scale is not plain; returns how many.
fn products(out: &mut [f32], first: usize, w: Stored<'_>, x: Token<'_>) -> usize {
    let (blocks, tail) = (x.scales.len(), x.tail);
    let quants = |block: usize, n: usize| {
        let bytes = w.block_bytes;
        part(w.quants, block * bytes, n * bytes).as_ptr()
    };
    let out = out.get_mut(first..).unwrap_or_default();
    let mut product = Product {
        out: out.as_mut_ptr(),
        rows: out.len(),
        x: x.records.as_ptr(),
        whole: blocks - tail.min(1),
        n: blocks,
        tail,
        skip: BLOCK - 4 * tail,
        w: quants(first * blocks, out.len() * blocks),
        w_scales: part(w.scales, first * blocks, out.len() * blocks).as_ptr(),
    };
    if blocks <= LANES {
        // SAFETY: `out`, `w` and the records hold that many rows and blocks; a value of `Thumb2` proves the
        // instructions.
        return out.len() - unsafe { (w.rows)(&product) };
    }
    (product.rows, product.n) = (1, APART);
    for (done, out) in out.iter_mut().enumerate() {
        let mut lanes = [0.0; LANES];
        for start in (0..blocks).step_by(LANES) {
            let block = (first + done) * blocks + start;
            let n = (blocks - start).min(LANES);
            let mut some = [0.0; LANES];
            product.out = some.as_mut_ptr();
            product.x = x.records.as_ptr().wrapping_add(start * RECORD);
            product.tail = if start + n == blocks { tail } else { 0 };
            product.whole = n - product.tail.min(1);
            product.w = quants(block, n);
            product.w_scales = part(w.scales, block, n).as_ptr();
            // SAFETY: as above, of a part of one row.
            if unsafe { (w.rows)(&product) } > 0 {
                return done;
            }
            for (lane, product) in lanes.iter_mut().zip(some) {
                *lane = match start {
                    0 => product,
                    _ => plus(*lane, product),
                };
            }
        }
        // The tree of `ops::reduce`.
        let [a, b, c, d, e, f, g, h] = lanes;
        let (even, odd) = (plus(plus(a, e), plus(c, g)), plus(plus(b, f), plus(d, h)));
        *out = plus(even, odd);
    }
    out.len()
}

/// Eight columns: weights at r9, a record at r10, the mask in r8, the sum in r4 and r5.
macro_rules! columns {
    () => {
        "ldrd r6, r7, [r9], #8
         ldmia r10!, {{r0-r3}}
         eor r6, r6, #0x00800080
         and r12, r8, r6
         smlal r4, r5, r12, r0
         and r12, r8, r6, ror #16
         smlal r4, r5, r12, r1
         eor r7, r7, #0x00800080
         and r12, r8, r7
         smlal r4, r5, r12, r2
         and r12, r8, r7, ror #16
         smlal r4, r5, r12, r3
        "
    };
}

rows!(
    rows_q8,
    mask: ["0x00ff", "0xff00"],
    whole: [columns!(), columns!(), columns!(), columns!(),],
    tail: [
        "10:",
        "ldr r6, [r9], #4",
        "ldmia r10!, {{r0, r1}}",
        "eor r6, r6, #0x00800080",
        "and r2, r8, r6",
        "smlal r4, r5, r2, r0",
        "and r2, r8, r6, ror #16",
        "smlal r4, r5, r2, r1",
        "subs r7, #1",
        "bne 10b",
        "add r9, r12",
    ],
    sign: [],
    turn: []
);
