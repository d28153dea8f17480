//! Attention of one head in integers.

use core::arch::naked_asm;

use super::Dsp;
use super::integers::largest;
use crate::kernels::attention::{Attention, PIECE};
use crate::kernels::scalar::{self, EXP2};

/// Columns that go through together.
const COLUMNS: usize = 8;

/// Score of what comes after the last token: so far below any other that its weight is 0.
const NOTHING: i32 = 1 << 20;

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Head {
    scores: *mut i32,
    keys: *const i8,
    key_exponents: *const i8,
    n: usize,
    /// `[width]`; for rows of more than eight columns every second and third of four exchanged.
    query: *const i16,
    multiplier: i32,
    /// To the right, before an exponent is taken off.
    shift: i32,
    /// Groups of eight columns.
    groups: usize,
    value_exponents: *const i8,
    even: usize,
    largest_value: i32,
    powers: *const u32,
    /// Eight columns of a pair of tokens.
    values: *const i8,
    /// Bytes from the end of eight columns of a pair of tokens to those of the next.
    gap: usize,
    /// `[8]`; goes on to the next.
    out: *mut f32,
    /// `[8]`, what is added to.
    earlier: *const f32,
}

/// What comes before the first piece of tokens.
static NONE: [f32; COLUMNS] = [0.0; COLUMNS];

impl Dsp {
    /// See [`scalar::attend`].
    pub(in crate::kernels) fn attend(
        self,
        attention: Attention<'_>,
        queries: &mut [i16],
        exponents: &[i8],
        out: &mut [f32],
    ) {
        let Attention { n, width, .. } = attention;
        let even = n.next_multiple_of(2);
        let fits = attention.keys.len() >= even * width
            && attention.key_exponents.len() >= n
            && attention.values.len() >= even * width
            && attention.value_exponents.len() >= even
            && attention.scores.len() >= even
            && queries.len() == exponents.len() * width
            && out.len() == queries.len();
        if n == 0 || width == 0 || !width.is_multiple_of(COLUMNS) || !fits {
            return scalar::attend(attention, queries, exponents, out);
        }
        // SAFETY: there are `n` exponents, at least one; a value of `Dsp` proves the instructions.
        let largest_key = unsafe { largest(attention.key_exponents.as_ptr(), n) };
        // SAFETY: as above.
        let largest_value = unsafe { largest(attention.value_exponents.as_ptr(), n) };
        let mut head = Head {
            scores: attention.scores.as_mut_ptr(),
            keys: attention.keys.as_ptr(),
            key_exponents: attention.key_exponents.as_ptr(),
            n,
            query: queries.as_ptr(),
            multiplier: 0,
            shift: 0,
            groups: width / COLUMNS,
            value_exponents: attention.value_exponents.as_ptr(),
            even,
            largest_value,
            powers: EXP2.as_ptr(),
            values: attention.values.as_ptr(),
            gap: 2 * (width - COLUMNS),
            out: out.as_mut_ptr(),
            earlier: NONE.as_ptr(),
        };
        if width > COLUMNS {
            for [_, second, third, _] in queries.as_chunks_mut().0 {
                core::mem::swap(second, third);
            }
        }
        for exponent in exponents {
            let scale = attention.scale.of(i32::from(*exponent), largest_key);
            (head.multiplier, head.shift) = (scale.multiplier, scale.shift);
            // SAFETY: the lengths were checked above; a value of `Dsp` proves the instructions.
            unsafe { head.run() };
            head.query = head.query.wrapping_add(width);
        }
    }
}

impl Head {
    /// Attention of the head of `query` into `out`, which goes on to the next.
    ///
    /// # Safety
    /// The memory behind the pointers is there, and the instructions.
    unsafe fn run(&mut self) {
        let most = match self.groups {
            // SAFETY: as the caller promises.
            1 => unsafe { scores_8(self) },
            // SAFETY: as above.
            _ => unsafe { scores(self) },
        };
        if self.even > self.n {
            // SAFETY: as above.
            unsafe { *self.scores.add(self.n) = most.wrapping_sub(NOTHING) };
        }
        let (mut total, mut all) = (0.0, 0);
        for start in (0..self.even).step_by(PIECE) {
            let pairs = PIECE.min(self.even - start) / 2;
            // SAFETY: as above.
            let both = unsafe { weights(self, start, pairs, most) };
            total += both as u32 as f32;
            all |= (both >> 32) as u32;
        }
        let lead = scalar::lead(all);
        let factor = scalar::factor(self.largest_value, lead, total);
        let (values, out) = (self.values, self.out);
        for start in (0..self.even).step_by(PIECE) {
            let count = (PIECE.min(self.even - start) / 2 - 1) << 8 | lead as usize;
            self.out = out;
            for group in 0..self.groups {
                let columns = start * self.groups + 2 * group;
                self.values = values.wrapping_add(columns * COLUMNS);
                self.earlier = if start > 0 { self.out } else { NONE.as_ptr() };
                match self.groups {
                    // SAFETY: as above.
                    1 => unsafe { sums_8(self, start, count, factor) },
                    // SAFETY: as above.
                    _ => unsafe { sums(self, start, count, factor) },
                }
            }
        }
        self.values = values;
    }
}

/// Score of a row of eight columns; a new largest one is noted at label `$more`.
macro_rules! score_8 {
    ($more:literal, $back:literal) => {
        concat!(
            "ldmia r1!, {{r10, r11}}\n",
            "sxtb16 r12, r10\n",
            "smuad r12, r12, r4\n",
            "sxtb16 r10, r10, ror #8\n",
            "smlad r12, r10, r5, r12\n",
            "sxtb16 r10, r11\n",
            "smlad r12, r10, r6, r12\n",
            "sxtb16 r10, r11, ror #8\n",
            "smlad r12, r10, r7, r12\n",
            "smmul r12, r12, r8\n",
            "ldrsb r10, [r2], #1\n",
            "sub r10, lr, r10\n",
            "asr r12, r12, r10\n",
            "str r12, [r0], #4\n",
            "cmp r9, r12\n",
            "blt ",
            $more,
            "f\n",
            $back,
            ":\n",
        )
    };
}

/// Rows of eight columns, two a round, with the query in registers.
#[unsafe(naked)]
unsafe extern "C" fn scores_8(head: *const Head) -> i32 {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r8, [r0, #16]",
        "ldr lr, [r0, #24]",
        "ldmia r4, {{r10-r12}}",
        "ldr r7, [r4, #12]",
        "pkhbt r4, r10, r11, lsl #16",
        "pkhtb r5, r11, r10, asr #16",
        "pkhbt r6, r12, r7, lsl #16",
        "pkhtb r7, r7, r12, asr #16",
        "ldmia r0, {{r0-r3}}",
        "mov r9, #0x80000000",
        "lsls r12, r3, #31",
        "beq 1f",
        "adds r3, #1", // an odd row comes first
        "b 3f",
        "1:",
        score_8!("4", "2"),
        "3:",
        score_8!("6", "5"),
        "subs r3, #2",
        "bne 1b",
        "mov r0, r9",
        "pop {{r4-r11, pc}}",
        "4:",
        "mov r9, r12",
        "b 2b",
        "6:",
        "mov r9, r12",
        "b 5b",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn scores(head: *const Head) -> i32 {
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

/// Weight of a score in `$x`, with `$t` to work in.
macro_rules! weight {
    ($x:literal, $t:literal) => {
        concat!(
            "sub ",
            $x,
            ", r3, ",
            $x,
            "\n",
            "and ",
            $t,
            ", ",
            $x,
            ", #127\n",
            "ldr ",
            $t,
            ", [r5, ",
            $t,
            ", lsl #2]\n",
            "usat ",
            $x,
            ", #7, ",
            $x,
            ", asr #7\n",
            "lsr ",
            $x,
            ", ",
            $t,
            ", ",
            $x,
            "\n",
            "ldrsb ",
            $t,
            ", [r1], #1\n",
            "add r6, r6, ",
            $x,
            ", lsr #10\n",
            "sub ",
            $t,
            ", r4, ",
            $t,
            "\n",
            "lsr ",
            $x,
            ", ",
            $x,
            ", ",
            $t,
            "\n", // a shift looks at the lowest byte only
            "orr r7, r7, ",
            $x,
            "\n",
        )
    };
}

/// Weights of `pairs` of tokens from `start` on; returns the sum of their powers in the lower half, and all bits
/// that they have in the upper one.
#[unsafe(naked)]
unsafe extern "C" fn weights(head: *const Head, start: usize, pairs: usize, most: i32) -> u64 {
    naked_asm!(
        features!(),
        "push {{r4-r9, lr}}",
        "ldrd r4, r5, [r0, #40]",
        "ldr r12, [r0, #32]",
        "ldr r0, [r0]",
        "add r0, r0, r1, lsl #2",
        "add r1, r12",
        "movs r6, #0", // the sum
        "movs r7, #0", // all bits
        "1:",
        "ldrd r8, r9, [r0]",
        weight!("r8", "r12"),
        weight!("r9", "r12"),
        "strd r8, r9, [r0], #8",
        "subs r2, #1",
        "bne 1b",
        "mov r0, r6",
        "mov r1, r7",
        "pop {{r4-r9, pc}}",
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

/// Four sums to floats, in addition to what was there.
macro_rules! finish {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "vmov s0, s1, ",
            $a,
            ", ",
            $b,
            "\n",
            "vmov s2, s3, ",
            $c,
            ", ",
            $d,
            "\n",
            "vldmia r1!, {{s4-s7}}\n",
            "vcvt.f32.s32 s0, s0\n",
            "vcvt.f32.s32 s1, s1\n",
            "vcvt.f32.s32 s2, s2\n",
            "vcvt.f32.s32 s3, s3\n",
            "vmla.f32 s4, s0, s8\n",
            "vmla.f32 s5, s1, s8\n",
            "vmla.f32 s6, s2, s8\n",
            "vmla.f32 s7, s3, s8\n",
            "vstmia r0!, {{s4-s7}}\n",
        )
    };
}

/// Sums of eight columns of the tokens from `start` on; `count` is their pairs less one in the upper 24 bits and the
/// lead in the lower 8. `$gap` goes on to the next pair.
macro_rules! sums {
    ($name:ident, $($gap:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(head: *mut Head, start: usize, count: usize, factor: f32) {
            naked_asm!(
                features!(),
                "push {{r0, r4-r11, lr}}",
                "vmov.f32 s8, s0",
                "ldr r12, [r0, #48]",
                "ldr r0, [r0]",
                "add r0, r0, r1, lsl #2",
                "mov r1, r12",
                "movs r4, #0",
                "movs r5, #0",
                "movs r6, #0",
                "movs r7, #0",
                "mov r8, r4",
                "mov r9, r4",
                "mov r10, r4",
                "mov r11, r4",
                "1:",
                "ldmia r0!, {{r12, lr}}",
                "lsl r12, r12, r2", // a shift looks at the lowest byte only
                "lsl lr, lr, r2",
                "pkhtb r3, lr, r12, asr #16",
                columns!("r4", "r5"),
                columns!("r6", "r7"),
                columns!("r8", "r9"),
                columns!("r10", "r11"),
                $($gap,)*
                "subs r2, r2, #256",
                "bpl 1b",
                "pop {{r2}}",
                "ldrd r0, r1, [r2, #56]",
                finish!("r4", "r5", "r6", "r7"),
                finish!("r8", "r9", "r10", "r11"),
                "str r0, [r2, #56]",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

sums!(sums_8,);
sums!(sums, "ldr r12, [sp]", "ldr r12, [r12, #52]", "add r1, r12");
