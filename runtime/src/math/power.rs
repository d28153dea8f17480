//! Powers with exponents between 0 and 1.
//!
//! The steps of FreeBSD's `powf` that such powers take, and so the bits of `libm::powf`, whose other cases are most of
//! its size.
//!
//! # Source
//! FreeBSD, `lib/msun/src/e_powf.c`, whose notice is:
//!
//! Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at SunPro, a Sun Microsystems, Inc.
//! business. Permission to use, copy, modify, and distribute this software is freely granted, provided that this
//! notice is preserved.

/// `base^exponent` for a finite `base` above 0 and an `exponent` from 0 up to 1, 1 excluded.
pub(crate) fn pow(base: f32, exponent: f32) -> f32 {
    if exponent == 0.0 {
        return 1.0;
    }
    if exponent == 0.5 {
        return super::sqrt(base);
    }
    let (high, low) = log2(base);
    let upper = truncated(exponent, 12);
    exp2(upper * high, (exponent - upper) * high + exponent * low)
}

/// `x` with its last `bits` bits cleared: products of such numbers are exact.
fn truncated(x: f32, bits: u32) -> f32 {
    f32::from_bits(x.to_bits() >> bits << bits)
}

/// Logarithm to base 2 as a sum of two numbers, the first one short.
fn log2(x: f32) -> (f32, f32) {
    // Coefficients of the series of the logarithm, highest first.
    const SERIES: [f32; 6] = [
        2.069_750_1e-1,
        2.306_607_5e-1,
        2.727_281_2e-1,
        3.333_333_4e-1,
        4.285_714_3e-1,
        0.6,
    ];
    // 2 / (3 ln 2), and that as a sum.
    const SCALE: f32 = 9.617_967e-1;
    const SCALES: (f32, f32) = (9.619_140_6e-1, -1.173_685_74e-4);
    let (x, bias) = match x < f32::MIN_POSITIVE {
        true => (x * 16_777_216.0, 127 + 24),
        false => (x, 127),
    };
    let (mut n, fraction) = (
        (x.to_bits() >> 23).cast_signed() - bias,
        x.to_bits() & 0x7F_FFFF,
    );
    let mut bits = fraction | 0x3F80_0000;
    // The middle of the interval, and its logarithm as a sum.
    let (mut half, mut middle, mut logarithm) = (0, 1.0, (0.0, 0.0));
    if fraction >= 0x5D_B3D7 {
        n += 1;
        bits -= 0x80_0000;
    } else if fraction > 0x1C_C471 {
        (half, middle, logarithm) = (1, 1.5, (5.849_609_4e-1, 1.563_220_9e-6));
    }
    let x = f32::from_bits(bits);
    let (u, v) = (x - middle, 1.0 / (x + middle));
    let s = u * v;
    let s_high = truncated(s, 12);
    let sum = truncated(f32::from_bits(bits >> 1 | 0x2000_0000), 12);
    let sum_high = f32::from_bits(sum.to_bits() + 0x40_0000 + (half << 21));
    let sum_low = x - (sum_high - middle);
    let s_low = v * ((u - s_high * sum_high) - s_high * sum_low);
    let square = s * s;
    let series = SERIES
        .iter()
        .fold(0.0, |series, factor| factor + square * series);
    let rest = square * square * series + s_low * (s_high + s);
    let square = s_high * s_high;
    let high = truncated(3.0 + square + rest, 12);
    let low = rest - ((high - 3.0) - square);
    let (u, v) = (s_high * high, s_low * high + low * s);
    let p_high = truncated(u + v, 12);
    let p_low = v - (p_high - u);
    let z_high = SCALES.0 * p_high;
    let z_low = SCALES.1 * p_high + p_low * SCALE + logarithm.1;
    let whole = n as f32;
    let high = truncated(((z_high + z_low) + logarithm.0) + whole, 12);
    (high, z_low - (((high - whole) - logarithm.0) - z_high))
}

/// 2 to the power of a sum of two numbers, where that is finite.
fn exp2(high: f32, low: f32) -> f32 {
    // Highest first.
    const SERIES: [f32; 5] = [
        4.138_137e-8,
        -1.653_390_2e-6,
        6.613_756e-5,
        -2.777_777_8e-3,
        1.666_666_7e-1,
    ];
    const LN_2: f32 = 6.931_472e-1;
    const LN_2_SUM: (f32, f32) = (6.931_457_5e-1, 1.428_606_5e-6);
    let (mut n, mut high, z) = (0, high, low + high);
    if z.abs() > 0.5 {
        // To the nearest whole number; halves away from 0.
        n = (z + if z < 0.0 { -0.5 } else { 0.5 }) as i32;
        high -= n as f32;
    }
    let t = truncated(low + high, 15);
    let u = t * LN_2_SUM.0;
    let v = (low - (t - high)) * LN_2 + t * LN_2_SUM.1;
    let z = u + v;
    let w = v - (z - u);
    let square = z * z;
    let series = SERIES
        .iter()
        .fold(0.0, |series, factor| factor + square * series);
    let t1 = z - square * series;
    let r = (z * t1) / (t1 - 2.0) - (w + z * w);
    let y = 1.0 - (r - z);
    let scaled = |n: i32| f32::from_bits(y.to_bits().wrapping_add_signed(n << 23));
    match n < -100 {
        // What may have no room for all of its bits is rounded once, here.
        true => scaled(n + 24) * (1.0 / 16_777_216.0),
        false => scaled(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn powers_have_the_bits_of_libm() {
        let mut rng = Rng::new(3, 0);
        for i in 0..2_000_000 {
            let bits = (rng.next_unit() * 255.0) as u32;
            let any = f32::from_bits(bits << 23 | (rng.next_unit() * 8_388_608.0) as u32);
            let base = if i % 2 == 0 {
                any
            } else {
                1.0 + rng.next_unit() * 2e6
            };
            let exponent = match i % 3 {
                0 => rng.next_unit(),
                _ => (i % 512) as f32 / 512.0,
            };
            let (ours, right) = (pow(base, exponent), libm::powf(base, exponent));
            assert_eq!(ours.to_bits(), right.to_bits(), "{base}^{exponent}");
        }
        for base in [
            1.0,
            f32::from_bits(1),
            f32::from_bits(0x7F_FFFF),
            f32::MIN_POSITIVE,
            f32::MAX,
            1.5,
            3f32.sqrt(),
            10_000.0,
            500_000.0,
        ] {
            for i in 0..1024 {
                let exponent = i as f32 / 1024.0;
                let (ours, right) = (pow(base, exponent), libm::powf(base, exponent));
                assert_eq!(ours.to_bits(), right.to_bits(), "{base}^{exponent}");
            }
        }
    }
}
