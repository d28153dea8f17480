//! Floats to integers: activations, and the queries, keys and values of a head.

use core::arch::naked_asm;

use super::Thumb2;
use super::attention::WIDEST;
use crate::kernels::attention::{KEPT_BITS, Row};
use crate::kernels::scalar;
use crate::math::ROUND;
use crate::parts::{copy, part_mut};
use crate::quant::BLOCK;

/// Words of the record of a whole block, see [`super::matrix`].
pub(super) const RECORD: usize = 2 + BLOCK / 2 + 2;

/// Largest magnitudes, as bits with the sign shifted out, whose block is scaled here: `2^-47` to `2^33`.
const PLAIN: core::ops::Range<u32> = 80 << 24..160 << 24;

/// The same for the values of a head, `2^-60` to `2^73`.
const PLAIN_HEAD: core::ops::Range<u32> = 67 << 24..200 << 24;

/// Whether rows of `cols` activations have records: columns come in fours and there is a whole block.
pub(super) const fn has_records(cols: usize) -> bool {
    cols >= BLOCK && cols.is_multiple_of(4)
}

impl Thumb2 {
    /// Turns rows of activations into integers, and puts records in their place if there are such.
    #[inline(never)]
    pub(in crate::kernels) fn quantize(
        self,
        quants: &mut [i8],
        scales: &mut [f32],
        x: &mut [f32],
        cols: usize,
    ) {
        if !has_records(cols) {
            return scalar::quantize(quants, scales, x, cols);
        }
        let blocks = cols.div_ceil(BLOCK).max(1);
        let quants = quants.as_chunks_mut::<BLOCK>().0.chunks_exact_mut(blocks);
        let tokens = quants.zip(scales.chunks_exact_mut(blocks));
        for (x, (quants, scales)) in x.chunks_exact_mut(cols.max(1)).zip(tokens) {
            for (i, (quants, scale)) in quants.iter_mut().zip(scales).enumerate() {
                let n = (cols - i * BLOCK).min(BLOCK);
                *scale = block(x, i, n, quants);
            }
        }
    }

    /// See [`crate::kernels::Isa::integers`].
    pub(in crate::kernels) fn integers(
        self,
        out: &mut [i16],
        exponents: &mut [i8],
        x: &[f32],
        head_size: usize,
        bits: i32,
    ) {
        let width = out.len() / exponents.len().max(1);
        let heads = out.chunks_exact_mut(width.max(1)).zip(exponents);
        for ((out, exponent), x) in heads.zip(x.chunks_exact(head_size.max(1))) {
            *exponent = head(out, x, bits);
        }
    }

    /// See [`crate::kernels::Isa::keep`].
    pub(in crate::kernels) fn keep(self, row: Row<'_>, x: &[f32]) {
        let Row {
            head_size, width, ..
        } = row;
        let mut room = [0; WIDEST];
        if head_size == 0 || head_size != width || width > WIDEST {
            return scalar::keep(row, x);
        }
        let room = part_mut(&mut room, 0, width);
        for (i, x) in x.chunks_exact(head_size).enumerate() {
            part_mut(row.exponents, i * row.n_ctx, 1).fill(head(room, x, KEPT_BITS));
            // A pair of columns, and the same of another token.
            let step = if row.in_pairs { 4 } else { 2 };
            let place = i * row.n_ctx * width;
            let places = row.integers.get_mut(place..).unwrap_or_default();
            for (place, pair) in places.chunks_mut(step).zip(room.as_chunks::<2>().0) {
                copy(place, &pair.map(|integer| integer as i8));
            }
        }
    }
}

/// Turns the values of a head into integers and returns their exponent.
fn head(out: &mut [i16], x: &[f32], bits: i32) -> i8 {
    let n = x.len();
    let odd = |out: &mut [i16]| {
        let mut exponent = 0;
        scalar::integers(out, core::slice::from_mut(&mut exponent), x, n, bits);
        exponent
    };
    if n == 0 || out.len() != n {
        return odd(out);
    }
    // SAFETY: `x` has `n` elements, at least one; a value of `Thumb2`, which callers have, proves the instructions.
    let size = unsafe { largest(x.as_ptr(), n) };
    if !PLAIN_HEAD.contains(&size) {
        return odd(out);
    }
    let (exponent, limit) = (size >> 24, 1 << bits);
    let shift = exponent + 24 - bits.cast_unsigned();
    // SAFETY: as above, and so has `out`.
    unsafe { integers(out.as_mut_ptr(), x.as_ptr(), n, shift, limit) };
    (exponent.cast_signed() - 126 - bits) as i8
}

/// Turns block `i` of `x`, of `n` values, into its record; returns the scale.
pub(super) fn block(x: &mut [f32], i: usize, n: usize, quants: &mut [i8; BLOCK]) -> f32 {
    let (record, values) = (i * RECORD, i * BLOCK);
    let Some(values) = x
        .get(values..values + n)
        .filter(|values| !values.is_empty())
    else {
        return 0.0;
    };
    // SAFETY: there are `n` values, at least one; a value of `Thumb2`, which callers have, proves the instructions.
    let largest = unsafe { largest(values.as_ptr(), n) };
    let (scale, biased);
    if PLAIN.contains(&largest) {
        let inverse;
        (scale, inverse) = scalar::scale(f32::from_bits(largest >> 1));
        quants.iter_mut().skip(n).for_each(|quant| *quant = 0);
        let all = x.as_mut_ptr();
        let (words, values) = (all.wrapping_add(record + 2), all.wrapping_add(i * BLOCK));
        // SAFETY: as above. The words of four values lie at or before these, which are read first.
        biased = unsafe { pack(words, values, quants, n / 4, inverse) };
    } else {
        scale = scalar::quantize_block(quants, values);
        let fours = quants.as_chunks::<4>().0.iter().take(n / 4);
        let places = x.get_mut(record + 2..).unwrap_or_default();
        for (place, four) in places.as_chunks_mut::<2>().0.iter_mut().zip(fours) {
            let [a, b, c, d] = four.map(i32::from);
            let words = [(a << 24) + d, (c << 24) + b];
            *place = words.map(|word| f32::from_bits(word.cast_unsigned()));
        }
        let fours = quants.as_chunks::<4>().0.iter();
        biased = fours
            .map(|[a, _, c, _]| i32::from(*a) + i32::from(*c))
            .sum();
    }
    let first = (1 << 23) - (i64::from(biased) << 31);
    let bits = scale.to_bits();
    // The last: how far the points of mantissas and of the sum are apart.
    let ends = [
        (record, first as u32),
        (record + 1, (first >> 32) as u32),
        (record + 2 + n / 2, bits & 0x7F_FFFF | 0x80_0000),
        (record + 3 + n / 2, (bits >> 23) + 10),
    ];
    for (place, word) in ends {
        if let Some(place) = x.get_mut(place) {
            *place = f32::from_bits(word);
        }
    }
    scale
}

/// The largest magnitude of `n` values, at least one, as its bits with the sign shifted out.
#[unsafe(naked)]
unsafe extern "C" fn largest(x: *const f32, n: usize) -> u32 {
    naked_asm!(
        "movs r2, #0",
        "1:",
        "ldr r3, [r0], #4",
        "cmp r2, r3, lsl #1",
        "it lo",
        "lsllo r2, r3, #1",
        "subs r1, #1",
        "bne 1b",
        "mov r0, r2",
        "bx lr",
    )
}

/// The integer of a value, as `scalar` rounds it: twice.
extern "C" fn rounded(value: f32, inverse: f32) -> i32 {
    i32::from((value * inverse + ROUND).to_bits() as i8)
}

/// Value `$i` of four as an integer in `$out`; uses r0, r8, r9 and r12.
///
/// The product with the inverse comes in 31 bits. Where it lies so close to the middle between two integers
/// that rounding it to a float first may matter, [`middle`] at `$middle` does that and comes back to `$end`.
macro_rules! integer {
    ($i:literal, $out:literal, $middle:literal, $end:literal) => {
        concat!(
            "ldr r8, [r1, #4*",
            $i,
            "]\n",
            "ubfx r9, r8, #23, #8\n",
            "sub r9, r11, r9\n",
            "lsl r12, r8, #8\n",
            "orr r12, #0x80000000\n",
            "umull ",
            $out,
            ", r12, r12, r10\n",
            "lsrs ",
            $out,
            ", r12, r9\n",
            "adc ",
            $out,
            ", ",
            $out,
            ", #0\n",
            "rsb r9, r9, #32\n",
            "lsl r12, r12, r9\n",
            "add r12, #0x80008000\n",
            "cmp r12, #0x10000\n",
            "blo ",
            $middle,
            "f\n",
            "eor ",
            $out,
            ", ",
            $out,
            ", r8, asr #31\n",
            "sub ",
            $out,
            ", ",
            $out,
            ", r8, asr #31\n",
            $end,
            ":\n",
        )
    };
}

/// What [`integer`] leaves to [`rounded`].
macro_rules! middle {
    ($out:literal, $middle:literal, $end:literal) => {
        concat!(
            $middle,
            ":\n",
            "push {{r0-r3, r12, lr}}\n",
            "mov r0, r8\n",
            "ldr r1, [sp, #24]\n",
            "bl {rounded}\n",
            "mov ",
            $out,
            ", r0\n",
            "pop {{r0-r3, r12, lr}}\n",
            "b ",
            $end,
            "b\n",
        )
    };
}

/// Turns `fours` groups of four values, at least one, into integers and the words of a record; returns the sum
/// of the first and third integers. The largest value times `inverse` is about 127.
#[unsafe(naked)]
unsafe extern "C" fn pack(
    words: *mut f32,
    x: *const f32,
    quants: *mut [i8; BLOCK],
    fours: usize,
    inverse: f32,
) -> i32 {
    naked_asm!(
        "ldr r12, [sp]",
        "push {{r4-r11, lr}}",
        "push {{r12}}",
        "mov lr, r0",
        "movs r0, #0",
        "ubfx r11, r12, #23, #8",
        "movw r9, #283",
        "sub r11, r9, r11", // less the exponent of a value: the shift of its product
        "lsl r10, r12, #8",
        "orr r10, #0x80000000",
        "lsr r10, #1",
        "1:",
        integer!("0", "r4", "30", "20"),
        integer!("1", "r5", "31", "21"),
        integer!("2", "r6", "32", "22"),
        integer!("3", "r7", "33", "23"),
        "add r9, r7, r4, lsl #24",
        "add r12, r5, r6, lsl #24",
        "strd r9, r12, [lr], #8",
        "add r0, r4",
        "add r0, r6",
        "strb r4, [r2], #1",
        "strb r5, [r2], #1",
        "strb r6, [r2], #1",
        "strb r7, [r2], #1",
        "adds r1, #16",
        "subs r3, #1",
        "bne 1b",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
        middle!("r4", "30", "20"),
        middle!("r5", "31", "21"),
        middle!("r6", "32", "22"),
        middle!("r7", "33", "23"),
        rounded = sym rounded,
    )
}

/// `n` values, at least one, to integers below `limit`: those with exponent `e`, as its bits are, are shifted by
/// `shift - e` and rounded, ties to even.
#[unsafe(naked)]
unsafe extern "C" fn integers(out: *mut i16, x: *const f32, n: usize, shift: u32, limit: i32) {
    naked_asm!(
        "ldr r12, [sp]",
        "push {{r4-r7}}",
        "1:",
        "ldr r4, [r1], #4",
        "ubfx r5, r4, #23, #8",
        "sub r5, r3, r5",
        "bic r6, r4, #0xff000000",
        "orr r6, #0x00800000",
        "rsb r7, r5, #32",
        "lsl r7, r6, r7",
        "lsr r6, r5",
        "cmp r7, #0x80000000",
        "adc r6, r6, #0",
        "it eq",
        "biceq r6, #1",
        "eor r6, r6, r4, asr #31",
        "sub r6, r6, r4, asr #31",
        "cmp r6, r12",
        "it eq",
        "subeq r6, #1",
        "strh r6, [r0], #2",
        "subs r2, #1",
        "bne 1b",
        "pop {{r4-r7}}",
        "bx lr",
    )
}
