//! Floats to integers: activations, and the queries, keys and values of a head.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::{KEPT_BITS, Row, scalar};
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};
use crate::quant::{BLOCK, token_bytes};

/// Bytes of a whole block of activations: words and scale.
const RECORD: usize = 2 * BLOCK + 4;

impl Dsp {
    /// Rows of activations to records.
    #[inline(never)]
    pub(in crate::kernels) fn quantize(self, records: &mut [i8], x: &[f32], cols: usize) {
        let (whole, rest) = (cols / BLOCK, cols % BLOCK);
        let bytes = token_bytes(cols);
        let (mut x, mut records) = (x, records);
        while let Some((token, later)) = x.split_at_checked(cols)
            && let Some((record, later_records)) = records.split_at_mut_checked(bytes)
            && cols > 0
        {
            let mut block = 0;
            while block < whole {
                let from = token.as_ptr().wrapping_add(block * BLOCK);
                let to = record.as_mut_ptr().wrapping_add(block * RECORD);
                // SAFETY: so many blocks are left in `token`, with room in `record`; a value of `Dsp` proves the
                // instructions.
                block += unsafe { quantize(from, to, whole - block, BLOCK / LANES) };
                if block < whole {
                    // One with zeros, NaN or an infinity stopped it.
                    let odd = part(token, block * BLOCK, BLOCK);
                    scalar::pack(part_mut(record, block * RECORD, RECORD), odd);
                    block += 1;
                }
            }
            if rest > 0 {
                let last = part(token, whole * BLOCK, rest);
                let place = part_mut(record, whole * RECORD, bytes - whole * RECORD);
                let mut padded = [0.0; BLOCK];
                copy(&mut padded, last);
                let eights = rest.div_ceil(LANES);
                // SAFETY: `place` is a record of so many eights, which `padded` holds; as above.
                let done = unsafe { quantize(padded.as_ptr(), place.as_mut_ptr(), 1, eights) };
                if done == 0 {
                    scalar::pack(place, last);
                }
            }
            (x, records) = (later, later_records);
        }
    }

    /// See [`scalar::integers`].
    pub(in crate::kernels) fn integers(
        self,
        out: &mut [i16],
        exponents: &mut [i8],
        x: &[f32],
        head_size: usize,
        bits: i32,
    ) {
        let n = exponents.len() * head_size;
        if n == 0 || !head_size.is_multiple_of(LANES) || out.len() != n || x.len() != n {
            return scalar::integers(out, exponents, x, head_size, bits);
        }
        let mut heads = Heads {
            x: x.as_ptr(),
            out: out.as_mut_ptr().cast(),
            exponents: exponents.as_mut_ptr(),
            heads: exponents.len(),
            fours: head_size / 4,
            gap: 0,
            step: 1,
            kind: QUERIES,
            bits: QUERY_BITS,
        };
        // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
        if bits != QUERY_BITS || !unsafe { to_integers(&mut heads) } {
            scalar::integers(out, exponents, x, head_size, bits);
        }
    }

    /// See [`scalar::keep`].
    pub(in crate::kernels) fn keep(self, row: Row<'_>, x: &[f32]) {
        let Row {
            head_size,
            width,
            n_ctx,
            in_pairs,
            ..
        } = row;
        let heads = x.len() / head_size.max(1);
        let span = if in_pairs { 2 * width } else { width };
        let fits = row.exponents.len() > heads.saturating_sub(1) * n_ctx
            // Of values the last two places may be another token's.
            && row.integers.len() + 2 >= heads.saturating_sub(1) * n_ctx * width + span
            && (in_pairs || row.integers.len() >= heads.saturating_sub(1) * n_ctx * width + span);
        let whole = head_size.is_multiple_of(LANES) && width == head_size;
        if heads == 0 || !whole || n_ctx * width < span || !fits {
            return scalar::keep(row, x);
        }
        let mut heads = Heads {
            x: x.as_ptr(),
            out: row.integers.as_mut_ptr(),
            exponents: row.exponents.as_mut_ptr(),
            heads,
            fours: head_size / 4,
            gap: n_ctx * width - span,
            step: n_ctx,
            kind: if in_pairs { VALUES } else { KEYS },
            bits: KEPT_BITS,
        };
        // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
        if !unsafe { to_integers(&mut heads) } {
            scalar::keep(row, x);
        }
    }
}

/// What the assembly of [`Dsp::integers`] takes; it knows the offsets.
#[repr(C)]
struct Heads {
    x: *const f32,
    out: *mut i8,
    exponents: *mut i8,
    /// At least one.
    heads: usize,
    /// Groups of four values of a head, an even number of them.
    fours: usize,
    /// Bytes from the end of a head's integers to the next head's.
    gap: usize,
    /// From a head's exponent to the next head's.
    step: usize,
    /// [`QUERIES`], [`KEYS`] or [`VALUES`].
    kind: usize,
    /// [`QUERY_BITS`] or [`KEPT_BITS`], as the kind is.
    bits: i32,
}

/// Integers of [`QUERY_BITS`] in 16.
const QUERIES: usize = 0;
/// Integers of [`KEPT_BITS`] in 8.
const KEYS: usize = 1;
/// The same, with two of another token after each two.
const VALUES: usize = 2;

/// Bits of a query without its sign.
const QUERY_BITS: i32 = 15;

/// Eight magnitudes, their signs shifted out: the largest so far in r2. What a new one takes comes after the
/// function, from [`larger!`]: it is rare.
macro_rules! largest {
    () => {
        concat!(
            "ldmia r0!, {{r4-r11}}\n",
            largest!("r4", "14", "24"),
            largest!("r5", "15", "25"),
            largest!("r6", "16", "26"),
            largest!("r7", "17", "27"),
            largest!("r8", "18", "28"),
            largest!("r9", "19", "29"),
            largest!("r10", "20", "30"),
            largest!("r11", "21", "31"),
        )
    };
    ($x:literal, $more:literal, $back:literal) => {
        concat!(
            "cmp r2, ",
            $x,
            ", lsl #1\n",
            "blo ",
            $more,
            "f\n",
            $back,
            ":\n"
        )
    };
}

/// The rest of [`largest!`].
macro_rules! larger {
    () => {
        concat!(
            larger!("r4", "14", "24"),
            larger!("r5", "15", "25"),
            larger!("r6", "16", "26"),
            larger!("r7", "17", "27"),
            larger!("r8", "18", "28"),
            larger!("r9", "19", "29"),
            larger!("r10", "20", "30"),
            larger!("r11", "21", "31"),
        )
    };
    ($x:literal, $more:literal, $back:literal) => {
        concat!($more, ":\n", "lsl r2, ", $x, ", #1\n", "b ", $back, "b\n")
    };
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

/// Heads to integers; false where `scalar` has to look at one.
///
/// The factor that makes `bits` bits of the largest has the exponent `bits - 1` less its own; 254 is twice the bias.
/// The integers' own exponent is that of the largest less 126 and `bits`.
#[unsafe(naked)]
unsafe extern "C" fn to_integers(heads: *mut Heads) -> bool {
    naked_asm!(
        features!(),
        "push {{r0, r4-r11, lr}}",
        "mov r12, r0",
        "ldrd r0, r1, [r12]",
        "1:", // a head
        "mov lr, r0",
        "ldr r3, [r12, #16]",
        "movs r2, #0",
        "2:",
        largest!(),
        "subs r3, #2",
        "bne 2b",
        "ldr r12, [sp]",
        "lsr r2, r2, #24",
        "sub r3, r2, #67",
        "cmp r3, #186",
        "bhi 9f",
        "ldrd r4, r5, [r12, #8]",
        "ldrd r6, r3, [r12, #24]",
        "ldr r7, [r12, #32]",
        "sub r8, r2, #126",
        "sub r8, r8, r7",
        "strb r8, [r4]",
        "add r4, r6",
        "subs r5, #1",
        "strd r4, r5, [r12, #8]",
        "rsb r2, r2, #253",
        "add r2, r7",
        "lsl r2, r2, #23",
        "vmov s3, r2",
        "mov r0, lr",
        "ldr r2, [r12, #16]",
        "3:", // four values
        "vldmia r0!, {{s4-s7}}",
        "vmul.f32 s4, s4, s3",
        "vmul.f32 s5, s5, s3",
        "vmul.f32 s6, s6, s3",
        "vmul.f32 s7, s7, s3",
        "vcvtr.s32.f32 s4, s4",
        "vcvtr.s32.f32 s5, s5",
        "vcvtr.s32.f32 s6, s6",
        "vcvtr.s32.f32 s7, s7",
        "vmov r4, r5, s4, s5",
        "vmov r6, r7, s6, s7",
        "cmp r3, #1",
        "blo 4f",
        "ssat r4, #8, r4",
        "ssat r5, #8, r5",
        "ssat r6, #8, r6",
        "ssat r7, #8, r7",
        "bfi r4, r5, #8, #8",
        "bfi r6, r7, #8, #8",
        "bhi 5f",
        "strh r4, [r1], #2",
        "strh r6, [r1], #2",
        "b 6f",
        "4:",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        "pkhbt r4, r4, r5, lsl #16",
        "pkhbt r6, r6, r7, lsl #16",
        "stmia r1!, {{r4, r6}}",
        "b 6f",
        "5:",
        "strh r4, [r1], #4",
        "strh r6, [r1], #4",
        "6:",
        "subs r2, #1",
        "bne 3b",
        "ldr r4, [r12, #20]",
        "ldr r2, [r12, #12]",
        "add r1, r4",
        "cmp r2, #0",
        "bne.w 1b",
        "movs r0, #1",
        "b 8f",
        "9:",
        "movs r0, #0",
        "8:",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
        larger!(),
    )
}

/// The largest of `n` exponents, at least one; they may lie at any address, which a load of one word allows.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn largest(exponents: *const i8, n: usize) -> i32 {
    naked_asm!(
        features!(),
        "mov r2, #0x80808080",
        "subs r1, #4",
        "blo 2f",
        "1:",
        "ldr r3, [r0], #4",
        "ssub8 r12, r3, r2",
        "sel r2, r3, r2",
        "subs r1, #4",
        "bhs 1b",
        "2:", // the largest of four, then the last ones
        "ror r3, r2, #16",
        "ssub8 r12, r3, r2",
        "sel r2, r3, r2",
        "ror r3, r2, #8",
        "ssub8 r12, r3, r2",
        "sel r2, r3, r2",
        "sxtb r2, r2",
        "adds r1, #4",
        "beq 4f",
        "3:",
        "ldrsb r3, [r0], #1",
        "cmp r2, r3",
        "it lt",
        "movlt r2, r3",
        "subs r1, #1",
        "bne 3b",
        "4:",
        "mov r0, r2",
        "bx lr",
    )
}

/// Packs up to `n` blocks of `eights` times eight values of `x`; returns how many before one whose largest
/// magnitude is below `2^-100`, or that holds NaN or an infinity.
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
        "sub r12, r2, #0x1B000000",
        "cmp r12, #0xE4000000",
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
    )
}
