//! Whole vectors: activations to integers, and the nonlinearity of swiglu.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::scalar;
use crate::math::{EXP, ROUND};
use crate::ops::{self, LANES};
use crate::parts::{part, part_mut};
use crate::quant::BLOCK;

/// Bytes of a whole block of activations: words and scale.
const RECORD: usize = 2 * BLOCK + 4;

/// Beyond this magnitude [`crate::math::exp`] is not its polynomial everywhere.
const PLAIN: f32 = 87.0;

/// What the assembly of [`Dsp::swiglu`] takes; it knows the order.
#[repr(C)]
struct Constants {
    log2_e: f32,
    round: f32,
    ln_2: [f32; 2],
    polynomial: [f32; 4],
    one: f32,
    /// Bits of [`PLAIN`] without the sign, shifted out.
    plain: u32,
}

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

    pub(in crate::kernels) fn rms_norm(self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        let n = x.len();
        if n == 0 || !n.is_multiple_of(LANES) || out.len() < n || weight.len() < n {
            return ops::normalize(out, x, (0.0, ops::rms_norm_stats(x)), weight, None);
        }
        // SAFETY: `x` has `n` elements; a value of `Dsp` proves the instructions.
        let square = unsafe { square(x.as_ptr(), n / LANES) };
        let scale = ops::rms_scale(square, n);
        // SAFETY: as above, and so have `out` and `weight`.
        unsafe {
            scaled(
                out.as_mut_ptr(),
                x.as_ptr(),
                weight.as_ptr(),
                n / LANES,
                scale,
            )
        };
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

    /// `gates[i] = silu(gates[i]) * ups[i]`, over the shorter of the two.
    pub(in crate::kernels) fn swiglu(self, gates: &mut [f32], ups: &[f32]) {
        let constants = Constants {
            log2_e: EXP.log2_e,
            round: ROUND,
            ln_2: EXP.ln_2,
            polynomial: EXP.polynomial,
            one: 1.0,
            plain: PLAIN.to_bits() << 1,
        };
        let (mut i, n) = (0, gates.len().min(ups.len()));
        while i < n {
            let (x, y) = (
                part_mut(gates, i, n - i).as_mut_ptr(),
                part(ups, i, n - i).as_ptr(),
            );
            // SAFETY: both have `n - i` elements there; a value of `Dsp` proves the instructions.
            i += unsafe { swiglu(x, y, n - i, &constants) };
            if let (Some(gate), Some(up)) = (gates.get_mut(i), ups.get(i)) {
                *gate = ops::silu(*gate) * up;
                i += 1;
            }
        }
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

/// Sum of squares of `8 n` elements, in the lanes and the order of [`ops::dot`].
#[unsafe(naked)]
unsafe extern "C" fn square(x: *const f32, n: usize) -> f32 {
    naked_asm!(
        features!(),
        "vpush {{s16}}",
        "movs r2, #0",
        "vmov s8, r2",
        "vmov.f32 s9, s8",
        "vmov.f32 s10, s8",
        "vmov.f32 s11, s8",
        "vmov.f32 s12, s8",
        "vmov.f32 s13, s8",
        "vmov.f32 s14, s8",
        "vmov.f32 s15, s8",
        "1:",
        "vldmia r0!, {{s0-s7}}",
        "vmla.f32 s8, s0, s0",
        "vmla.f32 s9, s1, s1",
        "vmla.f32 s10, s2, s2",
        "vmla.f32 s11, s3, s3",
        "vmla.f32 s12, s4, s4",
        "vmla.f32 s13, s5, s5",
        "vmla.f32 s14, s6, s6",
        "vmla.f32 s15, s7, s7",
        "subs r1, #1",
        "bne 1b",
        "vadd.f32 s8, s8, s12",
        "vadd.f32 s9, s9, s13",
        "vadd.f32 s10, s10, s14",
        "vadd.f32 s11, s11, s15",
        "vadd.f32 s8, s8, s10",
        "vadd.f32 s9, s9, s11",
        "vadd.f32 s0, s8, s9",
        "vpop {{s16}}",
        "bx lr",
    )
}

/// `out[i] = x[i] * scale * weight[i]` for `8 n` elements.
#[unsafe(naked)]
unsafe extern "C" fn scaled(
    out: *mut f32,
    x: *const f32,
    weight: *const f32,
    n: usize,
    scale: f32,
) {
    naked_asm!(
        features!(),
        "vpush {{s16}}",
        "1:",
        "vldmia r1!, {{s1-s8}}",
        "vldmia r2!, {{s9-s16}}",
        "vmul.f32 s1, s1, s0",
        "vmul.f32 s2, s2, s0",
        "vmul.f32 s3, s3, s0",
        "vmul.f32 s4, s4, s0",
        "vmul.f32 s5, s5, s0",
        "vmul.f32 s6, s6, s0",
        "vmul.f32 s7, s7, s0",
        "vmul.f32 s8, s8, s0",
        "vmul.f32 s1, s1, s9",
        "vmul.f32 s2, s2, s10",
        "vmul.f32 s3, s3, s11",
        "vmul.f32 s4, s4, s12",
        "vmul.f32 s5, s5, s13",
        "vmul.f32 s6, s6, s14",
        "vmul.f32 s7, s7, s15",
        "vmul.f32 s8, s8, s16",
        "vstmia r0!, {{s1-s8}}",
        "subs r3, #1",
        "bne 1b",
        "vpop {{s16}}",
        "bx lr",
    )
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
                "cmp r3, #187",
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

/// One element of [`Dsp::swiglu`]: the gate in `$x`, the other in `$y`; uses `$r` and the pair `$t`, `$u`.
macro_rules! element {
    ($x:literal, $y:literal, $r:literal, $t:literal, $u:literal) => {
        concat!(
            "vneg.f32 ",
            $r,
            ", ",
            $x,
            "\n",
            "vmul.f32 ",
            $t,
            ", ",
            $r,
            ", s16\n",
            "vadd.f32 ",
            $t,
            ", ",
            $t,
            ", s17\n",
            "vsub.f32 ",
            $u,
            ", ",
            $t,
            ", s17\n",
            "vmls.f32 ",
            $r,
            ", ",
            $u,
            ", s18\n",
            "vmls.f32 ",
            $r,
            ", ",
            $u,
            ", s19\n",
            "vmul.f32 ",
            $u,
            ", s20, ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s21\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s22\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s23\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s24\n",
            "vmov r4, r5, ",
            $t,
            ", ",
            $u,
            "\n",
            "add r5, r5, r4, lsl #23\n", // times 2^n
            "vmov ",
            $u,
            ", r5\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s24\n",
            "vdiv.f32 ",
            $u,
            ", s24, ",
            $u,
            "\n",
            "vmul.f32 ",
            $x,
            ", ",
            $x,
            ", ",
            $u,
            "\n",
            "vmul.f32 ",
            $x,
            ", ",
            $x,
            ", ",
            $y,
            "\n",
        )
    };
}

/// Takes pairs of up to `n` elements; returns how many before a pair with a gate beyond [`PLAIN`], or before a
/// single last one.
#[unsafe(naked)]
unsafe extern "C" fn swiglu(
    gates: *mut f32,
    ups: *const f32,
    n: usize,
    constants: *const Constants,
) -> usize {
    naked_asm!(
        features!(),
        "push {{r2, r4, r5, lr}}",
        "vpush {{s16-s24}}",
        "vldmia r3!, {{s16-s24}}",
        "ldr r12, [r3]",
        "subs r2, #2",
        "blo 2f",
        "1:",
        "vldr s0, [r0]",
        "vldr s1, [r0, #4]",
        "vmov r3, r4, s0, s1",
        "cmp r12, r3, lsl #1",
        "bls 2f",
        "cmp r12, r4, lsl #1",
        "bls 2f",
        "vldmia r1!, {{s2, s3}}",
        element!("s0", "s2", "s4", "s6", "s7"),
        element!("s1", "s3", "s4", "s6", "s7"),
        "vstmia r0!, {{s0, s1}}",
        "subs r2, #2",
        "bhs 1b",
        "2:",
        "adds r2, #2",
        "vpop {{s16-s24}}",
        "pop {{r0, r4, r5, lr}}",
        "sub r0, r0, r2",
        "bx lr",
    )
}
