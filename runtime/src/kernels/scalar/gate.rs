//! Swiglu with a sigmoid in integers.

/// What the sigmoid is made of; kernels in assembly know the order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in super::super) struct Sigmoid {
    /// `log2(e) * 2^30`.
    pub(in super::super) log2_e: i32,
    /// `2^-f` for `f` in `[0, 1)`, to within `1e-4`: coefficients of `f^k` times `2^(30 + k)`, from the third
    /// power down to the first; that of 1 is exact. A step of Horner's rule with `f * 2^31` takes the upper half
    /// of a product.
    pub(in super::super) exp2: [i32; 3],
}

pub(in super::super) const SIGMOID: Sigmoid = Sigmoid {
    log2_e: 1_549_082_005,
    exp2: [-5193 << 16, 992_818_496, -1_485_172_738],
};

/// `gates[i] = (gates[i] * ups[i]) * (sigmoid_q16(gates[i]) * 2^-16)`, over the shorter of the two.
#[inline(always)]
pub(in super::super) fn swiglu_q16(gates: &mut [f32], ups: &[f32]) {
    for (gate, up) in gates.iter_mut().zip(ups) {
        *gate = *gate * up * (sigmoid_q16(*gate) as f32 * (1.0 / 65_536.0));
    }
}

/// `2^16 / (1 + e^-x)`, to within 3; 0 and `2^16` included.
///
/// With `u = 2^-(|x| log2(e))`: `1 / (1 + u)`, and what is missing to 1 where `x` is negative.
#[inline(always)]
fn sigmoid_q16(x: f32) -> i32 {
    // 26 bits behind the point, then 24; from 32 on the largest integer, of NaN 0.
    let size = (x.abs() * 67_108_864.0) as i32;
    let power = upper_half(size, SIGMOID.log2_e);
    let (whole, part) = (power >> 24, (power & 0xFF_FFFF) << 7);
    let [cubic, square, linear] = SIGMOID.exp2;
    let u = linear + upper_half(square + upper_half(cubic, part), part);
    let u = ((1 << 30) + upper_half(u, part)).cast_unsigned() >> whole.min(31);
    let upper = 0x8000_0000 / ((1 << 15) + (u >> 15));
    let upper = upper.cast_signed();
    if x < 0.0 { (1 << 16) - upper } else { upper }
}

#[inline(always)]
fn upper_half(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 32) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_is_close_and_bounded() {
        let mut worst = 0.0f64;
        // Miri takes milliseconds for each.
        for i in (-400_000..=400_000).step_by(if cfg!(miri) { 1009 } else { 1 }) {
            let x = i as f32 * 1e-4;
            let exact = 65_536.0 / (1.0 + (-f64::from(x)).exp());
            worst = worst.max((f64::from(sigmoid_q16(x)) - exact).abs());
        }
        assert!(worst < 3.0, "error {worst}");
        let values = [
            0.0,
            -0.0,
            1e-45,
            1e30,
            f32::INFINITY,
            -1e30,
            f32::NEG_INFINITY,
        ];
        let expected = [1 << 15, 1 << 15, 1 << 15, 1 << 16, 1 << 16, 0, 0];
        assert_eq!(values.map(sigmoid_q16), expected);
        assert_eq!(sigmoid_q16(f32::NAN), 1 << 15);
    }
}
