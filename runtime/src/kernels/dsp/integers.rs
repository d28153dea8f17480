//! Floats to integers: the queries, keys and values of a head, and what activations share with them.

use core::arch::naked_asm;

use super::{Dsp, ODD_HEADS};
use crate::kernels::{KEPT_BITS, Row, scalar};
use crate::ops::LANES;

impl Dsp {
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
        let whole = head_size.is_multiple_of(LANES) && out.len() == n && x.len() == n;
        if !whole || bits != QUERY_BITS {
            if ODD_HEADS {
                scalar::integers(out, exponents, x, head_size, bits);
            }
            return;
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
        if n > 0 {
            // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
            unsafe { to_integers(&mut heads) };
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
        let last = heads.saturating_sub(1) * n_ctx;
        // Of values the last two places may be another token's.
        let (span, others) = if in_pairs { (2 * width, 2) } else { (width, 0) };
        let fits = row.exponents.len() > last
            && row.integers.len() + others >= last * width + span
            && n_ctx * width >= span;
        let whole = head_size.is_multiple_of(LANES) && width == head_size;
        if !whole || !fits {
            if ODD_HEADS {
                scalar::keep(row, x);
            }
            return;
        }
        let mut token = Heads {
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
        if heads > 0 {
            // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
            unsafe { to_integers(&mut token) };
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
    /// Groups of four values of a head, an even number of them, at least two.
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

/// Heads to integers.
///
/// The factor that makes `bits` bits of the largest has the exponent `bits - 1` less its own; 254 is twice the bias.
/// The integers' own exponent is that of the largest less 126 and `bits`. A conversion makes 0 of NaN.
#[unsafe(naked)]
unsafe extern "C" fn to_integers(heads: *mut Heads) {
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
        "ldr r7, [r12, #32]",
        "lsr r2, r2, #24",
        "sub r3, r2, #67",
        "cmp r3, #186",
        "bhi 9f",
        "8:", // r2 is its exponent, and r3 that less 67
        "sub r8, r2, #126",
        "sub r8, r8, r7",
        "rsb r2, r3, #186",
        "add r2, r7",
        "lsl r2, r2, #23",
        "vmov s3, r2",
        "ldrd r4, r5, [r12, #8]",
        "ldrd r6, r3, [r12, #24]",
        "strb r8, [r4]",
        "add r4, r6",
        "subs r5, #1",
        "strd r4, r5, [r12, #8]",
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
        "add sp, #4",
        "pop {{r4-r11, pc}}",
        "9:", // beyond the range, or NaN, which does not count
        "cmp r2, #255",
        "bne 11f",
        "mov r0, lr",
        "ldr r4, [r12, #16]",
        "lsl r4, r4, #2",
        "mov r6, #0xFF000000",
        "movs r2, #0",
        "10:",
        "ldr r5, [r0], #4",
        "lsl r5, r5, #1",
        "cmp r6, r5",
        "it hs",
        "cmphs r5, r2",
        "it hi",
        "movhi r2, r5",
        "subs r4, #1",
        "bne 10b",
        "lsr r2, r2, #24",
        "sub r3, r2, #67",
        "cmp r3, #186",
        "bls 8b",
        "11:", // zeros: the factor is 0, so that an infinity becomes NaN, and the exponent that of the smallest
        "add r3, r7, #186",
        "movs r2, #67",
        "b 8b",
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
