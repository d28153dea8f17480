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
struct Product {
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

impl Thumb2 {
    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
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
        for t in 0..n_tokens {
            let out = part_mut(out.values, t * out.stride + out.first, n_rows);
            let (records, scales) = (part(x.values, t * cols, cols), part(scales, t * n, n));
            let plain = has_records(cols) && scales.iter().all(|scale| is_plain(*scale));
            let mut done = 0;
            while done < out.len() {
                if plain {
                    let rest = part_mut(out, done, n_rows - done);
                    done += products(rest, w.part(done..n_rows), records, cols);
                }
                // A scale of the weights that is not plain stopped it.
                if let Some(out) = out.get_mut(done) {
                    let row = Q8Row {
                        quants: part(w.quants, done * bytes, bytes),
                        scales: part(w.scales, done * n, n),
                    };
                    *out = scalar::dot_q8(row, (part(quants, t * bytes, bytes), scales));
                }
                done += 1;
            }
        }
    }
}

/// Whether sums of products with a scale of activations are normal numbers or 0.
fn is_plain(scale: f32) -> bool {
    let bits = scale.to_bits();
    bits == 0 || PLAIN_EXPONENTS.contains(&(bits >> 23))
}

/// Products of rows from the first on, until a scale is not plain; returns how many.
fn products(out: &mut [f32], w: Q8Matrix<'_>, records: &[f32], cols: usize) -> usize {
    let (whole, tail) = (cols / BLOCK, cols % BLOCK / 4);
    let blocks = cols.div_ceil(BLOCK);
    let mut product = Product {
        out: out.as_mut_ptr(),
        rows: out.len(),
        x: records.as_ptr(),
        whole,
        n: blocks,
        tail,
        skip: BLOCK - 4 * tail,
        w: w.quants.as_ptr(),
        w_scales: w.scales.as_ptr(),
    };
    if blocks <= LANES {
        // SAFETY: `out`, `w` and `records` hold that many rows and blocks; a value of `Thumb2` proves the
        // instructions.
        return out.len() - unsafe { rows(&product) };
    }
    (product.rows, product.n) = (1, APART);
    for (done, out) in out.iter_mut().enumerate() {
        let mut lanes = [0.0; LANES];
        for first in (0..blocks).step_by(LANES) {
            let (block, n) = (done * blocks + first, (blocks - first).min(LANES));
            let mut some = [0.0; LANES];
            product.out = some.as_mut_ptr();
            product.x = records.as_ptr().wrapping_add(first * RECORD);
            product.tail = if first + n == blocks { tail } else { 0 };
            product.whole = n - product.tail.min(1);
            product.w = part(w.quants, block * BLOCK, n * BLOCK).as_ptr();
            product.w_scales = part(w.scales, block, n).as_ptr();
            // SAFETY: as above, of a part of one row.
            if unsafe { rows(&product) } > 0 {
                return done;
            }
            for (lane, product) in lanes.iter_mut().zip(some) {
                *lane = match first {
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

/// Adds product `$from` of a row to product `$to`; r7 points to the first, the others lie below.
macro_rules! fold {
    ($to:literal, $from:literal) => {
        concat!(
            "ldr r0, [r7, #-4*",
            $to,
            "]\n",
            "ldr r1, [r7, #-4*",
            $from,
            "]\n",
            "bl {sum}\n",
            "str r0, [r7, #-4*",
            $to,
            "]\n",
        )
    };
}

/// Products of the rows from the first on; returns how many rows are left where a scale of a weight is
/// negative, or not a normal number.
///
/// On the stack lie the products of a row, the last one of whole blocks in the second word, then what
/// [`Product`] begins with.
#[unsafe(naked)]
unsafe extern "C" fn rows(product: *const Product) -> usize {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldmia r0, {{r1-r7, r9, r11}}",
        "sub sp, #76",
        "add r8, sp, r4, lsl #2", // where the first product is put
        "strd r1, r2, [sp, #36]", // out, rows
        "strd r3, r4, [sp, #44]", // x, whole
        "strd r5, r8, [sp, #52]", // n
        "strd r6, r7, [sp, #60]", // tail, skip
        "movw r8, #0x00ff",
        "movt r8, #0xff00",
        "mov r10, r3",
        "movs lr, r4",
        "beq 6f",
        "b 2f",
        "1:", // a row
        "ldrd r10, lr, [sp, #44]",
        "2:", // a whole block
        "ldmia r10!, {{r4, r5}}",
        columns!(),
        columns!(),
        columns!(),
        columns!(),
        "3:", // The scale of the weights, less what makes its exponent begin with 0.
        "ldrh r6, [r11], #2",
        "ldmia r10!, {{r0, r1}}", // mantissa and exponent of the other
        "sub r6, #0x400",
        "cmp r6, #0x7800",
        "bhs 40f",
        // The sum, with eight zeros behind it.
        "lsr r4, r4, #24",
        "orr r4, r4, r5, lsl #8",
        "lsls r4, r4, #8",
        "beq 30f",
        // Exponent, and above it the sign.
        "add r1, r1, r6, lsr #10",
        "itt mi",
        "rsbmi r4, #0",
        "addmi r1, #256",
        // Scales: their product has 24 bits in r3, or 23, and the rest in r2.
        "lsl r6, r6, #21",
        "orr r6, #0x80000000",
        "umull r2, r3, r6, r0",
        "cmp r3, #0x800000",
        "blo 31f",
        "4:",
        "cmp r2, #0x80000000",
        "beq 32f",
        "adc r3, r3, #0",
        "5:",
        // The sum, moved to the top, times that.
        "clz r12, r4",
        "lsl r4, r4, r12",
        "sub r1, r12",
        "umull r2, r3, r4, r3",
        "cmp r3, #0x800000",
        "blo 33f",
        "7:",
        "cmp r2, #0x80000000",
        "beq 34f",
        "adc r0, r3, r1, lsl #23",
        "8:",
        "str r0, [sp, lr, lsl #2]",
        "subs lr, #1",
        "bgt 2b",
        "bmi 9f",
        "6:", // the last block, if it is shorter
        "ldrd r7, r12, [sp, #60]",
        "cbz r7, 9f",
        "ldmia r10!, {{r4, r5}}",
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
        "b 3b",
        "9:", // the products of a row
        "ldrd r6, r7, [sp, #52]",
        "cmp r6, #2",
        "beq 22f",
        "blo 21f",
        "cmp r6, #4",
        "beq 24f",
        "blo 23f",
        "cmp r6, #6",
        "beq 26f",
        "blo 25f",
        "cmp r6, #8",
        "beq 28f",
        "bhi 29f",
        "b 27f",
        "28:",
        fold!(3, 7),
        "27:",
        fold!(2, 6),
        "26:",
        fold!(1, 5),
        "25:",
        fold!(0, 4),
        "24:",
        fold!(1, 3),
        "23:",
        fold!(0, 2),
        "22:",
        "ldrd r0, r1, [r7, #-4]",
        "bl {sum}",
        "20:",
        "ldrd r1, r2, [sp, #36]",
        "str r0, [r1], #4",
        "subs r2, #1",
        "strd r1, r2, [sp, #36]",
        "bne 1b",
        "11:",
        "ldr r0, [sp, #40]",
        "add sp, #76",
        "pop {{r4-r11, pc}}",
        "21:",
        "ldr r0, [r7]",
        "b 20b",
        "29:", // each of them to `out`
        "ldrd r1, r2, [sp, #44]",
        "ldr r3, [sp, #60]",
        "ldr r1, [sp, #36]",
        "cmp r3, #1",
        "it hs",
        "addhs r2, #1",
        "12:",
        "ldr r0, [r7], #-4",
        "str r0, [r1], #4",
        "subs r2, #1",
        "bne 12b",
        "movs r0, #0",
        "str r0, [sp, #40]",
        "b 11b",
        // What is rare, or every other time.
        "30:",
        "movs r0, #0",
        "b 8b",
        "31:",
        "adds r2, r2, r2",
        "adc r3, r3, r3",
        "sub r1, #1",
        "b 4b",
        "32:",
        "and r2, r3, #1",
        "add r3, r2",
        "b 5b",
        "33:",
        "adds r2, r2, r2",
        "adc r3, r3, r3",
        "sub r1, #1",
        "b 7b",
        "34:",
        "and r2, r3, #1",
        "add r3, r2",
        "add r0, r3, r1, lsl #23",
        "b 8b",
        "40:", // not plain
        "b 11b",
        sum = sym sum,
    )
}
