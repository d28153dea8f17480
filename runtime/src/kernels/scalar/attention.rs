//! Attention in integers.

use super::super::attention::{
    Attention, Heads, KEPT_BITS, PIECE, Row, SCORE_FRACTION, ScoreScale,
};
use crate::math::{ROUND, power_of_two};
use crate::parts::{part, part_mut};

/// `2^-f` in units of `2^-30`, for each `f` that a score may have behind its point.
pub(in super::super) static EXP2: [u32; 1 << SCORE_FRACTION] = powers();

/// Each is the product of those of the bits of its index, whose factors are roots of 1/2.
const fn powers() -> [u32; 1 << SCORE_FRACTION] {
    // 2^-(1/2), 2^-(1/4) ... in units of 2^-32.
    const ROOTS: [u64; 7] = [
        3_037_000_500,
        3_611_622_603,
        3_938_502_376,
        4_112_874_773,
        4_202_935_003,
        4_248_701_965,
        4_271_771_996,
    ];
    let (mut powers, mut i) = ([0; 1 << SCORE_FRACTION], 0);
    while i < powers.len() {
        let (mut power, mut bit) = (1 << 62, 0);
        while bit < ROOTS.len() {
            if i >> (ROOTS.len() - 1 - bit) & 1 == 1 {
                power = (power >> 32) * ROOTS[bit];
            }
            bit += 1;
        }
        powers[i] = (power >> 32) as u32;
        i += 1;
    }
    powers
}

/// What has no magnitude of at least 2 to this power is zero.
const SMALLEST: i32 = -60;

/// See [`super::super::Isa::integers`].
pub(in super::super) fn integers(
    out: &mut [i16],
    exponents: &mut [i8],
    x: &[f32],
    head_size: usize,
    bits: i32,
) {
    let width = out.len() / exponents.len().max(1);
    let heads = out.chunks_exact_mut(width.max(1)).zip(exponents);
    for ((out, exponent), x) in heads.zip(x.chunks_exact(head_size.max(1))) {
        let (size, integers) = head_integers(x, bits);
        *exponent = size as i8;
        let integers = integers.chain(core::iter::repeat(0));
        out.iter_mut().zip(integers).for_each(|(out, x)| *out = x);
    }
}

/// See [`super::super::Isa::keep`].
pub(in super::super) fn keep(row: Row<'_>, x: &[f32]) {
    for (i, x) in x.chunks_exact(row.head_size.max(1)).enumerate() {
        let (exponent, integers) = head_integers(x, KEPT_BITS);
        part_mut(row.exponents, i * row.n_ctx, 1).fill(exponent as i8);
        let integers = integers.chain(core::iter::repeat(0)).take(row.width);
        for (j, integer) in integers.enumerate() {
            let others = if row.in_pairs { j / 2 * 2 } else { 0 };
            let place = i * row.n_ctx * row.width + j + others;
            part_mut(row.integers, place, 1).fill(integer as i8);
        }
    }
}

/// A head's exponent and integers.
fn head_integers(x: &[f32], bits: i32) -> (i32, impl Iterator<Item = i16>) {
    // As integers magnitudes have the order they have as numbers, with NaN above infinity.
    let magnitudes = x.iter().map(|x| x.to_bits() & (u32::MAX >> 1));
    let numbers = magnitudes.filter(|bits| *bits <= f32::INFINITY.to_bits());
    let (exponent, factor) = exponent_and_factor(numbers.max().unwrap_or(0), bits);
    let limit = 1 << bits;
    let integers = x.iter().map(move |value| {
        let scaled = value * factor;
        // Also infinity times a factor of 0.
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        let rounded = (scaled + ROUND).to_bits().wrapping_sub(ROUND.to_bits());
        rounded.cast_signed().min(limit - 1).max(-limit) as i16
    });
    (exponent, integers)
}

/// Of integers of `bits` bits that stand for values of which the largest has this magnitude: their exponent, and what
/// values are multiplied by.
#[inline(always)]
pub(in super::super) fn exponent_and_factor(magnitude: u32, bits: i32) -> (i32, f32) {
    let size = (magnitude >> 23) as i32 - 127;
    let (size, factor) = if (SMALLEST..=126).contains(&size) {
        (size, power_of_two(bits - 1 - size))
    } else {
        (SMALLEST, 0.0)
    };
    (size + 1 - bits, factor)
}

/// The loops of [`attend_with`], for a set of instructions.
pub(in super::super) trait Loops: Copy {
    /// The largest exponent; 0 if there is none.
    fn largest(self, exponents: &[i8]) -> i32;

    /// `out[t] = (dot(query, keys[t]) * multiplier >> 32) >> (shift - exponents[t])`, which has [`SCORE_FRACTION`]
    /// bits behind the point; returns the largest.
    ///
    /// # Shapes
    /// `out` `[T]` or more, `query` `[width]`, `exponents` `[T]`, `keys` `[T, width]` or more; as many of `values` are
    /// read next.
    fn scores(
        self,
        out: &mut [i32],
        query: &[i16],
        exponents: &[i8],
        keys: &[i8],
        values: &[i8],
        scale: ScoreScale,
    ) -> i32;

    /// `x[t] = 2^-(most - x[t]) * 2^-(most_exponent - exponents[t])` in units of `2^-30`; returns the sum of the first
    /// factors in units of `2^-20`, and all bits that the results have.
    ///
    /// # Shapes
    /// `x`, `exponents` `[T]`; `x` and `most` have [`SCORE_FRACTION`] bits behind the point and magnitudes below
    /// `2^30`.
    fn weights(self, x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32);

    /// `out[i] = sum_t(w[t] * values[t, i])`, exactly; `w[t]` are the upper 15 of the 31 bits of
    /// `weights[t] * 2^lead`.
    ///
    /// # Shapes
    /// `out` `[width]`, `weights` `[T]` with `T` even, `values` `[T / 2, width / 2, 2 tokens, 2]`.
    fn weighted_sums(self, out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]);
}

/// Loops in plain Rust.
#[derive(Clone, Copy)]
struct Plain;

/// See [`super::super::Isa::attend`]; the heads are of one group.
// By itself where it stands in for a kernel, so that its room on the stack is not that of the kernel.
#[cfg_attr(kernel_dsp, inline(never))]
pub(in super::super) fn attend(attention: &mut Attention<'_>, heads: Heads<'_>) {
    attend_with(Plain, attention, heads);
}

/// [`attend`] with these loops.
#[inline(always)]
pub(in super::super) fn attend_with(
    loops: impl Loops,
    attention: &mut Attention<'_>,
    heads: Heads<'_>,
) {
    let Heads {
        queries,
        exponents,
        out,
        ..
    } = heads;
    let Attention {
        n,
        width,
        keys,
        key_exponents,
        values,
        value_exponents,
        scale,
        ..
    } = *attention;
    let (x, sums) = (&mut *attention.scores, &mut *attention.sums);
    let x = part_mut(x, 0, n.next_multiple_of(2));
    let key_exponents = part(key_exponents, 0, n);
    let largest_key = loops.largest(key_exponents);
    let largest_value = loops.largest(part(value_exponents, 0, n));
    let outs = out.chunks_exact_mut((out.len() / exponents.len().max(1)).max(1));
    let queries = queries.chunks_exact(width.max(1)).zip(exponents);
    for ((query, exponent), out) in queries.zip(outs) {
        let scale = scale.of(i32::from(*exponent), largest_key);
        let most = loops.scores(x, query, key_exponents, keys, values, scale);
        let (mut total, mut all) = (0.0, 0);
        for start in (0..n).step_by(PIECE) {
            let x = part_mut(x, start, PIECE.min(n - start));
            let exponents = part(value_exponents, start, x.len());
            let (sum, bits) = loops.weights(x, exponents, most, largest_value);
            total += sum as f32;
            all |= bits;
        }
        part_mut(x, n, n % 2).fill(0);
        let lead = lead(all);
        let factor = factor(largest_value, lead, total);
        for (i, x) in x.chunks(PIECE).enumerate() {
            let values = part(values, i * PIECE * width, x.len() * width);
            loops.weighted_sums(sums, x, lead, values);
            for (out, sum) in out.iter_mut().zip(&*sums) {
                let earlier = if i == 0 { 0.0 } else { *out };
                *out = earlier + *sum as f32 * factor;
            }
        }
    }
}

/// By how many bits weights that have these go up to fill 31.
pub(in super::super) fn lead(bits: u32) -> u32 {
    bits.leading_zeros().saturating_sub(1).min(30)
}

/// Of sums of values whose largest exponent this is, where powers sum to `total`: weights that went up by `lead`
/// and down by 16 have `lead + 14` bits behind the point, `total` has 20.
pub(in super::super) fn factor(largest: i32, lead: u32, total: f32) -> f32 {
    power_of_two(largest + 20 - 14 - lead.cast_signed()) / total
}

impl Loops for Plain {
    fn largest(self, exponents: &[i8]) -> i32 {
        exponents.iter().copied().max().map_or(0, i32::from)
    }

    fn scores(
        self,
        out: &mut [i32],
        query: &[i16],
        exponents: &[i8],
        keys: &[i8],
        _values: &[i8],
        scale: ScoreScale,
    ) -> i32 {
        let mut largest = i32::MIN;
        let keys = keys.chunks_exact(query.len().max(1)).zip(exponents);
        for (out, (key, exponent)) in out.iter_mut().zip(keys) {
            let products = query.iter().zip(key);
            let dot: i32 = products.map(|(q, k)| i32::from(*q) * i32::from(*k)).sum();
            let product = i64::from(dot) * i64::from(scale.multiplier);
            let shift = scale.shift - i32::from(*exponent);
            *out = (product >> 32) as i32 >> shift.min(31);
            largest = largest.max(*out);
        }
        largest
    }

    fn weights(self, x: &mut [i32], exponents: &[i8], most: i32, most_exponent: i32) -> (u32, u32) {
        let (mut sum, mut all) = (0u32, 0);
        for (x, exponent) in x.iter_mut().zip(exponents) {
            let below = most.wrapping_sub(*x).cast_unsigned();
            let power = EXP2[below as usize % EXP2.len()];
            let power = shifted(power, below >> SCORE_FRACTION);
            sum = sum.wrapping_add(power >> 10);
            let shift = most_exponent - i32::from(*exponent);
            let weight = shifted(power, shift.cast_unsigned());
            all |= weight;
            *x = weight.cast_signed();
        }
        (sum, all)
    }

    fn weighted_sums(self, out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
        out.fill(0);
        let values = values.chunks_exact((2 * out.len()).max(1));
        for (weights, values) in weights.as_chunks::<2>().0.iter().zip(values) {
            let [first, second] = weights.map(|weight| weight << lead >> 16);
            let words = values.as_chunks::<4>().0;
            for (out, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
                let [a, b, c, d] = word.map(i32::from);
                out[0] += first * a + second * c;
                out[1] += first * b + second * d;
            }
        }
    }
}

fn shifted(x: u32, bits: u32) -> u32 {
    if bits < 32 { x >> bits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_powers() {
        for (i, power) in EXP2.iter().enumerate() {
            let exact = (-(i as f64) / EXP2.len() as f64 + 30.0).exp2();
            assert!((f64::from(*power) - exact).abs() < 8.0, "{i}: {power}");
        }
    }
}
