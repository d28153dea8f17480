//! Matrix times vector in 4 bits.
//!
//! A word `w` of a block has eight weights `u[0]`, `u[1]` ... `u[7]`, each plus 8, from its lowest bits on.
//! `smlad` multiplies lanes of 16 bits, so of each product only the lower 16 bits are kept, which a sum of 32
//! products needs: it is at most 32 * 8 * 127. Modulo `2^16` the lower lane of `w >> 4 k` is `u[k] + 16 (w >> 4 (k +
//! 1))`, and the upper one the same of `u[k + 4]`. So
//!
//! `sum(u[i] x[i]) = sum(lower(w >> 4 k) y[k] + upper(w >> 4 k) y[k + 4])`, `y[i] = x[i] - 16 x[i - 1]`, `x[-1] = 0`
//!
//! for `k` from 0 to 3: no weight is masked, and 7 instructions are eight multiply-adds.
//!
//! A block of activations is a record of 18 words: its scale; `-8 sum(x)`, which takes away what was added to
//! the weights; and for each word of weights the four of `(y[k], y[k + 4])`. Records lie where the activations
//! were.

mod activations;

use core::arch::naked_asm;

use half::f16;

use self::activations::{RECORD, has_records};
use super::Dsp;
use crate::kernels::{Output, scalar};
use crate::parts::{part, part_mut};
use crate::quant::{Activations, Q4_BYTES, Q4Matrix, Q8Activations};

/// Rows that [`two_blocks`] takes together.
const GROUP: usize = 4;

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Product {
    /// `[rows]`
    out: *mut f32,
    /// `[rows, blocks, Q4_BYTES]`
    w: *const i8,
    /// `[rows, blocks]`
    w_scales: *const f16,
    /// Records of one token, `[blocks, RECORD]`.
    x: *const f32,
    /// At least one; of [`two_blocks`] a multiple of [`GROUP`].
    rows: usize,
    /// Blocks of a row, at least one.
    blocks: usize,
}

impl Dsp {
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
        let n_rows = w.stored().1.len() / blocks.n.max(1);
        let n_tokens = quants.len() / blocks.quants.max(1);
        let cols = x.values.len() / n_tokens.max(1);
        for t in 0..n_tokens {
            let out = part_mut(out.values, t * out.stride + out.first, n_rows);
            if has_records(cols) {
                products(out, w, part(x.values, t * cols, cols), blocks.n);
                continue;
            }
            let quants = part(quants, t * blocks.quants, blocks.quants);
            let scales = part(scales, t * blocks.n, blocks.n);
            for (out, row) in out.iter_mut().zip(w.rows()) {
                *out = scalar::dot_q4(row, (quants, scales));
            }
        }
    }
}

/// Products of all rows with one token.
fn products(out: &mut [f32], w: Q4Matrix<'_>, records: &[f32], n: usize) {
    let (nibbles, scales) = w.stored();
    let whole = nibbles.len() >= out.len() * n * Q4_BYTES && scales.len() >= out.len() * n;
    if n == 0 || !whole || records.len() < n * RECORD {
        return;
    }
    let grouped = if n == 2 { out.len() / GROUP * GROUP } else { 0 };
    let (groups, rest) = out.split_at_mut_checked(grouped).unwrap_or_default();
    let mut product = Product {
        out: groups.as_mut_ptr(),
        w: nibbles.as_ptr(),
        w_scales: scales.as_ptr(),
        x: records.as_ptr(),
        rows: grouped,
        blocks: n,
    };
    if grouped > 0 {
        // SAFETY: there are so many rows of two blocks, in whole groups, and records, as was checked above; a value of
        // `Dsp`, which callers have, proves the instructions.
        unsafe { two_blocks(&product) };
    }
    if rest.is_empty() {
        return;
    }
    product.out = rest.as_mut_ptr();
    product.w = nibbles.as_ptr().wrapping_add(grouped * n * Q4_BYTES);
    product.w_scales = scales.as_ptr().wrapping_add(grouped * n);
    product.rows = rest.len();
    // SAFETY: as above, of rows of any number of blocks.
    unsafe { blocks(&product) }
}

/// A word of weights in `$w`, which is used up, and four words of activations: begins with `$from` and adds to `$sum`.
macro_rules! word {
    ($sum:literal, $from:literal, $w:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            word!(@add $sum, $from, $w, $a),
            word!(@shift $w),
            word!(@add $sum, $sum, $w, $b),
            word!(@shift $w),
            word!(@add $sum, $sum, $w, $c),
            word!(@shift $w),
            word!(@add $sum, $sum, $w, $d),
        )
    };
    (@add $sum:literal, $from:literal, $w:literal, $x:literal) => {
        concat!("smlad ", $sum, ", ", $w, ", ", $x, ", ", $from, "\n")
    };
    (@shift $w:literal) => {
        concat!("lsrs ", $w, ", ", $w, ", #4\n")
    };
}

/// Two words of weights in `$w0` and `$w1` with the activations in r4-r11.
macro_rules! half {
    ($sum:literal, $from:literal, $w0:literal, $w1:literal) => {
        concat!(
            "vmov r2, r3, ",
            $w0,
            ", ",
            $w1,
            "\n",
            word!($sum, $from, "r2", "r4", "r5", "r6", "r7"),
            word!($sum, $sum, "r3", "r8", "r9", "r10", "r11"),
        )
    };
}

/// A block of two rows, with a record at r12: their sums go to `$sums`.
macro_rules! block {
    ($a0:literal, $a1:literal, $a2:literal, $a3:literal, $b0:literal, $b1:literal, $b2:literal, $b3:literal, $sums:literal) => {
        concat!(
            "ldmia r12!, {{r0, r1, r4-r11}}\n", // the scale is read later
            half!("r0", "r1", $a0, $a1),
            half!("r1", "r1", $b0, $b1),
            "ldmia r12!, {{r4-r11}}\n",
            half!("r0", "r0", $a2, $a3),
            half!("r1", "r1", $b2, $b3),
            "vmov ",
            $sums,
            ", r0, r1\n",
        )
    };
}

/// Rows of exactly two blocks, in groups of four: s0-s31 hold the weights of a group.
///
/// Reads and writes what [`Product`] says, words at a time: all pointers are multiples of 4, as two scales are one.
#[unsafe(naked)]
unsafe extern "C" fn two_blocks(product: *const Product) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "vpush {{s16-s31}}",
        "sub sp, #28",
        "ldrd r4, lr, [r0]",
        "ldrd r5, r12, [r0, #8]",
        "ldr r6, [r0, #16]",
        "movs r0, #0",
        "movs r1, #0",
        "movs r2, #0",
        "movs r3, #0",
        "stmia sp, {{r0-r6}}", // four zeros, out, scales, rows
        "1:",
        "vldmia lr!, {{s0-s31}}",
        block!("s0", "s1", "s2", "s3", "s8", "s9", "s10", "s11", "s0, s1"),
        block!("s4", "s5", "s6", "s7", "s12", "s13", "s14", "s15", "s2, s3"),
        "sub r12, #144",
        block!(
            "s16", "s17", "s18", "s19", "s24", "s25", "s26", "s27", "s4, s5"
        ),
        block!(
            "s20", "s21", "s22", "s23", "s28", "s29", "s30", "s31", "s6, s7"
        ),
        "sub r12, #144",
        // Scales of a row are one word.
        "add r3, sp, #16",
        "ldmia r3, {{r0-r2}}",
        "vldmia r1!, {{s8-s11}}",
        "vldr s12, [r12]",
        "vldr s13, [r12, #72]",
        "vcvtb.f32.f16 s16, s8",
        "vcvtt.f32.f16 s17, s8",
        "vcvtb.f32.f16 s18, s9",
        "vcvtt.f32.f16 s19, s9",
        "vcvtb.f32.f16 s20, s10",
        "vcvtt.f32.f16 s21, s10",
        "vcvtb.f32.f16 s22, s11",
        "vcvtt.f32.f16 s23, s11",
        "vmul.f32 s16, s16, s12",
        "vmul.f32 s17, s17, s13",
        "vmul.f32 s18, s18, s12",
        "vmul.f32 s19, s19, s13",
        "vmul.f32 s20, s20, s12",
        "vmul.f32 s21, s21, s13",
        "vmul.f32 s22, s22, s12",
        "vmul.f32 s23, s23, s13",
        "vcvt.f32.s16 s0, s0, #0",
        "vcvt.f32.s16 s1, s1, #0",
        "vcvt.f32.s16 s2, s2, #0",
        "vcvt.f32.s16 s3, s3, #0",
        "vcvt.f32.s16 s4, s4, #0",
        "vcvt.f32.s16 s5, s5, #0",
        "vcvt.f32.s16 s6, s6, #0",
        "vcvt.f32.s16 s7, s7, #0",
        "vldmia sp, {{s24-s27}}", // lanes begin at 0: no sum is -0
        "vmla.f32 s24, s0, s16",  // multiply, round, add: not fused
        "vmla.f32 s25, s1, s18",
        "vmla.f32 s26, s4, s20",
        "vmla.f32 s27, s5, s22",
        "vmla.f32 s24, s2, s17",
        "vmla.f32 s25, s3, s19",
        "vmla.f32 s26, s6, s21",
        "vmla.f32 s27, s7, s23",
        "vstmia r0!, {{s24-s27}}",
        "subs r2, #4",
        "stmia r3, {{r0-r2}}",
        "bne.w 1b",
        "add sp, #28",
        "vpop {{s16-s31}}",
        "pop {{r4-r11, pc}}",
    )
}

/// A block of a row, with weights at lr, their scales at r11 and a record at r12: its sum in s2, the product of the
/// scales in s3.
macro_rules! row_block {
    () => {
        concat!(
            "ldmia lr!, {{r0-r3}}\n",
            "vldmia r12!, {{s1}}\n",
            "ldmia r12!, {{r4-r8}}\n",
            word!("r4", "r4", "r0", "r5", "r6", "r7", "r8"),
            "ldmia r12!, {{r5-r8}}\n",
            word!("r4", "r4", "r1", "r5", "r6", "r7", "r8"),
            "ldmia r12!, {{r5-r8}}\n",
            word!("r4", "r4", "r2", "r5", "r6", "r7", "r8"),
            "ldmia r12!, {{r5-r8}}\n",
            word!("r4", "r4", "r3", "r5", "r6", "r7", "r8"),
            "ldrh r0, [r11], #2\n",
            "vmov s2, s3, r4, r0\n",
            "vcvtb.f32.f16 s3, s3\n",
            "vcvt.f32.s16 s2, s2, #0\n",
            "vmul.f32 s3, s3, s1\n",
        )
    };
}

/// Rows of any number of blocks: each product goes to its lane, and the lanes are added at the end of a row.
///
/// Reads and writes what [`Product`] says: weights and activations words at a time, whose pointers are multiples
/// of 4, and scales one by one.
#[unsafe(naked)]
unsafe extern "C" fn blocks(product: *const Product) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "sub sp, #56",
        "ldrd r1, lr, [r0]",
        "ldrd r11, r3, [r0, #8]",
        "ldrd r2, r5, [r0, #16]",
        "mov r4, r5",
        "cmp r4, #8",
        "it hi",
        "movhi r4, #8",
        "subs r5, r5, r4",
        "stmia sp, {{r1-r5}}", // out, rows, x, the first eight blocks, those after them; 20 lanes, 52 those left
        "movs r0, #0",
        "vmov s8, s9, r0, r0",
        "vmov s10, s11, r0, r0",
        "vmov s12, s13, r0, r0",
        "vmov s14, s15, r0, r0",
        "add r10, sp, #20",
        "vstmia r10, {{s8-s15}}",
        "1:", // a row
        "ldrd r12, r9, [sp, #8]",
        "add r10, sp, #20",
        "2:", // a block whose lane is empty
        row_block!(),
        "vmul.f32 s2, s2, s3",
        "vstmia r10!, {{s2}}",
        "subs r9, #1",
        "bne 2b",
        "ldr r9, [sp, #16]",
        "cmp r9, #0",
        "bne 5f",
        "3:", // ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
        "add r10, sp, #20",
        "vldmia r10, {{s0-s7}}",
        "vadd.f32 s0, s0, s4",
        "vadd.f32 s1, s1, s5",
        "vadd.f32 s2, s2, s6",
        "vadd.f32 s3, s3, s7",
        "vadd.f32 s0, s0, s2",
        "vadd.f32 s1, s1, s3",
        "vadd.f32 s0, s0, s1",
        "vadd.f32 s0, s0, s8", // lanes begin at 0: no sum is -0
        "ldrd r0, r1, [sp]",
        "vstmia r0!, {{s0}}",
        "subs r1, #1",
        "strd r0, r1, [sp]",
        "bne.w 1b",
        "add sp, #56",
        "pop {{r4-r11, pc}}",
        "5:", // up to eight blocks whose lanes hold sums
        "add r10, sp, #20",
        "subs r0, r9, #8",
        "it hi",
        "movhi r9, #8",
        "str r0, [sp, #52]",
        "6:",
        row_block!(),
        "vldr s0, [r10]",
        "vmla.f32 s0, s2, s3",
        "vstmia r10!, {{s0}}",
        "subs r9, #1",
        "bne 6b",
        "ldr r9, [sp, #52]",
        "cmp r9, #0",
        "bgt 5b",
        "b 3b",
    )
}
