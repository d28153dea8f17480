//! Elementary functions, the same bits on every target.
//!
//! Nothing here uses the platform's mathematics: logarithms come from `libm`, square roots from there or from
//! an instruction that rounds as correctly, the exponential, sine and cosine are polynomials of
//! multiplications and additions that are never fused, and what makes [`geometric`] sequences is integers.
//! Everything else in the workspace calls these.

mod scaled;

use self::scaled::{MOST, Scaled};
#[cfg(kernel_dsp)]
use crate::kernels::root;

/// Adding and subtracting this rounds a small `f32` to the nearest integer, ties to even.
pub(crate) const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// What [`exp`] is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpConstants {
    pub(crate) log2_e: f32,
    /// Two numbers whose sum is ln 2; the first has so few digits that a product with `n` is exact.
    pub(crate) ln_2: [f32; 2],
    /// Coefficients of `r^5` down to `r^2`.
    pub(crate) polynomial: [f32; 4],
}

pub(crate) const EXP: ExpConstants = ExpConstants {
    log2_e: core::f32::consts::LOG2_E,
    ln_2: [0.693_359_4, -2.121_944_4e-4],
    polynomial: [8.312_524e-3, 4.189_012_3e-2, 1.666_711_4e-1, 4.999_923e-1],
};

/// `2^exponent`; beyond what a normal `f32` holds, the nearest power that it holds.
#[must_use]
pub const fn power_of_two(exponent: i32) -> f32 {
    let biased = if exponent < -126 {
        1
    } else if exponent > 127 {
        254
    } else {
        exponent + 127
    };
    f32::from_bits(biased.cast_unsigned() << 23)
}

/// `e^x`, to within 2 units in the last place; 0 below -87.3, infinite above 88.3.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then the polynomial of degree 5 in `r` that is closest
/// relatively (its error is 1.1e-7), scaled by `2^n`. Written without branches so that loops over slices
/// vectorise.
///
/// # Source
/// The reduction is that of Cephes `expf`, S. Moshier.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * EXP.log2_e + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * EXP.ln_2[0]) - n * EXP.ln_2[1];
    let [a, b, c, d] = EXP.polynomial;
    let p = ((a * r + b) * r + c) * r + d;
    let y = (p * r) * r + r + 1.0;
    // `shifted` holds n in its low bits; 127 is the exponent's bias.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let y = y * scale;
    let y = if x < -87.3 { 0.0 } else { y };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// `tanh x`, to about 2e-7 absolute.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Square root, correctly rounded.
#[inline(always)]
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(kernel_dsp)]
    return root(x);
    #[cfg(not(kernel_dsp))]
    return libm::sqrtf(x);
}

/// Sine and cosine of `x` radians, to within 1.2e-7 absolute up to 8,192 radians and 2e-6 up to 131,072;
/// farther out digits are lost, but results stay between -1 and 1.
///
/// `x = n pi / 2 + r` with `|r| <= pi / 4`, a polynomial each, in single precision throughout.
///
/// # Source
/// Cephes `sinf`, `cosf`, S. Moshier.
#[must_use]
pub fn sin_cos(x: f32) -> (f32, f32) {
    // Their sum is pi / 2; the first two have so few digits that a product with n is exact.
    const HALF_PI: [f32; 3] = [1.570_312_5, 4.837_513e-4, 7.549_79e-8];
    let shifted = x * core::f32::consts::FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let r = ((x - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2];
    // Where n itself is no longer exact, the results still are between -1 and 1.
    let r = r.clamp(-0.8, 0.8);
    let z = r * r;
    let sin = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * r + r;
    let cos = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    // `shifted` holds n in its low bits.
    match shifted.to_bits() & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// `out[i] = base^(i / out.len())`, at most one unit in the last place off, and rounded correctly but for a few
/// values in ten thousand where `out` has up to 2,048.
///
/// # Shapes
/// `out` has at most `2^19` values. `base` is finite and above 0; a subnormal one counts as the least number that is
/// none.
pub fn geometric(out: &mut [f32], base: f32) {
    let ratio = Scaled::new(base).root(out.len().clamp(1, MOST) as i32);
    let mut power = Scaled::ONE;
    for value in out {
        *value = power.to_f32();
        power = power.times(ratio);
    }
}

/// `base^exponent` in double precision, for what a host computes once a step.
#[must_use]
pub fn pow_f64(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

/// Cosine of `x` radians in double precision, for what a host computes once a step.
#[must_use]
pub fn cos_f64(x: f64) -> f64 {
    libm::cos(x)
}

/// Natural logarithm.
#[must_use]
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn exp_is_close_and_bounded() {
        let mut worst = 0.0f64;
        for i in 0..=400_000 {
            let x = -87.0 + i as f32 * (175.0 / 400_000.0);
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2.5e-7, "relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((exp(-1e30), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!(
            (exp(100.0), exp(f32::INFINITY)),
            (f32::INFINITY, f32::INFINITY)
        );
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sines_and_cosines_are_close_and_bounded() {
        let mut worst = 0.0f64;
        for i in -400_000..=400_000 {
            let x = i as f32 * 0.020_48;
            let (sin, cos) = sin_cos(x);
            let exact = f64::from(x).sin_cos();
            worst = worst.max((f64::from(sin) - exact.0).abs());
            worst = worst.max((f64::from(cos) - exact.1).abs());
        }
        assert!(worst < 1.2e-7, "error {worst}");
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
        for x in [1e6, -1e9, 1e30, f32::MAX] {
            let (sin, cos) = sin_cos(x);
            assert!(sin.abs() <= 1.0 && cos.abs() <= 1.0, "{x}: {sin}, {cos}");
        }
    }

    #[test]
    fn geometric_sequences_are_rounded_correctly() {
        let (mut values, mut wrong) = (0, 0);
        for base in [10_000.0f32, 500_000.0, 1e6, 3.5, 1.0, 0.3, 1e-37, 1e38] {
            for n in 1..=130 {
                let mut powers = vec![0.0; n];
                geometric(&mut powers, base);
                assert_eq!(powers[0], 1.0);
                for (i, power) in powers.iter().enumerate() {
                    let exact = f64::from(base).powf(i as f64 / n as f64);
                    let off = power.to_bits().abs_diff((exact as f32).to_bits());
                    assert!(off <= 1, "{base}^({i}/{n}): {power}, but {exact}");
                    values += 1;
                    wrong += off;
                }
            }
        }
        assert!(wrong * 10_000 < values, "{wrong} of {values}");
        let mut powers = vec![0.0; MOST];
        geometric(&mut powers, 10_000.0);
        for i in (0..MOST).step_by(999) {
            let exact = 10_000f64.powf(i as f64 / MOST as f64) as f32;
            assert!(powers[i].to_bits().abs_diff(exact.to_bits()) <= 1);
        }
    }

    #[test]
    fn tanh_and_sigmoid_saturate() {
        for x in [-100.0f32, -3.0, -0.1, 0.0, 0.5, 2.0, 100.0] {
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3e-7);
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 3e-7);
        }
    }
}
