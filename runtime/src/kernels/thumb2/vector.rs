//! Whole vectors of floats, with additions and multiplications of our own: half the instructions that a library
//! spends on numbers it cannot know anything of.

use core::arch::naked_asm;

use super::Thumb2;
use crate::math;
use crate::ops::{self, LANES};
use crate::parts::{part, part_mut};

/// Exponents, as their bits are, with which [`scaled`] multiplies.
const PLAIN_RSTD: core::ops::Range<u32> = 112..143;

impl Thumb2 {
    /// `out[i] = x[i] * rstd * weight[i]`, see [`ops::normalize`].
    pub(in crate::kernels) fn rms_norm(self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        let n = x.len();
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            let x = part(x, i, n - i);
            // SAFETY: every eighth of these elements, from the first on; a value of `Thumb2` proves the instructions.
            *lane = unsafe { square(x.as_ptr(), x.len().div_ceil(LANES)) };
        }
        let rstd = ops::rms_scale(ops::reduce(lanes), n, math::sqrt);
        let (mut i, n) = (0, n.min(out.len()).min(weight.len()));
        let plain = PLAIN_RSTD.contains(&(rstd.to_bits() >> 23));
        while i < n {
            if plain {
                let out = part_mut(out, i, n - i).as_mut_ptr();
                let (x, weight) = (part(x, i, n - i), part(weight, i, n - i));
                // SAFETY: all have `n - i` elements; a value of `Thumb2` proves the instructions.
                i += unsafe { scaled(out, x.as_ptr(), weight.as_ptr(), n - i, rstd) };
            }
            // One that is not plain stopped it.
            if let (Some(out), Some(x), Some(weight)) = (out.get_mut(i), x.get(i), weight.get(i)) {
                *out = x * rstd * weight;
            }
            i += 1;
        }
    }

    /// `y[i] += x[i]`, over the shorter of the two.
    pub(in crate::kernels) fn add(self, y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = plus(*y, *x);
        }
    }

    /// See [`ops::rope_heads`].
    pub(in crate::kernels) fn rope(self, heads: &mut [f32], table: &[f32]) {
        let (angles, _) = table.as_chunks::<2>();
        for head in heads.chunks_exact_mut(table.len().max(1)) {
            for ([x, y], [cos, sin]) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                (*x, *y) = (
                    plus(times(*x, *cos), -times(*y, *sin)),
                    plus(times(*x, *sin), times(*y, *cos)),
                );
            }
        }
    }
}

/// `a + b`.
#[inline(always)]
pub(super) fn plus(a: f32, b: f32) -> f32 {
    // SAFETY: arithmetic alone, on cores that this module is compiled for.
    unsafe { sum(a, b) }
}

/// `a * b`.
#[inline(always)]
fn times(a: f32, b: f32) -> f32 {
    // SAFETY: as above.
    unsafe { product(a, b) }
}

extern "C" fn odd_sum(a: f32, b: f32) -> f32 {
    a + b
}

extern "C" fn odd_product(a: f32, b: f32) -> f32 {
    a * b
}

/// `a + b`, where the larger has an exponent from 32 to 253 as its bits are; then the smaller one may be
/// anything. Else [`odd_sum`] adds.
#[unsafe(naked)]
unsafe extern "C" fn sum(a: f32, b: f32) -> f32 {
    naked_asm!(
        "eors r2, r0, r1",
        "bmi 20f",
        "cmp r0, r1",
        "blo 10f",
        "1:", // the larger in r0
        "lsl r3, r0, #1",
        "sub r3, #0x20000000",
        "cmp r3, #0xde000000",
        "bhs 9f",
        "lsr r2, r0, #23", // sign and exponent
        "sub r3, r2, r1, lsr #23",
        "lsl r0, r0, #8",
        "orr r0, #0x80000000",
        "lsl r1, r1, #8",
        "orr r1, #0x80000000",
        "cmp r3, #8",
        "bhi 11f",
        "lsr r1, r3",
        "2:",
        "adds r0, r0, r1",
        "bcs 12f",
        "3:", // 24 bits and 8 to be rounded off
        "and r1, r0, #0xff",
        "ubfx r0, r0, #8, #23",
        "cmp r1, #0x80",
        "beq 13f",
        "adc r0, r0, r2, lsl #23",
        "bx lr",
        "9:",
        "b {odd}",
        "10:",
        "mov r2, r0",
        "mov r0, r1",
        "mov r1, r2",
        "b 1b",
        "11:", // what is shifted out leaves a trace
        "lsr r12, r1, r3",
        "lsl r3, r12, r3",
        "cmp r3, r1",
        "it ne",
        "orrne r12, #1",
        "mov r1, r12",
        "b 2b",
        "12:",
        "and r1, r0, #1",
        "rrx r0, r0",
        "orr r0, r1",
        "add r2, #1",
        "b 3b",
        "13:",
        "and r1, r0, #1",
        "add r0, r1",
        "add r0, r0, r2, lsl #23",
        "bx lr",
        "20:", // of different signs: the larger less the other
        "eor r1, #0x80000000",
        "cmp r0, r1",
        "beq 24f",
        "blo 21f",
        "22:",
        "lsl r3, r0, #1",
        "sub r3, #0x20000000",
        "cmp r3, #0xde000000",
        "bhs 25f",
        "lsr r2, r0, #23",
        "sub r3, r2, r1, lsr #23",
        "lsl r0, r0, #8",
        "orr r0, #0x80000000",
        "lsl r1, r1, #8",
        "orr r1, #0x80000000",
        "cmp r3, #8",
        "bhi 23f",
        "lsr r1, r3",
        "26:",
        "sub r0, r1",
        "clz r3, r0",
        "lsl r0, r3",
        "sub r2, r3",
        "b 3b",
        "21:",
        "eor r2, r0, #0x80000000",
        "eor r0, r1, #0x80000000",
        "mov r1, r2",
        "b 22b",
        "23:",
        "lsr r12, r1, r3",
        "lsl r3, r12, r3",
        "cmp r3, r1",
        "it ne",
        "orrne r12, #1",
        "mov r1, r12",
        "b 26b",
        "24:", // infinities and NaN, or 0
        "lsl r3, r0, #1",
        "cmp r3, #0xff000000",
        "bhs 25f",
        "movs r0, #0",
        "bx lr",
        "25:",
        "eor r1, #0x80000000",
        "b {odd}",
        odd = sym odd_sum,
    )
}

/// `a * b`, where both have exponents up to 190 as their bits are, and these sum to 191 or more: then both are
/// normal numbers. Else [`odd_product`] multiplies.
#[unsafe(naked)]
unsafe extern "C" fn product(a: f32, b: f32) -> f32 {
    naked_asm!(
        "ubfx r2, r0, #23, #8",
        "ubfx r3, r1, #23, #8",
        "cmp r2, #190",
        "it ls",
        "cmpls r3, #190",
        "bhi 9f",
        "add r2, r3",
        "cmp r2, #191",
        "blo 9f",
        "eor r12, r0, r1",
        "lsr r12, #31",
        "sub r2, #127",
        "add r2, r2, r12, lsl #8",
        "lsl r0, r0, #8",
        "orr r0, #0x80000000",
        "bic r1, #0xff000000",
        "orr r1, #0x00800000",
        "umull r3, r0, r0, r1", // 24 bits in r0, or 23, and the rest in r3
        "cmp r0, #0x800000",
        "blo 2f",
        "1:",
        "cmp r3, #0x80000000",
        "beq 3f",
        "adc r0, r0, r2, lsl #23",
        "bx lr",
        "2:",
        "adds r3, r3, r3",
        "adc r0, r0, r0",
        "sub r2, #1",
        "b 1b",
        "3:",
        "and r3, r0, #1",
        "add r0, r3",
        "add r0, r0, r2, lsl #23",
        "bx lr",
        "9:",
        "b {odd}",
        odd = sym odd_product,
    )
}

/// Sum of the squares of `n` elements, at least one, each eight behind the one before.
#[unsafe(naked)]
unsafe extern "C" fn square(x: *const f32, n: usize) -> f32 {
    naked_asm!(
        "push {{r4-r6, lr}}",
        "mov r4, r0",
        "mov r5, r1",
        "movs r6, #0",
        "1:",
        "ldr r0, [r4], #32",
        "lsl r2, r0, #1",
        "sub r2, #0x50000000", // exponents, as their bits are, from 80 to 149
        "cmp r2, #0x46000000",
        "bhs 20f",
        "ubfx r2, r0, #23, #8",
        "lsl r2, #1",
        "sub r2, #127",
        "lsl r0, r0, #8",
        "orr r0, #0x80000000",
        "lsr r1, r0, #8",
        "umull r3, r0, r0, r1",
        "cmp r0, #0x800000",
        "blo 10f",
        "2:",
        "cmp r3, #0x80000000",
        "beq 11f",
        "adc r0, r0, r2, lsl #23",
        "3:", // the larger in r0, the other in r1
        "mov r1, r6",
        "cmp r0, r1",
        "blo 12f",
        "4:",
        "lsr r2, r0, #23",
        "sub r3, r2, r1, lsr #23",
        "lsl r0, r0, #8",
        "orr r0, #0x80000000",
        "lsl r1, r1, #8",
        "orr r1, #0x80000000",
        "cmp r3, #8",
        "bhi 13f",
        "lsr r1, r3",
        "5:",
        "adds r0, r0, r1",
        "bcs 14f",
        "6:",
        "and r1, r0, #0xff",
        "ubfx r0, r0, #8, #23",
        "cmp r1, #0x80",
        "beq 15f",
        "adc r6, r0, r2, lsl #23",
        "7:",
        "subs r5, #1",
        "bne 1b",
        "mov r0, r6",
        "pop {{r4-r6, pc}}",
        "10:",
        "adds r3, r3, r3",
        "adc r0, r0, r0",
        "sub r2, #1",
        "b 2b",
        "11:",
        "and r3, r0, #1",
        "add r0, r3",
        "add r0, r0, r2, lsl #23",
        "b 3b",
        "12:",
        "mov r1, r0",
        "mov r0, r6",
        "b 4b",
        "13:", // what is shifted out leaves a trace
        "lsr r12, r1, r3",
        "lsl r3, r12, r3",
        "cmp r3, r1",
        "it ne",
        "orrne r12, #1",
        "mov r1, r12",
        "b 5b",
        "14:",
        "and r1, r0, #1",
        "rrx r0, r0",
        "orr r0, r1",
        "add r2, #1",
        "b 6b",
        "15:",
        "and r1, r0, #1",
        "add r0, r1",
        "add r6, r0, r2, lsl #23",
        "b 7b",
        "20:", // one that is not plain
        "mov r1, r0",
        "bl {product}",
        "mov r1, r6",
        "bl {sum}",
        "mov r6, r0",
        "b 7b",
        product = sym product,
        sum = sym sum,
    )
}

/// `out[i] = x[i] * rstd * weight[i]` of up to `n` elements, at least one; returns how many before one that is not
/// plain: `x` and `weight` of magnitudes from `2^-31` to `2^33`.
#[unsafe(naked)]
unsafe extern "C" fn scaled(
    out: *mut f32,
    x: *const f32,
    weight: *const f32,
    n: usize,
    rstd: f32,
) -> usize {
    naked_asm!(
        "ldr r12, [sp]",
        "push {{r3-r9, lr}}",
        "lsr r9, r12, #23",
        "sub r9, #253",
        "lsl r4, r12, #8",
        "orr r4, #0x80000000",
        "lsr r4, #8",
        "1:",
        "ldr r5, [r1], #4",
        "ldr r6, [r2], #4",
        "lsl r7, r5, #1",
        "sub r7, #0x60000000",
        "cmp r7, #0x40000000",
        "bhs 9f",
        "lsl r7, r6, #1",
        "sub r7, #0x60000000",
        "cmp r7, #0x40000000",
        "bhs 9f",
        // Exponent and sign in r8.
        "add r8, r9, r5, lsr #23",
        "add r8, r8, r6, lsr #23",
        "lsl r5, r5, #8",
        "orr r5, #0x80000000",
        "umull r7, r5, r5, r4",
        "cmp r5, #0x800000",
        "blo 3f",
        "2:",
        "cmp r7, #0x80000000",
        "beq 4f",
        "adc r5, r5, #0",
        "5:",
        "lsl r6, r6, #8",
        "orr r6, #0x80000000",
        "umull r7, r6, r6, r5",
        "cmp r6, #0x800000",
        "blo 7f",
        "6:",
        "cmp r7, #0x80000000",
        "beq 8f",
        "adc r6, r6, r8, lsl #23",
        "10:",
        "str r6, [r0], #4",
        "subs r3, #1",
        "bne 1b",
        "9:",
        "pop {{r0}}",
        "sub r0, r0, r3",
        "pop {{r4-r9, pc}}",
        "3:",
        "adds r7, r7, r7",
        "adc r5, r5, r5",
        "sub r8, #1",
        "b 2b",
        "4:",
        "and r7, r5, #1",
        "add r5, r7",
        "b 5b",
        "7:",
        "adds r7, r7, r7",
        "adc r6, r6, r6",
        "sub r8, #1",
        "b 6b",
        "8:",
        "and r7, r6, #1",
        "add r6, r7",
        "add r6, r6, r8, lsl #23",
        "b 10b",
    )
}
