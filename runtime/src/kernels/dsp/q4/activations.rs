//! Activations to the records that [`super`] multiplies with.

use core::arch::naked_asm;

use crate::kernels::dsp::Dsp;
use crate::kernels::dsp::activations::{LEAST, copy_numbers};
use crate::kernels::scalar;
use crate::parts::{part, part_mut};
use crate::quant::BLOCK;

/// Words of a block's record, see [`super`].
pub(super) const RECORD: usize = 2 + BLOCK / 2;

/// Whether the records of `cols` activations have room where those lie: rows of fewer than 18 columns, or of 33 to
/// 35, are too short.
pub(super) const fn has_records(cols: usize) -> bool {
    cols > 0 && cols.div_ceil(BLOCK) * RECORD <= cols
}

impl Dsp {
    /// Rows of activations to records at their place, or to integers as `scalar` makes them where those have no room.
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
        for x in x.chunks_exact_mut(cols) {
            let whole = cols / BLOCK;
            let mut block = 0;
            while block < whole {
                let start = x.as_mut_ptr();
                let from = start.wrapping_add(block * BLOCK).cast_const();
                let to = start.wrapping_add(block * RECORD);
                // SAFETY: so many blocks are left, and room for their records; a value of `Dsp` proves the instructions.
                block += unsafe { pack(from, to, whole - block) };
                if block < whole {
                    odd_block(x, block, BLOCK);
                    block += 1;
                }
            }
            if !cols.is_multiple_of(BLOCK) {
                odd_block(x, whole, cols - whole * BLOCK);
            }
        }
    }
}

/// A block of `x` that has so few values or that stopped the assembly, to its record: NaN becomes 0, and where that is
/// not enough, all do.
fn odd_block(x: &mut [f32], block: usize, len: usize) {
    let mut numbers = [0.0; BLOCK];
    copy_numbers(&mut numbers, part(x, block * BLOCK, len));
    let record = part_mut(x, block * RECORD, RECORD);
    // SAFETY: `numbers` are a block, and rows that reach here have room for all records; whoever calls this has a value
    // of `Dsp`.
    let done = unsafe { pack(numbers.as_ptr(), record.as_mut_ptr(), 1) };
    if done == 0 {
        record.fill(0.0);
    }
}

/// Writes the records of up to `n` blocks of `x`, at least one; returns how many before one whose largest magnitude is
/// below [`LEAST`], or that holds NaN or an infinity.
///
/// `records` may be `x`, or lie before it: what is written lies where all has been read. A product added to
/// [`ROUND`](crate::math::ROUND), which lies eight times at the stack pointer, has its nearest integer in the low 16 bits,
/// and all that follows needs no more of it.
#[unsafe(naked)]
unsafe extern "C" fn pack(x: *const f32, records: *mut f32, n: usize) -> usize {
    naked_asm!(
        features!(),
        "push {{r2, r4-r11, lr}}",
        "mov r3, r2",
        "mov r12, #0x42000000",
        "orr r12, r12, #0xFE0000", // 127.0
        "vmov s1, r12",
        "movw r12, #0",
        "movt r12, #0x4B40", // ROUND
        "vmov s8, s9, r12, r12",
        "vmov s10, s11, r12, r12",
        "vmov s12, s13, r12, r12",
        "vmov s14, s15, r12, r12",
        "vpush {{s8-s15}}",
        "1:",
        "movs r2, #0",
        "mov r12, #4",
        "2:",
        largest!(),
        "subs r12, #1",
        "bne 2b",
        "sub r0, #128",
        "ldr lr, 5f",
        "cmp r2, lr",
        "blo.w 4f",
        "cmp r2, #0xFF000000",
        "bhs.w 4f",
        "lsr r2, r2, #1",
        "vmov s0, r2",
        "vdiv.f32 s2, s0, s1",   // the scale
        "vdiv.f32 s3, s1, s0",   // its inverse
        "vldmia r0!, {{s4-s7}}", // before the first words are written
        "vstr s2, [r1]",
        "adds r1, #8",
        "movs r2, #0", // the sum
        "mov r12, #4",
        "3:", // columns i.. in r4-r7, and i + 16.. in r8-r11
        "vldmia sp, {{s8-s15}}",
        "vmla.f32 s8, s4, s3", // multiply, round, add: not fused
        "vmla.f32 s9, s5, s3",
        "vmla.f32 s10, s6, s3",
        "vmla.f32 s11, s7, s3",
        "add lr, r0, #48",
        "vldmia lr, {{s4-s7}}",
        "vmla.f32 s12, s4, s3",
        "vmla.f32 s13, s5, s3",
        "vmla.f32 s14, s6, s3",
        "vmla.f32 s15, s7, s3",
        "vldmia r0!, {{s4-s7}}", // of the next round, before words are written there
        "vmov r4, r5, s8, s9",
        "vmov r6, r7, s10, s11",
        "vmov r8, r9, s12, s13",
        "vmov r10, r11, s14, s15",
        "add r2, r4",
        "add r2, r5",
        "add r2, r6",
        "add r2, r7",
        "add r2, r8",
        "add r2, r9",
        "add r2, r10",
        "add r2, r11",
        "sub r11, r11, r7, lsl #4",
        "sub r7, r7, r10, lsl #4",
        "sub r10, r10, r6, lsl #4",
        "sub r6, r6, r9, lsl #4",
        "sub r9, r9, r5, lsl #4",
        "sub r5, r5, r8, lsl #4",
        "sub r8, r8, r4, lsl #4",
        "pkhbt r4, r4, r6, lsl #16",
        "pkhbt r6, r8, r10, lsl #16",
        "pkhbt r7, r5, r7, lsl #16",
        "pkhbt r9, r9, r11, lsl #16",
        "stmia r1!, {{r4, r6, r7, r9}}",
        "subs r12, #1",
        "bne 3b",
        "adds r0, #48",
        "rsb r2, r2, #0",
        "lsl r2, r2, #3",
        "str r2, [r1, #-68]",
        "subs r3, #1",
        "bne.w 1b",
        "4:",
        "add sp, #32",
        "pop {{r0, r4}}",
        "sub r0, r0, r3",
        "pop {{r5-r11, pc}}",
        larger!(),
        ".p2align 2",
        "5:",
        ".word {least}",
        least = const LEAST,
    )
}
