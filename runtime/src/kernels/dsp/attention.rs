//! Attention of one head in integers.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::ScoreScale;
use crate::kernels::scalar::{self, EXP2, EXP2_CUBIC};

/// Columns that go through together.
const COLUMNS: usize = 8;

/// What the assembly of [`Dsp::scores`] takes; it knows the offsets.
#[repr(C)]
struct Scoring {
    out: *mut i32,
    keys: *const i8,
    exponents: *const i8,
    n: usize,
    /// `[width]`, every second and third of four exchanged.
    query: *const i16,
    multiplier: i32,
    /// To the right, before an exponent is taken off.
    shift: u32,
    /// Groups of eight columns.
    groups: usize,
}

/// What the assembly of [`Dsp::weights`] takes; it knows the offsets.
#[repr(C)]
struct Weighing {
    x: *mut i32,
    exponents: *const i8,
    /// `n - 1` in the upper 24 bits, `fraction` in the lower 8.
    count: usize,
    most: i32,
    /// `31 - fraction`.
    lift: u32,
    /// The cubic coefficient in the upper 16 bits, `most_exponent + 1` in the lowest 8.
    cubic: u32,
    one: i32,
    linear: i32,
    square: i32,
    sum: u32,
    all: u32,
}

/// What the assembly of [`Dsp::weighted_sums`] takes; it knows the offsets.
#[repr(C)]
struct Summing {
    weights: *const i32,
    values: *const i8,
    /// Pairs of tokens less one in the upper 24 bits, `lead` in the lower 8.
    count: usize,
    /// Bytes from the end of eight columns of a pair of tokens to those of the next.
    gap: usize,
    /// `[8]`
    out: *mut i32,
}

impl Dsp {
    pub(in crate::kernels) fn scores(
        self,
        out: &mut [i32],
        query: &mut [i16],
        keys: &[i8],
        exponents: &[i8],
        scale: ScoreScale,
    ) -> i32 {
        let (width, n) = (query.len(), exponents.len());
        if n == 0
            || width == 0
            || !width.is_multiple_of(COLUMNS)
            || out.len() < n
            || keys.len() < n * width
        {
            return scalar::scores(out, query, keys, exponents, scale);
        }
        for [_, second, third, _] in query.as_chunks_mut().0 {
            core::mem::swap(second, third);
        }
        let scoring = Scoring {
            out: out.as_mut_ptr(),
            keys: keys.as_ptr(),
            exponents: exponents.as_ptr(),
            n,
            query: query.as_ptr(),
            multiplier: scale.multiplier,
            shift: scale.shift.wrapping_add_signed(scale.largest),
            groups: width / COLUMNS,
        };
        if width == COLUMNS {
            // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
            unsafe { scores_8(&scoring) }
        } else {
            // SAFETY: as above.
            unsafe { scores(&scoring) }
        }
    }

    pub(in crate::kernels) fn weights(
        self,
        x: &mut [i32],
        exponents: &[i8],
        most: i32,
        most_exponent: i32,
        fraction: u32,
    ) -> (u32, u32) {
        let n = exponents.len();
        let (x, rest) = x.split_at_mut_checked(n).unwrap_or_default();
        rest.fill(0);
        if x.is_empty() {
            return (0, 0);
        }
        let [one, linear, square] = EXP2;
        let exponent = (most_exponent + 1).cast_unsigned() & 0xFF;
        let mut weighing = Weighing {
            x: x.as_mut_ptr(),
            exponents: exponents.as_ptr(),
            count: (n - 1) << 8 | fraction as usize,
            most,
            lift: 31 - fraction,
            cubic: u32::from(EXP2_CUBIC.cast_unsigned()) << 16 | exponent,
            one,
            linear,
            square,
            sum: 0,
            all: 0,
        };
        // SAFETY: `x` and `exponents` have `n` elements; a value of `Dsp` proves the instructions.
        unsafe { weights(&mut weighing) };
        (weighing.sum, weighing.all)
    }

    pub(in crate::kernels) fn weighted_sums(
        self,
        out: &mut [i32],
        weights: &[i32],
        lead: u32,
        values: &[i8],
    ) {
        let (width, pairs) = (out.len(), weights.len() / 2);
        if !width.is_multiple_of(COLUMNS) || pairs == 0 || values.len() < pairs * 2 * width {
            return scalar::weighted_sums(out, weights, lead, values);
        }
        let (chunks, _) = out.as_chunks_mut::<COLUMNS>();
        for (i, out) in chunks.iter_mut().enumerate() {
            let summing = Summing {
                weights: weights.as_ptr(),
                values: values.as_ptr().wrapping_add(i * 2 * COLUMNS),
                count: (pairs - 1) << 8 | lead as usize,
                gap: 2 * (width - COLUMNS),
                out: out.as_mut_ptr(),
            };
            if summing.gap == 0 {
                // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
                unsafe { sums_8(&summing) }
            } else {
                // SAFETY: as above.
                unsafe { sums(&summing) }
            }
        }
    }
}

/// Rows of eight columns, with the query in registers.
#[unsafe(naked)]
unsafe extern "C" fn scores_8(scoring: *const Scoring) -> i32 {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r8, [r0, #16]",
        "ldr lr, [r0, #24]",
        "ldmia r4, {{r4-r7}}",
        "ldmia r0, {{r0-r3}}",
        "mov r9, #0x80000000",
        "1:",
        "ldmia r1!, {{r10, r11}}",
        "sxtb16 r12, r10",
        "sxtb16 r10, r10, ror #8",
        "smuad r12, r12, r4",
        "smlad r12, r10, r5, r12",
        "sxtb16 r10, r11",
        "smlad r12, r10, r6, r12",
        "sxtb16 r10, r11, ror #8",
        "smlad r12, r10, r7, r12",
        "smmul r12, r12, r8",
        "ldrsb r10, [r2], #1",
        "sub r10, lr, r10",
        "asr r12, r12, r10",
        "str r12, [r0], #4",
        "cmp r9, r12",
        "it lt",
        "movlt r9, r12",
        "subs r3, #1",
        "bne 1b",
        "mov r0, r9",
        "pop {{r4-r11, pc}}",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn scores(scoring: *const Scoring) -> i32 {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [r0, #16]",
        "ldrd r6, r7, [r0, #24]",
        "ldmia r0, {{r0-r3}}",
        "mov r8, #0x80000000",
        "push {{r4-r8}}", // query, multiplier, shift, groups, largest
        "1:",
        "movs r12, #0",
        "ldr r4, [sp]",
        "ldr lr, [sp, #12]",
        "2:",
        "ldmia r1!, {{r5, r6}}",
        "ldmia r4!, {{r8-r11}}",
        "sxtb16 r7, r5",
        "smlad r12, r7, r8, r12",
        "sxtb16 r7, r5, ror #8",
        "smlad r12, r7, r9, r12",
        "sxtb16 r7, r6",
        "smlad r12, r7, r10, r12",
        "sxtb16 r7, r6, ror #8",
        "smlad r12, r7, r11, r12",
        "subs lr, #1",
        "bne 2b",
        "ldrd r5, r6, [sp, #4]",
        "ldr r8, [sp, #16]",
        "smmul r12, r12, r5",
        "ldrsb r7, [r2], #1",
        "sub r7, r6, r7",
        "asr r12, r12, r7",
        "str r12, [r0], #4",
        "cmp r8, r12",
        "it lt",
        "strlt r12, [sp, #16]",
        "subs r3, #1",
        "bne 1b",
        "ldr r0, [sp, #16]",
        "add sp, #20",
        "pop {{r4-r11, pc}}",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn weights(weighing: *mut Weighing) {
    naked_asm!(
        features!(),
        "push {{r0, r4-r11, lr}}",
        "ldmia r0, {{r0-r8}}",
        "movs r10, #0", // the sum
        "movs r11, #0", // all bits
        "1:",
        "ldr r12, [r0]",
        "sub r12, r3, r12",
        "lsl lr, r12, r4",
        "bic lr, lr, #0x80000000",
        "lsr r12, r12, r2",
        "usat r12, #7, r12",
        "smlawt r9, lr, r5, r8",
        "smmla r9, r9, lr, r7",
        "smmla r9, r9, lr, r6",
        "lsr r9, r9, r12",
        "add r10, r10, r9, lsr #10",
        "ldrsb r12, [r1], #1",
        "sub r12, r5, r12", // a shift looks at the lowest byte only
        "lsr r9, r9, r12",
        "orr r11, r11, r9",
        "str r9, [r0], #4",
        "subs r2, r2, #256",
        "bpl 1b",
        "pop {{r0}}",
        "strd r10, r11, [r0, #36]",
        "pop {{r4-r11, pc}}",
    )
}

/// Two columns of a pair of tokens at r1, with the tokens' weights in r3.
macro_rules! columns {
    ($a:literal, $b:literal) => {
        concat!(
            "ldr r12, [r1], #4\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad ",
            $a,
            ", lr, r3, ",
            $a,
            "\n",
            "smlad ",
            $b,
            ", r12, r3, ",
            $b,
            "\n",
        )
    };
}

/// Sums of eight columns; `$gap` goes on to the next pair of tokens.
macro_rules! sums {
    ($name:ident, $($gap:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(summing: *const Summing) {
            naked_asm!(
                features!(),
                "push {{r4-r11, lr}}",
                "ldrd r4, r5, [r0, #12]",
                "ldmia r0, {{r0-r2}}",
                "push {{r4, r5}}", // gap, out
                "movs r4, #0",
                "movs r5, #0",
                "movs r6, #0",
                "movs r7, #0",
                "mov r8, #0",
                "mov r9, #0",
                "mov r10, #0",
                "mov r11, #0",
                "1:",
                "ldmia r0!, {{r12, lr}}",
                "lsl r12, r12, r2", // a shift looks at the lowest byte only
                "lsl lr, lr, r2",
                "add r12, r12, #0x8000",
                "add lr, lr, #0x8000",
                "pkhtb r3, lr, r12, asr #16",
                columns!("r4", "r5"),
                columns!("r6", "r7"),
                columns!("r8", "r9"),
                columns!("r10", "r11"),
                $($gap,)*
                "subs r2, r2, #256",
                "bpl 1b",
                "ldr r0, [sp, #4]",
                "stmia r0, {{r4-r11}}",
                "add sp, #8",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

sums!(sums_8,);
sums!(sums, "ldr r12, [sp]", "add r1, r1, r12");
