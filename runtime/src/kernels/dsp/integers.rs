//! Floats to integers: activations, and the queries, keys and values of a head.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::scalar;
use crate::ops::LANES;
use crate::quant::BLOCK;

/// Bytes of a whole block of activations: words and scale.
const RECORD: usize = 2 * BLOCK + 4;

impl Dsp {
    /// Rows of activations to records.
    pub(in crate::kernels) fn quantize(self, records: &mut [i8], x: &[f32], cols: usize) {
        let (whole, rest) = (cols / BLOCK, cols % BLOCK);
        let token = whole * RECORD
            + if rest > 0 {
                2 * rest.next_multiple_of(8) + 4
            } else {
                0
            };
        let records = records.chunks_exact_mut(token.max(1));
        for (record, x) in records.zip(x.chunks_exact(cols.max(1))) {
            let (mut blocks, tail) = record
                .split_at_mut_checked(whole * RECORD)
                .unwrap_or_default();
            let (mut x, last) = x.split_at_checked(whole * BLOCK).unwrap_or_default();
            while !x.is_empty() {
                // SAFETY: `blocks` has room for what `x` holds; a value of `Dsp` proves the instructions.
                let done = unsafe { quantize(x.as_ptr(), blocks.as_mut_ptr(), x.len() / BLOCK) };
                x = x.get(done * BLOCK..).unwrap_or_default();
                blocks = blocks.get_mut(done * RECORD..).unwrap_or_default();
                // One with zeros, NaN or an infinity stopped it.
                if let (Some(odd), Some(place)) = (x.get(..BLOCK), blocks.get_mut(..RECORD)) {
                    scalar::pack(place, odd);
                    x = x.get(BLOCK..).unwrap_or_default();
                    blocks = blocks.get_mut(RECORD..).unwrap_or_default();
                }
            }
            if rest > 0 {
                scalar::pack(tail, last);
            }
        }
    }

    /// See [`scalar::integers`].
    pub(in crate::kernels) fn integers(self, out: &mut [i16], x: &[f32], bits: i32) -> i32 {
        let n = x.len();
        if n > 0 && n.is_multiple_of(LANES) && out.len() == n {
            let size = match bits {
                // SAFETY: both have `n` elements; a value of `Dsp` proves the instructions.
                7 => unsafe { integers_7(x.as_ptr(), out.as_mut_ptr(), n / LANES) },
                // SAFETY: as above.
                15 => unsafe { integers_15(x.as_ptr(), out.as_mut_ptr(), n / LANES) },
                _ => 0,
            };
            if size > 0 {
                return size - 126 - bits;
            }
        }
        scalar::integers(out, x, bits)
    }

    /// See [`scalar::largest`].
    pub(in crate::kernels) fn largest(self, exponents: &[i8]) -> i32 {
        let (words, rest) = exponents.as_chunks::<4>();
        if words.is_empty() {
            return scalar::largest(rest);
        }
        // SAFETY: there is at least one word; a value of `Dsp` proves the instructions.
        let four = unsafe { largest(words.as_ptr(), words.len()) };
        let four = four.to_le_bytes().map(u8::cast_signed);
        four.iter().chain(rest).copied().max().map_or(0, i32::from)
    }
}

/// Eight magnitudes, their signs shifted out: the largest so far in r2.
macro_rules! largest {
    () => {
        concat!(
            "ldmia r0!, {{r4-r11}}\n",
            largest!("r4"),
            largest!("r5"),
            largest!("r6"),
            largest!("r7"),
            largest!("r8"),
            largest!("r9"),
            largest!("r10"),
            largest!("r11"),
        )
    };
    ($x:literal) => {
        concat!(
            "cmp r2, ",
            $x,
            ", lsl #1\n",
            "it lo\n",
            "lsllo r2, ",
            $x,
            ", #1\n"
        )
    };
}

/// Four activations to two words.
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
         rsb r4, r5, r4, lsl #8
         rsb r6, r7, r6, lsl #8
         pkhbt r8, r5, r7, lsl #16
         pkhbt r9, r4, r6, lsl #16
         stmia r1!, {{r8, r9}}
        "
    };
}

/// Four values to four integers of 16 bits.
macro_rules! round {
    ($bits:literal) => {
        concat!(
            "vldmia r0!, {{s4-s7}}\n",
            "vmul.f32 s4, s4, s3\n",
            "vmul.f32 s5, s5, s3\n",
            "vmul.f32 s6, s6, s3\n",
            "vmul.f32 s7, s7, s3\n",
            "vcvtr.s32.f32 s4, s4\n",
            "vcvtr.s32.f32 s5, s5\n",
            "vcvtr.s32.f32 s6, s6\n",
            "vcvtr.s32.f32 s7, s7\n",
            "vmov r4, r5, s4, s5\n",
            "vmov r6, r7, s6, s7\n",
            "ssat r4, #",
            $bits,
            ", r4\n",
            "ssat r5, #",
            $bits,
            ", r5\n",
            "ssat r6, #",
            $bits,
            ", r6\n",
            "ssat r7, #",
            $bits,
            ", r7\n",
            "pkhbt r4, r4, r5, lsl #16\n",
            "pkhbt r6, r6, r7, lsl #16\n",
            "stmia r1!, {{r4, r6}}\n",
        )
    };
}

/// `8 n` values to integers; returns the biased exponent of the largest magnitude, or 0 where
/// [`scalar::integers`] has to look at it.
macro_rules! integers {
    ($name:ident, $bits:literal, $bias:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(x: *const f32, out: *mut i16, n: usize) -> i32 {
            naked_asm!(
                features!(),
                "push {{r0, r2, r4-r11, lr}}",
                "mov r3, r2",
                "movs r2, #0",
                "1:",
                largest!(),
                "subs r3, #1",
                "bne 1b",
                "lsr r12, r2, #24",
                "sub r3, r12, #67",
                "cmp r3, #186",
                "bls 2f",
                "add sp, #8",
                "movs r0, #0",
                "pop {{r4-r11, pc}}",
                "2:",
                concat!("rsb r2, r12, #", $bias),
                "lsl r2, r2, #23",
                "vmov s3, r2",
                "pop {{r0, r2}}",
                "3:",
                round!($bits),
                round!($bits),
                "subs r2, #1",
                "bne 3b",
                "mov r0, r12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

// The exponent that makes `bits` bits of the largest is `bits - 1` less its own; 254 is twice the bias.
integers!(integers_7, "8", "260");
integers!(integers_15, "16", "268");

/// The largest of each byte of `n` words.
#[unsafe(naked)]
unsafe extern "C" fn largest(words: *const [i8; 4], n: usize) -> u32 {
    naked_asm!(
        features!(),
        "ldr r2, [r0], #4",
        "b 2f",
        "1:",
        "ldr r3, [r0], #4",
        "ssub8 r12, r3, r2",
        "sel r2, r3, r2",
        "2:",
        "subs r1, #1",
        "bne 1b",
        "mov r0, r2",
        "bx lr",
    )
}

/// Packs up to `n` blocks of `x`; returns how many before one whose largest magnitude is below `2^-100`, or that
/// holds NaN or an infinity.
#[unsafe(naked)]
unsafe extern "C" fn quantize(x: *const f32, records: *mut i8, n: usize) -> usize {
    naked_asm!(
        features!(),
        "push {{r2, r4-r11, lr}}",
        "mov r3, r2",
        "mov r12, #0x42000000",
        "orr r12, r12, #0xFE0000", // 127.0
        "vmov s1, r12",
        "1:",
        "movs r2, #0",
        largest!(),
        largest!(),
        largest!(),
        largest!(),
        "sub r0, #128",
        "sub r12, r2, #0x1B000000",
        "cmp r12, #0xE4000000",
        "bhs.w 3f",
        "lsr r2, r2, #1",
        "vmov s0, r2",
        "vdiv.f32 s2, s0, s1", // the scale
        "vdiv.f32 s3, s1, s0", // its inverse
        "movs r2, #4",
        "2:",
        pack!(),
        pack!(),
        "subs r2, #1",
        "bne.w 2b",
        "vstmia r1!, {{s2}}",
        "subs r3, #1",
        "bne.w 1b",
        "3:",
        "pop {{r0}}",
        "sub r0, r0, r3",
        "pop {{r4-r11, pc}}",
    )
}
