//! Floating point in integers, for cores that have none: what a block of weights needs, in a third of the
//! instructions that a library spends on numbers it cannot know anything of.

use half::f16;

use crate::math::ROUND;

/// `dot as f32 * (w * x)`, rounded twice as that is; a product of 0 is never negative.
///
/// `dot` has up to 24 bits. What is not plain, such as a scale that is 0, infinite or not normalised, goes
/// through the library.
#[inline(always)]
pub(super) fn block_product(dot: i32, w: f16, x: f32) -> f32 {
    let (w_bits, x_bits) = (u32::from(w.to_bits()), x.to_bits());
    let (w_exponent, x_exponent) = (w_bits >> 10 & 31, x_bits >> 23);
    // Far from both ends: products of normal numbers that are normal.
    if w_exponent.wrapping_sub(1) >= 30 || x_exponent.wrapping_sub(32) >= 150 {
        let product = dot as f32 * (w.to_f32() * x);
        return if product == 0.0 { 0.0 } else { product };
    }
    if dot == 0 {
        return 0.0;
    }
    let w_mantissa = w_bits & 0x3FF | 0x400;
    let x_mantissa = x_bits & 0x7F_FFFF | 0x80_0000;
    let (scale, scale_exponent) = round(u64::from(w_mantissa) * u64::from(x_mantissa));
    let magnitude = dot.unsigned_abs();
    let (mantissa, exponent) = round(u64::from(magnitude) * u64::from(scale));
    // Mantissas are integers: 10 and 23 bits of them were fractions.
    let exponent = w_exponent + x_exponent + scale_exponent + exponent - (15 + 10);
    let sign = (w_bits << 16 ^ dot.cast_unsigned()) & 0x8000_0000;
    f32::from_bits(sign | (exponent << 23).wrapping_add(mantissa.wrapping_sub(0x80_0000)))
}

/// `value * inverse`, rounded to a float and then to an integer, ties to even, where that is at most 127; 0 of
/// NaN.
#[inline(always)]
pub(super) fn scaled_integer(value: f32, inverse: f32) -> i8 {
    let (v, i) = (value.to_bits(), inverse.to_bits());
    let (v_exponent, i_exponent) = (v >> 23 & 255, i >> 23);
    let shift = 300u32.wrapping_sub(v_exponent + i_exponent);
    let v_mantissa = v & 0x7F_FFFF | 0x80_0000;
    let product = u64::from(v_mantissa) * u64::from(i & 0x7F_FFFF | 0x80_0000);
    // 31 or 32 bits of it, of which `places` lie behind the point.
    let (high, places) = ((product >> 16) as u32, shift.wrapping_sub(16));
    let normal = v_exponent.wrapping_sub(1) < 254 && i_exponent.wrapping_sub(1) < 254;
    if normal && (33..300).contains(&places) {
        return 0;
    }
    let rest = high.checked_shl(32u32.wrapping_sub(places)).unwrap_or(0);
    // So close to the middle between two integers the first rounding may matter.
    let middle = rest.wrapping_sub(0x7FFF_8000) < 0x1_0000;
    if !normal || !(24..33).contains(&places) || middle {
        let scaled = value * inverse;
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        return (scaled + ROUND).to_bits() as i8;
    }
    let rounded = ((high >> (places - 1)) + 1) >> 1;
    let sign = v.cast_signed() >> 31;
    ((rounded.cast_signed() ^ sign) - sign) as i8
}

/// The upper 24 bits of `x`, which has 24 to 55, to the nearest, ties to even; and how many were dropped. May
/// round up to `2^24`, which is a 1 with the next exponent all the same.
#[inline(always)]
fn round(x: u64) -> (u32, u32) {
    let high = (x >> 23) as u32;
    let shift = 32 - high.leading_zeros() - 1;
    let kept = (x >> shift) as u32;
    let rest = (x as u32) << (31 - shift) << 1;
    let up = rest > 0x8000_0000 || rest == 0x8000_0000 && kept & 1 == 1;
    (kept + u32::from(up), shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::fresh_seed;
    use crate::rng::Rng;

    #[test]
    fn products_are_those_of_floats_to_the_bit() {
        let seed = fresh_seed();
        let mut rng = Rng::new(seed, 0);
        let n = if cfg!(miri) { 1000 } else { 300_000 };
        for _ in 0..n {
            let bits = rng.next();
            let w = f16::from_bits(bits as u16);
            let dot = (bits >> 16) as i32 >> (11 + bits % 21);
            for x in [
                (bits >> 40) as f32 * 1e-6,
                f32::from_bits((bits >> 33) as u32),
            ] {
                let product = dot as f32 * (w.to_f32() * x);
                let expected = if product == 0.0 { 0.0 } else { product };
                let found = block_product(dot, w, x);
                let same =
                    found.to_bits() == expected.to_bits() || expected.is_nan() && found.is_nan();
                assert!(
                    same,
                    "seed {seed}: {dot} * {w} * {x}: {found} and not {expected}"
                );
            }
        }
        // Ties, and rounding up to the next power of two.
        for (dot, w, x) in [
            (3, 0x3C01, 1.000_000_1),
            (0xF_FFFF, 0x3FFF, 1.999_999_9),
            (-1, 0xBC00, 1.0),
        ] {
            let (w, expected) = (
                f16::from_bits(w),
                dot as f32 * (f16::from_bits(w).to_f32() * x),
            );
            assert_eq!(block_product(dot, w, x).to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn integers_are_those_of_floats() {
        let seed = fresh_seed();
        let mut rng = Rng::new(seed, 0);
        let n = if cfg!(miri) { 1000 } else { 300_000 };
        for _ in 0..n {
            let bits = rng.next();
            let largest = f32::from_bits((bits >> 33) as u32);
            let inverse = 127.0 / largest;
            if !inverse.is_finite() || inverse == 0.0 {
                continue;
            }
            // Also near the middle between two integers.
            let middle = ((bits & 255) as f32 * 0.5 - 63.5) / inverse;
            let near = f32::from_bits(middle.to_bits().wrapping_add((bits >> 8) as u32 % 3));
            let share = (bits >> 12 & 0xFF_FFFF) as f32 * (1.0 / 16_777_216.0);
            for value in [largest, -largest * share, near, f32::NAN, 0.0, -0.0, 1e-45] {
                if value.abs() > largest {
                    continue;
                }
                let scaled = value * inverse;
                let scaled = if scaled.is_nan() { 0.0 } else { scaled };
                let expected = (scaled + ROUND).to_bits() as i8;
                let found = scaled_integer(value, inverse);
                assert_eq!(found, expected, "seed {seed}: {value} * {inverse}");
            }
        }
    }
}
