//! Additions and multiplications of our own: half the instructions that a library spends on numbers it cannot know
//! anything of, and the same bits.

use core::arch::naked_asm;

/// `a + b`.
#[inline(always)]
pub(super) fn plus(a: f32, b: f32) -> f32 {
    // SAFETY: arithmetic alone, on cores that this module is compiled for.
    unsafe { sum(a, b) }
}

/// `a * b`.
#[inline(always)]
pub(super) fn times(a: f32, b: f32) -> f32 {
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
pub(super) unsafe extern "C" fn sum(a: f32, b: f32) -> f32 {
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
pub(super) unsafe extern "C" fn product(a: f32, b: f32) -> f32 {
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
