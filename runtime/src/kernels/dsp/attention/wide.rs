//! Heads of more columns than eight, or with more tokens than have exact sums.

use core::arch::naked_asm;

use super::parts::{columns, finish, weight};
use super::{Attention, COLUMNS, Heads, NOTHING, PIECE, ZEROS, largest_of};
use crate::kernels::scalar::{self, EXP2};

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Head {
    scores: *mut i32,
    keys: *const i8,
    key_exponents: *const i8,
    n: usize,
    /// `[width]`, every second and third of four exchanged.
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

/// Attention of heads of one group.
///
/// # Safety
/// The lengths are those of [`crate::kernels::Isa::attend`], with whole groups of eight columns, and there is a
/// token; the instructions are there.
#[inline(never)]
pub(super) unsafe fn attend(attention: &mut Attention<'_>, heads: Heads<'_>) {
    let Heads {
        queries,
        exponents,
        out,
        ..
    } = heads;
    let Attention { n, width, .. } = *attention;
    let (key_exponents, value_exponents) = (
        attention.key_exponents.as_ptr(),
        attention.value_exponents.as_ptr(),
    );
    // SAFETY: as the caller promises.
    let [largest_key, largest_value] = unsafe { largest_of(key_exponents, value_exponents, n) };
    for [_, second, third, _] in queries.as_chunks_mut().0 {
        core::mem::swap(second, third);
    }
    let mut head = Head {
        scores: attention.scores.as_mut_ptr(),
        keys: attention.keys.as_ptr(),
        key_exponents,
        n,
        query: queries.as_ptr(),
        multiplier: 0,
        shift: 0,
        groups: width / COLUMNS,
        value_exponents,
        even: n.next_multiple_of(2),
        largest_value,
        powers: EXP2.as_ptr(),
        values: attention.values.as_ptr(),
        gap: 2 * (width - COLUMNS),
        out: out.as_mut_ptr(),
        earlier: ZEROS.as_ptr(),
    };
    for exponent in exponents {
        let scale = attention.scale.of(i32::from(*exponent), largest_key);
        (head.multiplier, head.shift) = (scale.multiplier, scale.shift);
        // SAFETY: as the caller promises.
        unsafe { head.run() };
        head.query = head.query.wrapping_add(width);
    }
}

impl Head {
    /// Attention of the head of `query` into `out`, which goes on to the next.
    ///
    /// # Safety
    /// The memory behind the pointers is there, and the instructions.
    unsafe fn run(&mut self) {
        // SAFETY: as the caller promises.
        let most = unsafe { scores(self) };
        if self.even > self.n {
            let place = self.scores.wrapping_add(self.n);
            // SAFETY: as above.
            unsafe { *place = most.wrapping_sub(NOTHING) };
        }
        let (mut total, mut all, mut start) = (0.0, 0, 0);
        while start < self.even {
            // SAFETY: as above.
            let both = unsafe { weights(self, start, self.pairs(start), most) };
            total += both as u32 as f32;
            all |= (both >> 32) as u32;
            start += PIECE;
        }
        let lead = scalar::lead(all);
        // SAFETY: as above.
        unsafe { self.add(lead, scalar::factor(self.largest_value, lead, total)) };
    }

    /// Pairs of tokens from `start` on that go together.
    fn pairs(&self, start: usize) -> usize {
        PIECE.min(self.even - start) / 2
    }

    /// Sums of all columns.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn add(&mut self, lead: u32, factor: f32) {
        let (values, out, mut start) = (self.values, self.out, 0);
        while start < self.even {
            let count = (self.pairs(start) - 1) << 8 | lead as usize;
            self.values = values.wrapping_add(start * self.groups * COLUMNS);
            self.out = out;
            for _ in 0..self.groups {
                self.earlier = if start > 0 { self.out } else { ZEROS.as_ptr() };
                // SAFETY: as the caller promises.
                unsafe { sums(self, start, count, factor) };
                self.values = self.values.wrapping_add(2 * COLUMNS);
            }
            start += PIECE;
        }
        self.values = values;
    }
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

/// Sums of eight columns of the tokens from `start` on; `count` is their pairs less one in the upper 24 bits and the
/// lead in the lower 8.
#[unsafe(naked)]
unsafe extern "C" fn sums(head: *mut Head, start: usize, count: usize, factor: f32) {
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
        "ldr r12, [sp]", // to the next pair
        "ldr r12, [r12, #52]",
        "add r1, r12",
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
