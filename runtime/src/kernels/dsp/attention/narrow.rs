//! Heads of eight columns with so many tokens that their sums are exact.

use core::arch::naked_asm;

use super::parts::{columns, finish, weight};
use super::{Attention, COLUMNS, Heads, NOTHING, ZEROS, largest_of};
use crate::kernels::scalar::EXP2;

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Product {
    /// `[even]`, `even` being `n` rounded up to pairs.
    scores: *mut i32,
    /// `[n, 8]`
    keys: *const i8,
    /// `[n]`
    key_exponents: *const i8,
    /// Tokens, at least one.
    n: usize,
    /// `[heads, 8]`; goes on to the next.
    queries: *const i16,
    /// `[heads]`; goes on to the next.
    exponents: *const i8,
    multiplier: i32,
    /// To the right, less the exponent of a query, and then between 0 and 31 ...
    shift: i32,
    /// ... and this, less the exponent of a key.
    largest_key: i32,
    /// `[even]`
    value_exponents: *const i8,
    largest_value: i32,
    powers: *const u32,
    /// `[even / 2, 4, 2 tokens, 2]`
    values: *const i8,
    /// `[heads, 8]`; goes on to the next.
    out: *mut f32,
    /// Heads that are left, at least one.
    heads: usize,
    zeros: *const f32,
}

/// Attention of heads of any groups.
///
/// # Safety
/// The lengths are those of [`crate::kernels::Isa::attend`], with a width of 8 and up to
/// [`PIECE`](super::PIECE) tokens, there is a token and a head; the instructions are there.
pub(super) unsafe fn attend(attention: Attention<'_>, heads: Heads<'_>) {
    let Attention {
        n,
        n_ctx,
        group_size,
        ..
    } = attention;
    let mut product = Product {
        scores: attention.scores.as_mut_ptr(),
        keys: attention.keys.as_ptr(),
        key_exponents: attention.key_exponents.as_ptr(),
        n,
        queries: heads.queries.as_ptr(),
        exponents: heads.exponents.as_ptr(),
        multiplier: 0,
        shift: 0,
        largest_key: 0,
        value_exponents: attention.value_exponents.as_ptr(),
        largest_value: 0,
        powers: EXP2.as_ptr(),
        values: attention.values.as_ptr(),
        out: heads.out.as_mut_ptr(),
        heads: 0,
        zeros: ZEROS.as_ptr(),
    };
    let group_size = group_size.max(1);
    let mut left = heads.exponents.len();
    product.advance(heads.first / group_size, n_ctx);
    let mut room = group_size - heads.first % group_size;
    while left > 0 {
        product.heads = left.min(room);
        left -= product.heads;
        room = group_size;
        let (keys, values) = (product.key_exponents, product.value_exponents);
        // SAFETY: as the caller promises.
        [product.largest_key, product.largest_value] = unsafe { largest_of(keys, values, n) };
        (product.multiplier, product.shift) = attention.scale.parts(product.largest_key);
        // SAFETY: as above.
        unsafe { run(&mut product) };
        product.advance(1, n_ctx);
    }
}

impl Product {
    /// Goes on by so many groups.
    const fn advance(&mut self, groups: usize, n_ctx: usize) {
        let exponents = groups * n_ctx;
        self.keys = self.keys.wrapping_add(exponents * COLUMNS);
        self.values = self.values.wrapping_add(exponents * COLUMNS);
        self.key_exponents = self.key_exponents.wrapping_add(exponents);
        self.value_exponents = self.value_exponents.wrapping_add(exponents);
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

/// Attention of `heads` heads of one group: scores, weights, sums. Queries, their exponents and the output go on to
/// the next head's, `heads` goes down to 0; the other members stay.
///
/// # Safety
/// The memory behind the pointers is there, and the instructions; exponents are those of
/// [`crate::kernels::Isa::keep`], from -66 to 121.
#[unsafe(naked)]
unsafe extern "C" fn run(product: *mut Product) {
    naked_asm!(
        features!(),
        "push {{r0, r4-r11, lr}}",
        "0:", // a head: its query in r4-r7
        "ldrd r4, r5, [r0, #16]",
        "ldrsb r6, [r5], #1",
        "ldmia r4!, {{r8-r11}}",
        "strd r4, r5, [r0, #16]",
        "ldrd r7, r4, [r0, #24]",
        "ldr r5, [r0, #32]",
        "sub r4, r4, r6",
        "usat r4, #5, r4",
        "add lr, r5, r4",
        "pkhbt r4, r8, r9, lsl #16",
        "pkhtb r5, r9, r8, asr #16",
        "pkhbt r6, r10, r11, lsl #16",
        "mov r8, r7",
        "pkhtb r7, r11, r10, asr #16",
        "ldmia r0, {{r0-r3}}",
        "mov r9, #0x80000000",
        "lsls r12, r3, #31",
        "beq 1f",
        "adds r3, #1", // an odd row comes first
        "b 3f",
        "1:", // two rows: r9 is the largest score
        score_8!("40", "2"),
        "3:",
        score_8!("60", "5"),
        "subs r3, #2",
        "bne 1b",
        "ldr lr, [sp]",
        "ldr r2, [lr, #12]",
        "lsls r12, r2, #31",
        "itt mi", // an odd one lacks its neighbour
        "submi r12, r9, #{nothing}",
        "strmi r12, [r0]",
        "adds r2, #1",
        "lsr r2, r2, #1",
        "mov r3, r9",
        "ldr r0, [lr]",
        "ldr r1, [lr, #36]",
        "ldrd r4, r5, [lr, #40]",
        "movs r6, #0", // the sum
        "movs r7, #0", // all bits
        "7:", // weights of a pair of tokens
        "ldrd r8, r9, [r0]",
        weight!("r8", "r12"),
        weight!("r9", "r12"),
        "strd r8, r9, [r0], #8",
        "subs r2, #1",
        "bne 7b",
        "orr r7, r7, #1",
        "clz r7, r7",
        "subs r7, #1", // the lead, up to 30
        "vmov s8, r6",
        "vcvt.f32.u32 s8, s8",
        "sub r4, r4, r7",
        "adds r4, #133", // bias of an exponent, and 20 - 14
        "lsl r4, r4, #23", // from 37 to 254: a normal number
        "vmov s9, r4",
        "vdiv.f32 s8, s9, s8", // the factor
        "ldr r2, [lr, #12]",
        "subs r2, #1",
        "lsr r2, r2, #1",
        "orr r2, r7, r2, lsl #8", // pairs less one, lead
        "ldr r0, [lr]",
        "ldr r1, [lr, #48]",
        "ldr r12, [lr, #60]",
        "ldmia r12, {{r4-r11}}",
        "8:", // sums of a pair of tokens
        "ldmia r0!, {{r12, lr}}",
        "lsl r12, r12, r2", // a shift looks at the lowest byte only
        "lsl lr, lr, r2",
        "pkhtb r3, lr, r12, asr #16",
        columns!("r4", "r5"),
        columns!("r6", "r7"),
        columns!("r8", "r9"),
        columns!("r10", "r11"),
        "subs r2, r2, #256",
        "bpl 8b",
        "ldr r2, [sp]",
        "ldr r0, [r2, #52]",
        "ldrd r3, r1, [r2, #56]",
        finish!("r4", "r5", "r6", "r7"),
        finish!("r8", "r9", "r10", "r11"),
        "str r0, [r2, #52]",
        "mov r0, r2",
        "subs r3, #1",
        "str r3, [r2, #56]",
        "bne.w 0b",
        "pop {{r0, r4-r11, pc}}",
        "40:",
        "mov r9, r12",
        "b 2b",
        "60:",
        "mov r9, r12",
        "b 5b",
        nothing = const NOTHING,
    )
}
