//! Floats to integers: activations, and the queries, keys and values of a head.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::{Row, scalar};
use crate::ops::LANES;
use crate::parts::copy;
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
                let n = x.len() / BLOCK;
                // SAFETY: `blocks` has room for what `x` holds; a value of `Dsp` proves the instructions.
                let done = unsafe { quantize(x.as_ptr(), blocks.as_mut_ptr(), n, BLOCK / LANES) };
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
                let mut padded = [0.0; BLOCK];
                copy(&mut padded, last);
                let eights = rest.div_ceil(LANES);
                // SAFETY: `tail` is a record of so many eights, which `padded` holds; as above.
                let done = unsafe { quantize(padded.as_ptr(), tail.as_mut_ptr(), 1, eights) };
                if done == 0 {
                    scalar::pack(tail, last);
                }
            }
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
            eights: head_size / LANES,
            gap: 0,
            step: 1,
        };
        // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
        if bits != 15 || !unsafe { integers_15(&mut heads) } {
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
            eights: head_size / LANES,
            gap: n_ctx * width - span,
            step: n_ctx,
        };
        let done = match in_pairs {
            // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
            true => unsafe { values(&mut heads) },
            // SAFETY: as above.
            false => unsafe { keys(&mut heads) },
        };
        if !done {
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
    /// Groups of eight values of a head, at least one.
    eights: usize,
    /// Bytes from the end of a head's integers to the next head's.
    gap: usize,
    /// From a head's exponent to the next head's.
    step: usize,
}

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

/// Four values to four integers of `$bits` bits in r4-r7, which `$store` stores.
macro_rules! round {
    ($bits:literal, $($store:literal),*) => {
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
            "ssat r4, #", $bits, ", r4\n",
            "ssat r5, #", $bits, ", r5\n",
            "ssat r6, #", $bits, ", r6\n",
            "ssat r7, #", $bits, ", r7\n",
            $($store, "\n",)*
        )
    };
}

/// Heads to integers, which `$store` stores; false where `scalar` has to look at one.
macro_rules! integers {
    ($name:ident, $bits:literal, $bias:literal, $unit:literal, $($store:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(heads: *mut Heads) -> bool {
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
                "subs r3, #1",
                "bne 2b",
                "ldr r12, [sp]",
                "lsr r2, r2, #24",
                "sub r3, r2, #67",
                "cmp r3, #186",
                "bhi 4f",
                "ldrd r4, r5, [r12, #8]",
                concat!("sub r3, r2, #", $unit),
                "ldr r6, [r12, #24]",
                "strb r3, [r4]",
                "add r4, r6",
                "subs r5, #1",
                "strd r4, r5, [r12, #8]",
                concat!("rsb r2, r2, #", $bias),
                "lsl r2, r2, #23",
                "vmov s3, r2",
                "mov r0, lr",
                "ldr r2, [r12, #16]",
                "3:",
                round!($bits, $($store),*),
                round!($bits, $($store),*),
                "subs r2, #1",
                "bne 3b",
                "ldr r4, [r12, #20]",
                "ldr r2, [r12, #12]",
                "add r1, r4",
                "cmp r2, #0",
                "bne.w 1b",
                "movs r0, #1",
                "b 5f",
                "4:",
                "movs r0, #0",
                "5:",
                "add sp, #4",
                "pop {{r4-r11, pc}}",
                larger!(),
            )
        }
    };
}

// The exponent that makes `bits` bits of the largest is `bits - 1` less its own; 254 is twice the bias. The
// integers' own exponent is that of the largest less 126 and `bits`.
integers!(
    integers_15,
    "16",
    "268",
    "141",
    "pkhbt r4, r4, r5, lsl #16",
    "pkhbt r6, r6, r7, lsl #16",
    "stmia r1!, {{r4, r6}}"
);
integers!(
    keys,
    "8",
    "260",
    "133",
    "bfi r4, r5, #8, #8",
    "bfi r4, r6, #16, #8",
    "bfi r4, r7, #24, #8",
    "str r4, [r1], #4"
);
integers!(
    values,
    "8",
    "260",
    "133",
    "bfi r4, r5, #8, #8",
    "bfi r6, r7, #8, #8",
    "strh r4, [r1], #4",
    "strh r6, [r1], #4"
);

/// The largest of `n` exponents, at least one.
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
        "1:",
        "movs r2, #0",
        "2:",
        largest!(),
        "subs lr, #1",
        "bne 2b",
        "ldr lr, [sp, #4]",
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
        pack!(),
        "subs r2, #1",
        "bne.w 3b",
        "vstmia r1!, {{s2}}",
        "subs r3, #1",
        "bne.w 1b",
        "4:",
        "pop {{r0, r4}}",
        "sub r0, r0, r3",
        "pop {{r4-r11, pc}}",
        larger!(),
    )
}
