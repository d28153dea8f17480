//! Swiglu.

use core::arch::naked_asm;

use super::Thumb2;
use crate::kernels::scalar::{self, SIGMOID, Sigmoid};
use crate::parts::{part, part_mut};

impl Thumb2 {
    /// See [`scalar::swiglu_q16`].
    pub(in crate::kernels) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        let (mut i, n) = (0, gates.len().min(ups.len()));
        while i < n {
            let (x, y) = (part_mut(gates, i, n - i), part(ups, i, n - i));
            // SAFETY: both have `n - i` elements; a value of `Thumb2` proves the instructions.
            i += unsafe { swiglu(x.as_mut_ptr(), y.as_ptr(), n - i, &SIGMOID) };
            // A pair that is not plain stopped it.
            scalar::swiglu_q16(part_mut(gates, i, 1), part(ups, i, 1));
            i += 1;
        }
    }
}

/// Takes up to `n` pairs, at least one; returns how many before one that is not plain: a gate of magnitude
/// `2^-31` to `2^5` whose sigmoid is not 0, the other value `2^-63` to `2^65`.
#[unsafe(naked)]
unsafe extern "C" fn swiglu(
    gates: *mut f32,
    ups: *const f32,
    n: usize,
    constants: *const Sigmoid,
) -> usize {
    naked_asm!(
        "push {{r2, r4-r11, lr}}",
        "ldmia r3, {{r8-r11}}", // log2(e), cubic, square, linear
        "mov lr, #0x80000000",
        "1:",
        "ldr r3, [r0]",
        "ldr r4, [r1], #4",
        "lsl r6, r3, #1",
        "sub r6, #0x60000000", // exponents from 96 to 131
        "cmp r6, #0x24000000",
        "bhs 9f",
        "lsl r6, r4, #1",
        "sub r6, #0x40000000", // from 64 to 191
        "cmp r6, #0x80000000",
        "bhs 9f",
        // Exponent of the result in r5, with the sign above it.
        "lsr r5, r3, #23",
        "lsl r6, r3, #8",
        "orr r6, #0x80000000",
        "rsb r12, r5, #132",
        "lsr r12, r6, r12", // the magnitude, 26 bits behind the point
        "add r5, r5, r4, lsr #23",
        "sub r5, #111",
        // Both multiplied: 24 bits in r4, or 23, and the rest in r3.
        "bic r4, #0xff000000",
        "orr r4, #0x00800000",
        "umull r3, r4, r6, r4",
        "cmp r4, #0x800000",
        "blo 3f",
        "2:",
        "cmp r3, #0x80000000",
        "beq 4f",
        "adc r4, r4, #0",
        "5:",
        // A power of 2 of r12.
        "smull r3, r6, r12, r8",
        "lsl r7, r6, #8",
        "lsr r7, #1",
        "smull r3, r12, r9, r7",
        "add r12, r10",
        "smull r3, r12, r12, r7",
        "add r12, r11",
        "smull r3, r12, r12, r7",
        "add r12, #0x40000000",
        "lsr r6, #24",
        "lsr r12, r6",
        "add r12, #0x40000000",
        "lsr r12, #15",
        "udiv r12, lr, r12",
        "ldr r3, [r0]",
        "cmp r3, #0",
        "it mi",
        "rsbsmi r12, r12, #0x10000",
        "beq 9f",
        // The sigmoid, moved to the top, times the product.
        "clz r3, r12",
        "lsl r12, r3",
        "sub r5, r3",
        "umull r3, r4, r12, r4",
        "cmp r4, #0x800000",
        "blo 7f",
        "6:",
        "cmp r3, #0x80000000",
        "beq 8f",
        "adc r3, r4, r5, lsl #23",
        "10:",
        "str r3, [r0], #4",
        "subs r2, #1",
        "bne 1b",
        "9:",
        "pop {{r0, r4-r11, lr}}",
        "sub r0, r0, r2",
        "bx lr",
        "3:",
        "adds r3, r3, r3",
        "adc r4, r4, r4",
        "sub r5, #1",
        "b 2b",
        "4:",
        "and r3, r4, #1",
        "add r4, r3",
        "b 5b",
        "7:",
        "adds r3, r3, r3",
        "adc r4, r4, r4",
        "sub r5, #1",
        "b 6b",
        "8:",
        "and r3, r4, #1",
        "add r3, r4",
        "add r3, r3, r5, lsl #23",
        "b 10b",
    )
}
