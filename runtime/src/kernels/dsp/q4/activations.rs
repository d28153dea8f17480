//! Activations to the records that [`super`] multiplies with.

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
                // One with zeros, NaN or an infinity stopped it.
                if let Some(odd) = part(x, block * BLOCK, BLOCK).as_array() {
                    let record = record(odd);
                    copy(part_mut(x, block * RECORD, RECORD), &record);
                    block += 1;
                }
            }
            let last = x.get(whole * BLOCK..).unwrap_or_default();
            if !last.is_empty() {
                let mut padded = [0.0; BLOCK];
                copy(&mut padded, last);
                let place = part_mut(x, whole * RECORD, RECORD);
                // SAFETY: both have a block; as above.
                if unsafe { pack(padded.as_ptr(), place.as_mut_ptr(), 1) } == 0 {
                    copy(place, &record(&padded));
                }
            }
        }
    }
}

/// The record of a block with any values.
#[cold]
#[inline(never)]
fn record(x: &[f32; BLOCK]) -> [f32; RECORD] {
    let mut quants = [0; BLOCK];
    let scale = scalar::quantize_block(&mut quants, x);
    let (lower, upper) = quants.split_at(BLOCK / 2);
    let sum: i32 = quants.iter().map(|quant| i32::from(*quant)).sum();
    let mut record = [0.0; RECORD];
    let fours = lower
        .as_chunks::<4>()
        .0
        .iter()
        .zip(upper.as_chunks::<4>().0);
    let mut words = record.iter_mut();
    let mut put = |word: u32| {
        if let Some(place) = words.next() {
            *place = f32::from_bits(word);
        }
    };
    put(scale.to_bits());
    put((-8 * sum).cast_unsigned());
    for (lower, upper) in fours {
        // In the order of the weights in a word, with nothing before the first.
        let mut y = [0u16; 8];
        let mut before = 0;
        let turns = lower
            .iter()
            .zip(upper)
            .flat_map(|(lower, upper)| [*lower, *upper]);
        for (y, x) in y.iter_mut().zip(turns) {
            let x = i16::from(x);
            *y = (x - 16 * before).cast_unsigned();
            before = x;
        }
        let (low, high) = y.split_at(4);
        for (low, high) in low.iter().zip(high) {
            put(u32::from(*low) | u32::from(*high) << 16);
        }
    }
    record
}

/// Writes the records of up to `n` blocks of `x`, at least one; returns how many before one whose largest magnitude is
/// below `2^-100`, or that holds NaN or an infinity.
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
        "sub r12, r2, #0x1B000000",
        "cmp r12, #0xE4000000",
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
    )
}
