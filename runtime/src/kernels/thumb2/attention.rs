//! Attention of one head in integers: the loops over keys and values.

use core::arch::naked_asm;

use super::Thumb2;
use crate::kernels::{ScoreScale, scalar};

/// Widest head whose query has room on the stack.
const WIDEST: usize = 64;

/// What the assembly of [`scores`] takes; it knows the order.
#[repr(C)]
struct Scores {
    out: *mut i32,
    keys: *const i8,
    exponents: *const i8,
    /// Behind the last exponent.
    end: *const i8,
    query: *const i32,
    /// Groups of eight integers of a key.
    eights: usize,
    multiplier: i32,
    /// By how many bits a score goes down, and its key's exponent.
    shift: i32,
}

impl Thumb2 {
    /// See [`scalar::scores`].
    pub(in crate::kernels) fn scores(
        self,
        out: &mut [i32],
        query: &[i16],
        keys: &[i8],
        exponents: &[i8],
        scale: ScoreScale,
    ) -> i32 {
        let (width, n) = (query.len(), exponents.len());
        let room = n > 0 && out.len() >= n && keys.len() >= n * width;
        if !room || width == 0 || width > WIDEST || !width.is_multiple_of(8) {
            return scalar::scores(out, query, keys, exponents, scale);
        }
        let mut wide = [0; WIDEST];
        for (wide, q) in wide.iter_mut().zip(query) {
            *wide = i32::from(*q);
        }
        let exponents = exponents.as_ptr_range();
        let scores = Scores {
            out: out.as_mut_ptr(),
            keys: keys.as_ptr(),
            exponents: exponents.start,
            end: exponents.end,
            query: wide.as_ptr(),
            eights: width / 8,
            multiplier: scale.multiplier,
            shift: scale.shift.cast_signed() + scale.largest,
        };
        // SAFETY: there are as many keys, exponents and scores, of that width; a value of `Thumb2` proves the
        // instructions.
        unsafe { self::scores(&scores) }
    }

    /// See [`scalar::weighted_sums`].
    pub(in crate::kernels) fn weighted_sums(
        self,
        out: &mut [i32],
        weights: &[i32],
        lead: u32,
        values: &[i8],
    ) {
        let (width, pairs) = (out.len(), weights.len() / 2);
        let room = pairs > 0 && values.len() >= 2 * pairs * width;
        if !room || !width.is_multiple_of(4) {
            return scalar::weighted_sums(out, weights, lead, values);
        }
        for (out, columns) in out.as_chunks_mut::<4>().0.iter_mut().zip(0..) {
            let values = values.as_ptr().wrapping_add(8 * columns);
            // SAFETY: there are two values of each column for each pair of weights; a value of `Thumb2` proves the
            // instructions.
            unsafe { sums(out, weights.as_ptr(), values, pairs, 2 * width, lead) };
        }
    }
}

/// Adds the products of a word of a key, `$k`, with four integers of the query in r2 to r5 to r9.
macro_rules! products {
    ($k:literal) => {
        concat!(
            "sxtb r8, ",
            $k,
            "\n",
            "mla r9, r8, r2, r9\n",
            "sxtb r8, ",
            $k,
            ", ror #8\n",
            "mla r9, r8, r3, r9\n",
            "sxtb r8, ",
            $k,
            ", ror #16\n",
            "mla r9, r8, r4, r9\n",
            "asr r8, ",
            $k,
            ", #24\n",
            "mla r9, r8, r5, r9\n",
        )
    };
}

/// Scores of the keys, at least one; returns the largest.
#[unsafe(naked)]
unsafe extern "C" fn scores(scores: *const Scores) -> i32 {
    naked_asm!(
        "push {{r0, r4-r11, lr}}",
        "ldrd r12, r1, [r0]",
        "ldr lr, [r0, #8]",
        "mov r0, r1",
        "mov r11, #0x80000000",
        "1:",
        "ldr r2, [sp]",
        "ldrd r1, r10, [r2, #16]",
        "movs r9, #0",
        "2:",
        "ldmia r1!, {{r2-r5}}",
        "ldmia r0!, {{r6, r7}}",
        products!("r6"),
        "ldmia r1!, {{r2-r5}}",
        products!("r7"),
        "subs r10, #1",
        "bne 2b",
        "ldr r2, [sp]",
        "ldrd r3, r4, [r2, #24]",
        "ldr r2, [r2, #12]",
        "ldrsb r6, [lr], #1",
        "smull r5, r9, r9, r3",
        "sub r4, r6", // below 256
        "asr r9, r4",
        "str r9, [r12], #4",
        "cmp r9, r11",
        "it gt",
        "movgt r11, r9",
        "cmp lr, r2",
        "bne 1b",
        "mov r0, r11",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
    )
}

/// Adds the products of a word of values of two tokens, `$v`, with their weights in r8 and r9.
macro_rules! weighted {
    ($v:literal, $a:literal, $b:literal) => {
        concat!(
            "sxtb r12, ",
            $v,
            "\n",
            "mla ",
            $a,
            ", r8, r12, ",
            $a,
            "\n",
            "sxtb r12, ",
            $v,
            ", ror #8\n",
            "mla ",
            $b,
            ", r8, r12, ",
            $b,
            "\n",
            "sxtb r12, ",
            $v,
            ", ror #16\n",
            "mla ",
            $a,
            ", r9, r12, ",
            $a,
            "\n",
            "asr r12, ",
            $v,
            ", #24\n",
            "mla ",
            $b,
            ", r9, r12, ",
            $b,
            "\n",
        )
    };
}

/// Sums of four columns over `pairs` of tokens, at least one, that lie `stride` bytes apart.
#[unsafe(naked)]
unsafe extern "C" fn sums(
    out: *mut [i32; 4],
    weights: *const i32,
    values: *const i8,
    pairs: usize,
    stride: usize,
    lead: u32,
) {
    naked_asm!(
        "push {{r0, r4-r11, lr}}",
        "mov lr, r1",
        "ldrd r0, r1, [sp, #40]", // stride, lead
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "1:",
        "ldrd r8, r9, [lr], #8",
        "ldrd r10, r11, [r2]",
        "add r2, r0",
        "lsl r8, r1",
        "add r8, #0x8000",
        "lsr r8, #16",
        "lsl r9, r1",
        "add r9, #0x8000",
        "lsr r9, #16",
        weighted!("r10", "r4", "r5"),
        weighted!("r11", "r6", "r7"),
        "subs r3, #1",
        "bne 1b",
        "pop {{r0}}",
        "stmia r0, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
    )
}
