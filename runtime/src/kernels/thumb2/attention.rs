//! Attention in integers: the loops over keys and values.

use core::arch::naked_asm;

use super::Thumb2;
use super::float::plus;
use crate::kernels::attention::{Attention, Heads, PIECE, SCORE_FRACTION, ScoreScale};
use crate::kernels::scalar::{self, EXP2};
use crate::parts::{part, part_mut};

/// Widest head that has room on the stack.
pub(super) const WIDEST: usize = 64;

/// Columns that go through together.
const COLUMNS: usize = 8;

/// Exponents, as their bits are, of factors with which [`floats`] multiplies.
const PLAIN_FACTORS: core::ops::Range<u32> = 40..200;

/// What the assembly of [`scores`] takes; it knows the order.
#[repr(C)]
struct Scores {
    out: *mut i32,
    keys: *const i8,
    exponents: *const i8,
    /// Behind the last exponent.
    end: *const i8,
    query: *const i32,
    /// Groups of eight integers of a key.
    eights: usize,
    multiplier: i32,
    /// To the right, before an exponent is taken off.
    shift: i32,
}

/// What the assembly of [`weights`] takes; it knows the order.
#[repr(C)]
struct Powers {
    /// The largest score.
    most: i32,
    largest_value: i32,
    /// Of 2, see [`EXP2`].
    powers: *const u32,
}

impl Thumb2 {
    /// See [`crate::kernels::Isa::attend`]; the heads are of one group.
    pub(in crate::kernels) fn attend(self, attention: &mut Attention<'_>, heads: Heads<'_>) {
        let Attention { n, width, .. } = *attention;
        let even = n.next_multiple_of(2);
        let fits = attention.keys.len() >= even * width
            && attention.key_exponents.len() >= n
            && attention.values.len() >= even * width
            && attention.value_exponents.len() >= n
            && attention.scores.len() >= even
            && attention.sums.len() == width
            && heads.out.len() == heads.queries.len();
        if n == 0 || width == 0 || width > WIDEST || !width.is_multiple_of(COLUMNS) || !fits {
            return scalar::attend(attention, heads);
        }
        let largest = |exponents: &[i8]| exponents.iter().copied().max().map_or(0, i32::from);
        let largest_key = largest(part(attention.key_exponents, 0, n));
        let largest_value = largest(part(attention.value_exponents, 0, n));
        for (i, exponent) in heads.exponents.iter().enumerate() {
            let scale = attention.scale.of(i32::from(*exponent), largest_key);
            let query = part(heads.queries, i * width, width);
            let out = part_mut(heads.out, i * width, width);
            head(attention, query, scale, largest_value, out);
        }
    }
}

/// Attention of one head.
fn head(
    attention: &mut Attention<'_>,
    query: &[i16],
    scale: ScoreScale,
    largest_value: i32,
    out: &mut [f32],
) {
    let Attention { n, width, .. } = *attention;
    let x = part_mut(attention.scores, 0, n.next_multiple_of(2));
    let most = most(
        x,
        query,
        attention.keys,
        part(attention.key_exponents, 0, n),
        scale,
    );
    let (mut total, mut all) = (0.0, 0);
    for start in (0..n).step_by(PIECE) {
        let x = part_mut(x, start, PIECE.min(n - start));
        let exponents = part(attention.value_exponents, start, x.len());
        let powers = Powers {
            most,
            largest_value,
            powers: EXP2.as_ptr(),
        };
        // SAFETY: both have as many elements, at least one.
        let both = unsafe { weights(x.as_mut_ptr(), exponents.as_ptr(), x.len(), &powers) };
        total += both as u32 as f32;
        all |= (both >> 32) as u32;
    }
    part_mut(x, n, n % 2).fill(0);
    let lead = scalar::lead(all);
    let factor = scalar::factor(largest_value, lead, total);
    for (i, x) in x.chunks(PIECE).enumerate() {
        let values = part(attention.values, i * PIECE * width, x.len() * width);
        let pairs = x.len() / 2;
        for (columns, sums) in attention.sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let values = values.as_ptr().wrapping_add(8 * columns);
            // SAFETY: there are two values of each column for each pair of weights.
            unsafe { self::sums(sums, x.as_ptr(), values, pairs, 2 * width, lead) };
        }
        add_scaled(out, attention.sums, factor, i > 0);
    }
}

/// Scores of the keys; returns the largest.
fn most(x: &mut [i32], query: &[i16], keys: &[i8], exponents: &[i8], scale: ScoreScale) -> i32 {
    let mut wide = [0; WIDEST];
    for (wide, q) in wide.iter_mut().zip(query) {
        *wide = i32::from(*q);
    }
    let exponents = exponents.as_ptr_range();
    let all = Scores {
        out: x.as_mut_ptr(),
        keys: keys.as_ptr(),
        exponents: exponents.start,
        end: exponents.end,
        query: wide.as_ptr(),
        eights: query.len() / COLUMNS,
        multiplier: scale.multiplier,
        shift: scale.shift,
    };
    // SAFETY: there are as many keys and scores as exponents, at least one, of that width.
    unsafe { scores(&all) }
}

/// `out[i] = sums[i] as f32 * factor`, or that added.
fn add_scaled(out: &mut [f32], sums: &mut [i32], factor: f32, add: bool) {
    if add || !PLAIN_FACTORS.contains(&(factor.to_bits() >> 23)) {
        for (out, sum) in out.iter_mut().zip(sums) {
            let earlier = if add { *out } else { 0.0 };
            *out = plus(earlier, *sum as f32 * factor);
        }
    } else {
        let n = out.len().min(sums.len());
        // SAFETY: both have `n` elements, at least one: a head has columns.
        unsafe { floats(out.as_mut_ptr(), sums.as_ptr(), n, factor) };
    }
}

/// Adds the products of a word of a key, `$k`, with four integers of the query in r2 to r5 to r9.
macro_rules! products {
    ($k:literal) => {
        concat!(
            "sxtb r8, ",
            $k,
            "\n",
            "mla r9, r8, r2, r9\n",
            "sxtb r8, ",
            $k,
            ", ror #8\n",
            "mla r9, r8, r3, r9\n",
            "sxtb r8, ",
            $k,
            ", ror #16\n",
            "mla r9, r8, r4, r9\n",
            "asr r8, ",
            $k,
            ", #24\n",
            "mla r9, r8, r5, r9\n",
        )
    };
}

/// Scores of the keys, at least one; returns the largest.
#[unsafe(naked)]
unsafe extern "C" fn scores(scores: *const Scores) -> i32 {
    naked_asm!(
        "push {{r0, r4-r11, lr}}",
        "ldrd r12, r1, [r0]",
        "ldr lr, [r0, #8]",
        "mov r0, r1",
        "mov r11, #0x80000000",
        "1:",
        "ldr r2, [sp]",
        "ldrd r1, r10, [r2, #16]",
        "movs r9, #0",
        "2:",
        "ldmia r1!, {{r2-r5}}",
        "ldmia r0!, {{r6, r7}}",
        products!("r6"),
        "ldmia r1!, {{r2-r5}}",
        products!("r7"),
        "subs r10, #1",
        "bne 2b",
        "ldr r2, [sp]",
        "ldrd r3, r4, [r2, #24]",
        "ldr r2, [r2, #12]",
        "ldrsb r6, [lr], #1",
        "smull r5, r9, r9, r3",
        "sub r4, r6", // below 256
        "asr r9, r4",
        "str r9, [r12], #4",
        "cmp r9, r11",
        "it gt",
        "movgt r11, r9",
        "cmp lr, r2",
        "bne 1b",
        "mov r0, r11",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
    )
}

/// Adds the products of a word of values of two tokens, `$v`, with their weights in r8 and r9.
macro_rules! weighted {
    ($v:literal, $a:literal, $b:literal) => {
        concat!(
            "sxtb r12, ",
            $v,
            "\n",
            "mla ",
            $a,
            ", r8, r12, ",
            $a,
            "\n",
            "sxtb r12, ",
            $v,
            ", ror #8\n",
            "mla ",
            $b,
            ", r8, r12, ",
            $b,
            "\n",
            "sxtb r12, ",
            $v,
            ", ror #16\n",
            "mla ",
            $a,
            ", r9, r12, ",
            $a,
            "\n",
            "asr r12, ",
            $v,
            ", #24\n",
            "mla ",
            $b,
            ", r9, r12, ",
            $b,
            "\n",
        )
    };
}

/// Sums of four columns over `pairs` of tokens, at least one, that lie `stride` bytes apart.
#[unsafe(naked)]
unsafe extern "C" fn sums(
    out: *mut [i32; 4],
    weights: *const i32,
    values: *const i8,
    pairs: usize,
    stride: usize,
    lead: u32,
) {
    naked_asm!(
        "push {{r0, r4-r11, lr}}",
        "mov lr, r1",
        "ldrd r0, r1, [sp, #40]", // stride, lead
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "1:",
        "ldrd r8, r9, [lr], #8",
        "ldrd r10, r11, [r2]",
        "add r2, r0",
        "lsl r8, r1",
        "lsr r8, #16",
        "lsl r9, r1",
        "lsr r9, #16",
        weighted!("r10", "r4", "r5"),
        weighted!("r11", "r6", "r7"),
        "subs r3, #1",
        "bne 1b",
        "pop {{r0}}",
        "stmia r0, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
    )
}

/// Scores of `n` tokens, at least one, to weights; returns the sum of the powers in units of `2^-20`, and above it
/// all bits that the weights have.
#[unsafe(naked)]
unsafe extern "C" fn weights(
    x: *mut i32,
    exponents: *const i8,
    n: usize,
    powers: *const Powers,
) -> u64 {
    naked_asm!(
        "push {{r4-r9}}",
        "ldmia r3, {{r3-r5}}", // the largest score and exponent, powers
        "movs r8, #0",
        "movs r9, #0",
        "1:",
        "ldr r6, [r0]",
        "sub r6, r3, r6",
        "ubfx r7, r6, #0, #{fraction}",
        "ldr r7, [r5, r7, lsl #2]",
        "usat r6, #5, r6, asr #{fraction}", // 31 bits to the right is nothing left
        "lsr r7, r6",
        "add r8, r8, r7, lsr #10",
        "ldrsb r6, [r1], #1",
        "sub r6, r4, r6", // below 256
        "lsr r7, r6",
        "orr r9, r7",
        "str r7, [r0], #4",
        "subs r2, #1",
        "bne 1b",
        "mov r0, r8",
        "mov r1, r9",
        "pop {{r4-r9}}",
        "bx lr",
        fraction = const SCORE_FRACTION,
    )
}

/// `out[i] = sums[i] as f32 * factor` for `n` elements, at least one.
#[unsafe(naked)]
unsafe extern "C" fn floats(out: *mut f32, sums: *const i32, n: usize, factor: f32) {
    naked_asm!(
        "push {{r4-r8}}",
        "lsr r8, r3, #23",
        "add r8, #31", // exponent of the result, less one, plus the zeros before a sum
        "lsl r3, r3, #8",
        "orr r3, #0x80000000",
        "1:",
        "ldr r4, [r1], #4",
        "eor r5, r4, r4, asr #31",
        "subs r5, r5, r4, asr #31",
        "beq 6f",
        "clz r6, r5",
        "lsl r5, r6",
        "sub r6, r8, r6",
        "and r4, #0x80000000",
        "add r6, r6, r4, lsr #23",
        // To 24 bits, as a conversion rounds.
        "lsl r7, r5, #24",
        "lsr r5, r5, #8",
        "cmp r7, #0x80000000",
        "adc r5, r5, #0",
        "it eq",
        "biceq r5, #1",
        "umull r4, r5, r5, r3",
        "cmp r5, #0x800000",
        "blo 3f",
        "2:",
        "cmp r4, #0x80000000",
        "beq 4f",
        "adc r5, r5, r6, lsl #23",
        "5:",
        "str r5, [r0], #4",
        "subs r2, #1",
        "bne 1b",
        "pop {{r4-r8}}",
        "bx lr",
        "3:",
        "adds r4, r4, r4",
        "adc r5, r5, r5",
        "sub r6, #1",
        "b 2b",
        "4:",
        "and r4, r5, #1",
        "add r5, r4",
        "add r5, r5, r6, lsl #23",
        "b 5b",
        "6:",
        "movs r5, #0",
        "b 5b",
    )
}
