//! Activations to integers, and to the records that [`super`] multiplies with.

use core::arch::naked_asm;

use crate::kernels::dsp::Dsp;
use crate::kernels::scalar;
use crate::parts::{copy, part, part_mut};
use crate::quant::BLOCK;

/// Words of a block's record, see [`super`].
pub(super) const RECORD: usize = 2 + BLOCK / 2;

/// Whether the records of `cols` activations have room where those lie: rows of fewer than 18 columns, or of 33 to
/// 35, are too short.
pub(super) const fn has_records(cols: usize) -> bool {
    cols > 0 && cols.div_ceil(BLOCK) * RECORD <= cols
}

impl Dsp {
    /// Rows of activations to integers as `scalar` makes them, and to records at their place if those have room.
    pub(in crate::kernels) fn quantize_q4(
        self,
        quants: &mut [i8],
        scales: &mut [f32],
        x: &mut [f32],
        cols: usize,
    ) {
        let blocks = cols.div_ceil(BLOCK).max(1);
        let quants = quants.as_chunks_mut::<BLOCK>().0.chunks_exact_mut(blocks);
        let tokens = quants.zip(scales.chunks_exact_mut(blocks));
        for (x, (quants, scales)) in x.chunks_exact_mut(cols.max(1)).zip(tokens) {
            let (blocks, last) = x.as_chunks::<BLOCK>();
            round_blocks(quants, scales, blocks);
            if !last.is_empty() {
                let mut padded = [0.0; BLOCK];
                copy(&mut padded, last);
                let n = blocks.len();
                let (quants, scales) = (part_mut(quants, n, 1), part_mut(scales, n, 1));
                round_blocks(quants, scales, core::slice::from_ref(&padded));
            }
            if has_records(cols) {
                let (quants, scales, n) = (quants.as_ptr(), scales.as_ptr(), quants.len());
                // SAFETY: there are so many blocks of integers and scales, at least one, and `x` has room for their
                // records; a value of `Dsp` proves the instructions.
                unsafe { records(x.as_mut_ptr(), quants, scales, n) };
            }
        }
    }
}

/// Integers and scales of blocks, over the shortest of the three.
fn round_blocks(quants: &mut [[i8; BLOCK]], scales: &mut [f32], blocks: &[[f32; BLOCK]]) {
    let n = blocks.len().min(quants.len()).min(scales.len());
    let mut done = 0;
    while done < n {
        let left = n - done;
        let (x, quants) = (part(blocks, done, left), part_mut(quants, done, left));
        let scales = part_mut(scales, done, left);
        // SAFETY: each has so many blocks, at least one; a value of `Dsp`, which callers have, proves the instructions.
        let plain = unsafe { round(x.as_ptr(), quants.as_mut_ptr(), scales.as_mut_ptr(), left) };
        // One with zeros, NaN or an infinity stopped it.
        let odd = x
            .get(plain)
            .zip(quants.get_mut(plain))
            .zip(scales.get_mut(plain));
        if let Some(((x, quants), scale)) = odd {
            *scale = scalar::quantize_block(quants, x);
        }
        done += plain + 1;
    }
}

/// Four activations to four bytes.
macro_rules! pack {
    () => {
        "vldmia r0!, {{s4-s7}}
         vmul.f32 s4, s4, s3
         vmul.f32 s5, s5, s3
         vmul.f32 s6, s6, s3
         vmul.f32 s7, s7, s3
         vcvtr.s32.f32 s4, s4
         vcvtr.s32.f32 s5, s5
         vcvtr.s32.f32 s6, s6
         vcvtr.s32.f32 s7, s7
         vmov r4, r5, s4, s5
         vmov r6, r7, s6, s7
         bfi r4, r5, #8, #8
         bfi r4, r6, #16, #8
         bfi r4, r7, #24, #8
         str r4, [r1], #4
        "
    };
}

/// Rounds up to `n` blocks, at least one; returns how many before one whose largest magnitude is below `2^-100`, or
/// that holds NaN or an infinity.
#[unsafe(naked)]
unsafe extern "C" fn round(
    x: *const [f32; BLOCK],
    quants: *mut [i8; BLOCK],
    scales: *mut f32,
    n: usize,
) -> usize {
    naked_asm!(
        features!(),
        "push {{r3-r11, lr}}",
        "mov lr, r2",
        "mov r12, #0x42000000",
        "orr r12, r12, #0xFE0000", // 127.0
        "vmov s1, r12",
        "1:",
        "movs r2, #0",
        "mov r12, #4",
        "2:",
        largest!(),
        "subs r12, #1",
        "bne 2b",
        "sub r0, #128",
        "sub r12, r2, #0x1B000000",
        "cmp r12, #0xE4000000",
        "bhs.w 4f",
        "lsr r2, r2, #1",
        "vmov s0, r2",
        "vdiv.f32 s2, s0, s1", // the scale
        "vdiv.f32 s3, s1, s0", // its inverse
        "vstmia lr!, {{s2}}",
        "movs r2, #4",
        "3:",
        pack!(),
        pack!(),
        "subs r2, #1",
        "bne 3b",
        "subs r3, #1",
        "bne.w 1b",
        "4:",
        "pop {{r0, r4}}",
        "sub r0, r0, r3",
        "pop {{r5-r11, pc}}",
        larger!(),
    )
}

/// `$out = $x - 16 $before` in lanes, which `$out` may be one of; of `$before` the bits that leave the lower lane are
/// cleared in the upper one.
macro_rules! lanes {
    ($out:literal, $x:literal, $before:literal) => {
        concat!(
            "lsl r10, ",
            $before,
            ", #4\n",
            "bic r10, r10, #0x000f000f\n",
            "ssub16 ",
            $out,
            ", ",
            $x,
            ", r10\n",
        )
    };
}

/// Writes the records of `n` blocks, at least one: `[n, RECORD]` words from integers `[n, BLOCK]` and scales `[n]`.
#[unsafe(naked)]
unsafe extern "C" fn records(
    out: *mut f32,
    quants: *const [i8; BLOCK],
    scales: *const f32,
    n: usize,
) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "mov r12, #0x00010001",
        "1:", // a block
        "ldr r4, [r2], #4",
        "str r4, [r0], #8", // the scale, and room for the sum
        "movs r11, #4",
        "movs r9, #0",
        "2:", // columns i.. and i + 16.. of a word of weights, by turns
        "ldr r5, [r1, #16]",
        "ldr r4, [r1], #4",
        "sxtb16 r6, r4, ror #8", // 2 and 6
        "sxtb16 r4, r4",         // 0 and 4
        "sxtb16 r7, r5, ror #8", // 3 and 7
        "sxtb16 r5, r5",         // 1 and 5
        "smlad r9, r4, r12, r9",
        "smlad r9, r5, r12, r9",
        "smlad r9, r6, r12, r9",
        "smlad r9, r7, r12, r9",
        "lsl r8, r7, #20", // before 0 is nothing, before 4 is 3
        lanes!("r7", "r7", "r6"),
        lanes!("r6", "r6", "r5"),
        lanes!("r5", "r5", "r4"),
        "ssub16 r4, r4, r8",
        "stmia r0!, {{r4-r7}}",
        "subs r11, #1",
        "bne 2b",
        "adds r1, #16",
        "rsb r9, r9, #0",
        "lsl r9, r9, #3",
        "str r9, [r0, #-68]",
        "subs r3, #1",
        "bne 1b",
        "pop {{r4-r11, pc}}",
    )
}
