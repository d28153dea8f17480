//! Whole vectors of floats.

use core::arch::naked_asm;

use super::Thumb2;
use super::float::{plus, product, sum, times};
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
        let rstd = ops::rms_scale(ops::reduce(lanes), n);
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
