//! Activations to the records that [`super::matrix`] multiplies with.

use core::arch::naked_asm;

use super::Dsp;
use crate::ops::LANES;
use crate::quant::{BLOCK, token_bytes};

/// Bytes of a whole block of activations: words and scale.
const RECORD: usize = 2 * BLOCK + 4;

/// The least magnitude of which 127 is a finite multiple, its sign shifted out.
pub(super) const LEAST: u32 = {
    let mut bits = (127.0 / f32::MAX).to_bits() - 4;
    while !(127.0 / f32::from_bits(bits)).is_finite() {
        bits += 1;
    }
    bits << 1
};

impl Dsp {
    /// Rows of activations to records.
    #[inline(never)]
    pub(in crate::kernels) fn quantize(self, records: &mut [i8], x: &[f32], cols: usize) {
        let mut record = records;
        for mut x in x.chunks_exact(cols.max(1)) {
            while !x.is_empty() && record.len() >= token_bytes(x.len()) {
                let whole = x.len() / BLOCK;
                if whole > 0 {
                    let (from, to) = (x.as_ptr(), record.as_mut_ptr());
                    // SAFETY: so many blocks are in `x`, with room in `record`; a value of `Dsp` proves the
                    // instructions.
                    let done = unsafe { quantize(from, to, whole, BLOCK / LANES) };
                    x = x.get(done * BLOCK..).unwrap_or_default();
                    record = record.get_mut(done * RECORD..).unwrap_or_default();
                }
                let (block, later) = x.split_at_checked(BLOCK).unwrap_or((x, &[]));
                x = later;
                if !block.is_empty() {
                    let bytes = token_bytes(block.len());
                    let (place, rest) = record.split_at_mut_checked(bytes).unwrap_or_default();
                    odd_block(place, block);
                    record = rest;
                }
            }
        }
    }
}

/// A block that is shorter than the others or that stopped the assembly: NaN becomes 0, and where that is not
/// enough, all do.
fn odd_block(record: &mut [i8], x: &[f32]) {
    let mut numbers = [0.0; BLOCK];
    copy_numbers(&mut numbers, x);
    let eights = x.len().div_ceil(LANES);
    // SAFETY: `record` has room for so many eights, and `numbers` has them; whoever calls this has a value of `Dsp`.
    let done = unsafe { quantize(numbers.as_ptr(), record.as_mut_ptr(), 1, eights) };
    if done == 0 {
        record.fill(0);
    }
}

/// `out[i] = x[i]`, over the shorter of the two, but for NaN.
pub(super) fn copy_numbers(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        if !x.is_nan() {
            *out = *x;
        }
    }
}

/// Eight activations to four words. A product added to [`ROUND`](crate::math::ROUND), which lies eight times at the
/// stack pointer, has its nearest integer in the low 16 bits.
macro_rules! pack {
    () => {
        "vldmia sp, {{s8-s15}}
         vldmia r0!, {{s4-s7}}
         vmla.f32 s8, s4, s3
         vmla.f32 s9, s5, s3
         vmla.f32 s10, s6, s3
         vmla.f32 s11, s7, s3
         vldmia r0!, {{s4-s7}}
         vmla.f32 s12, s4, s3
         vmla.f32 s13, s5, s3
         vmla.f32 s14, s6, s3
         vmla.f32 s15, s7, s3
         vmov r4, r5, s8, s9
         vmov r6, r7, s10, s11
         rsb r4, r5, r4, lsl #8
         rsb r6, r7, r6, lsl #8
         pkhbt r8, r5, r7, lsl #16
         pkhbt r9, r4, r6, lsl #16
         vmov r4, r5, s12, s13
         vmov r6, r7, s14, s15
         rsb r4, r5, r4, lsl #8
         rsb r6, r7, r6, lsl #8
         pkhbt r10, r5, r7, lsl #16
         pkhbt r11, r4, r6, lsl #16
         stmia r1!, {{r8-r11}}
        "
    };
}

/// Packs up to `n` blocks of `eights` times eight values of `x`; returns how many before one whose largest
/// magnitude is below [`LEAST`], or that holds NaN or an infinity.
#[unsafe(naked)]
unsafe extern "C" fn quantize(x: *const f32, records: *mut i8, n: usize, eights: usize) -> usize {
    naked_asm!(
        features!(),
        "push {{r2-r11, lr}}",
        "mov lr, r3",
        "mov r3, r2",
        "mov r12, #0x42000000",
        "orr r12, r12, #0xFE0000", // 127.0
        "vmov s1, r12",
        "mov r4, #0x4B000000",
        "orr r4, r4, #0x400000", // rounds to integers
        "mov r5, r4",
        "mov r6, r4",
        "mov r7, r4",
        "push {{r4-r7}}",
        "push {{r4-r7}}",
        "1:",
        "movs r2, #0",
        "2:",
        largest!(),
        "subs lr, #1",
        "bne 2b",
        "ldr lr, [sp, #36]",
        "sub r0, r0, lr, lsl #5",
        "ldr r12, 5f",
        "cmp r2, r12",
        "blo.w 4f",
        "cmp r2, #0xFF000000",
        "bhs.w 4f",
        "lsr r2, r2, #1",
        "vmov s0, r2",
        "vdiv.f32 s2, s0, s1", // the scale
        "vdiv.f32 s3, s1, s0", // its inverse
        "mov r2, lr",
        "3:",
        pack!(),
        "subs r2, #1",
        "bne.w 3b",
        "vstmia r1!, {{s2}}",
        "subs r3, #1",
        "bne.w 1b",
        "4:",
        "add sp, #32",
        "pop {{r0, r4}}",
        "sub r0, r0, r3",
        "pop {{r4-r11, pc}}",
        larger!(),
        ".p2align 2",
        "5:",
        ".word {least}",
        least = const LEAST,
    )
}
