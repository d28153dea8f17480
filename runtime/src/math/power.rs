//! Powers in integers: the same bits on every target, in a fifth of the code of a library's `powf`.

use super::power_of_two;

/// `base^-exponent` to within 0.53 units in the last place, for a `base` that is finite and above 0 and an
/// `exponent` between 0 and 1; where no normal `f32` is that close, one of about the size.
///
/// `2^(-exponent * log2 base)`: the logarithm bit by bit, as a square has twice the logarithm, and the
/// power by its Taylor series.
#[must_use]
pub fn inverse_power(base: f32, exponent: f32) -> f32 {
    let (mantissa, scale) = parts(exponent);
    // In units of 2^-31: the logarithm is below 150, and the mantissa has 24 bits.
    let power = -((log2(base) * i64::from(mantissa)) >> scale.clamp(0, 63));
    let whole = (power >> 31) as i32;
    exp2((power << 1) as u32) as f32 * power_of_two(-31) * power_of_two(whole)
}

/// `x = mantissa * 2^-scale`.
const fn parts(x: f32) -> (u32, i32) {
    let (bits, fraction) = (x.to_bits(), x.to_bits() & 0x7F_FFFF);
    match bits >> 23 & 0xFF {
        0 => (fraction, 149),
        exponent => (fraction | 0x80_0000, 150 - exponent as i32),
    }
}

/// The logarithm in units of `2^-31`.
fn log2(x: f32) -> i64 {
    let (mantissa, scale) = parts(x);
    let shift = mantissa.leading_zeros();
    // Between 1 and 2 in units of 2^-63.
    let mut x = u64::from(mantissa << shift) << 32;
    let mut log = i64::from(31 - shift.cast_signed() - scale);
    for _ in 0..31 {
        x = ((u128::from(x) * u128::from(x)) >> 64) as u64;
        // The square's highest bit says that it is 2 or more.
        let two = x >> 63;
        x <<= 1 - two;
        log = log << 1 | two.cast_signed();
    }
    log
}

/// `2^x` in units of `2^-31`, `x` in units of `2^-32`.
fn exp2(x: u32) -> u32 {
    const ONE: u32 = 1 << 31;
    /// In units of 2^-32.
    const LN_2: u32 = 0xB172_17F8;
    let product = |a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32;
    let x = product(x, LN_2);
    // The terms behind the 12th are below a unit.
    (1..=12).rev().fold(ONE, |sum, n| ONE + product(x, sum) / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_close() {
        let mut worst = 0.0f64;
        for base in [1e4, 5e5, 1e6, 10.0, 1.0, 0.999, 0.5, 3e-3, f32::MAX, 1e-40] {
            for i in 0..=2000 {
                let exponent = i as f32 / 2000.0;
                let exact = f64::from(base).powf(-f64::from(exponent));
                if (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&exact) {
                    let found = inverse_power(base, exponent);
                    let unit = f64::from(found.next_up()) - f64::from(found);
                    worst = worst.max((f64::from(found) - exact).abs() / unit);
                }
            }
            assert_eq!(inverse_power(base, 0.0), 1.0);
        }
        assert!(worst < 0.53, "{worst} units in the last place");
    }
}
