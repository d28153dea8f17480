//! Attention of one head in integers.

use super::super::ScoreScale;
use crate::math::{ROUND, power_of_two};

/// `2^-f` for `f` in `[0, 1)`: coefficients of `f^k`, times `2^(30 + k)`, to within `1e-4`.
///
/// A step of Horner's rule with `f` as `f * 2^31` takes the upper half of a product.
pub(in super::super) const EXP2: [i32; 3] = [1 << 30, -1_485_172_738, 992_818_496];

/// The coefficient of `f^3`, times `2^17`.
pub(in super::super) const EXP2_CUBIC: i16 = -5193;

/// What has no magnitude of at least 2 to this power is zero.
const SMALLEST: i32 = -60;

/// Turns values into integers of `bits` bits and a sign with one exponent, `value = integer * 2^exponent`;
/// returns the exponent. Where `out` is longer than `x` it gets zeros.
///
/// NaN becomes 0. All become 0 if one of them is infinite or beyond `2^127`, or all are below `2^-60`.
pub(in super::super) fn integers(out: &mut [i16], x: &[f32], bits: i32) -> i32 {
    // As integers magnitudes have the order they have as numbers, with NaN above infinity.
    let magnitudes = x.iter().map(|x| x.to_bits() & (u32::MAX >> 1));
    let numbers = magnitudes.filter(|bits| *bits <= f32::INFINITY.to_bits());
    let size = (numbers.max().unwrap_or(0) >> 23) as i32 - 127;
    let (size, factor) = if (SMALLEST..=126).contains(&size) {
        (size, power_of_two(bits - 1 - size))
    } else {
        (SMALLEST, 0.0)
    };
    let limit = 1 << bits;
    let padded = x.iter().copied().chain(core::iter::repeat(0.0));
    for (out, value) in out.iter_mut().zip(padded) {
        let scaled = value * factor;
        // Also infinity times a factor of 0.
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        let rounded = (scaled + ROUND).to_bits().wrapping_sub(ROUND.to_bits());
        *out = rounded.cast_signed().min(limit - 1).max(-limit) as i16;
    }
    size + 1 - bits
}

/// The largest exponent; 0 if there is none.
pub(in super::super) fn largest(exponents: &[i8]) -> i32 {
    exponents.iter().copied().max().map_or(0, i32::from)
}

/// `out[t] = (dot(query, keys[t]) * multiplier >> 32) >> (shift + largest - exponents[t])`; returns the
/// largest.
///
/// # Shapes
/// `out` `[T]` or more, `query` `[width]`, `keys` `[T, width]`, `exponents` `[T]`.
pub(in super::super) fn scores(
    out: &mut [i32],
    query: &[i16],
    keys: &[i8],
    exponents: &[i8],
    scale: ScoreScale,
) -> i32 {
    let mut largest = i32::MIN;
    let keys = keys.chunks_exact(query.len().max(1)).zip(exponents);
    for (out, (key, exponent)) in out.iter_mut().zip(keys) {
        let products = query.iter().zip(key);
        let dot: i32 = products.map(|(q, k)| i32::from(*q) * i32::from(*k)).sum();
        let product = i64::from(dot) * i64::from(scale.multiplier);
        let shift = scale
            .shift
            .wrapping_add_signed(scale.largest - i32::from(*exponent));
        *out = (product >> 32) as i32 >> shift.min(31);
        largest = largest.max(*out);
    }
    largest
}

/// `x[t] = 2^-(most - x[t]) * 2^-(most_exponent - exponents[t])` in units of `2^-29`, 0 where `x` is longer
/// than `exponents`; returns the sum of the first factors in units of `2^-20`, and all bits that the results
/// have.
///
/// # Shapes
/// `x` `[T]` or more, `exponents` `[T]`; `x` and `most` have `fraction` bits behind the point.
pub(in super::super) fn weights(
    x: &mut [i32],
    exponents: &[i8],
    most: i32,
    most_exponent: i32,
    fraction: u32,
) -> (u32, u32) {
    let (mut sum, mut all) = (0u32, 0);
    let (x, rest) = x.split_at_mut_checked(exponents.len()).unwrap_or_default();
    for (x, exponent) in x.iter_mut().zip(exponents) {
        let below = most.wrapping_sub(*x).cast_unsigned();
        let whole = below >> fraction;
        let part = (below << (31 - fraction) & i32::MAX.cast_unsigned()).cast_signed();
        let cubic = ((i64::from(part) * i64::from(EXP2_CUBIC)) >> 16) as i32;
        let [one, linear, square] = EXP2;
        let power = linear + upper_half(square + cubic, part);
        let power = (one + upper_half(power, part)).cast_unsigned();
        let power = if whole < 31 { power >> whole } else { 0 };
        sum = sum.wrapping_add(power >> 10);
        let shift = most_exponent
            .wrapping_sub(i32::from(*exponent))
            .cast_unsigned();
        let weight = if shift < 31 { power >> (shift + 1) } else { 0 };
        all |= weight;
        *x = weight.cast_signed();
    }
    rest.fill(0);
    (sum, all)
}

fn upper_half(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 32) as i32
}

/// `out[i] = sum_t(w[t] * values[t, i])`, exactly; `w[t]` is `weights[t] * 2^lead`, which has
/// 30 bits, rounded to its upper 14.
///
/// # Shapes
/// `out` `[width]`, `weights` `[T]` with `T` even, `values` `[T / 2, width / 2, 2 tokens, 2]`.
pub(in super::super) fn weighted_sums(out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
    out.fill(0);
    let width = out.len();
    let values = values.chunks_exact((2 * width).max(1));
    for (weights, values) in weights.as_chunks::<2>().0.iter().zip(values) {
        let [first, second] = weights.map(|weight| {
            let upper = (weight.cast_unsigned() << lead).wrapping_add(0x8000);
            (upper >> 16).cast_signed()
        });
        let words = values.as_chunks::<4>().0;
        for (out, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            let [a, b, c, d] = word.map(i32::from);
            out[0] += first * a + second * c;
            out[1] += first * b + second * d;
        }
    }
}
