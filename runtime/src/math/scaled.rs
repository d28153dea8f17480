//! Numbers of 64 bits with an exponent, for powers that are the same bits on every target and cost a board little
//! program memory.

/// Bits of a logarithm behind the point.
const LOG_BITS: u32 = 44;

/// The largest root: with it the product in [`Scaled::root`] stays below `2^63`.
pub(super) const MOST: usize = 1 << 19;

/// `mantissa / 2^63 * 2^exponent`, the mantissa's highest bit set: a number above 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    mantissa: u64,
    exponent: i32,
}

impl Scaled {
    pub(super) const ONE: Self = Self {
        mantissa: 1 << 63,
        exponent: 0,
    };

    /// `x`, which is finite and above 0; a subnormal number counts as the least that is none.
    pub(super) fn new(x: f32) -> Self {
        let bits = x.to_bits().max(f32::MIN_POSITIVE.to_bits());
        Self {
            mantissa: ((bits << 8 | 1 << 31) as u64) << 32,
            exponent: (bits >> 23).cast_signed() - 127,
        }
    }

    /// Rounded to the nearest.
    pub(super) fn to_f32(self) -> f32 {
        let twice = (self.mantissa >> 39) as u32;
        let rounded = (twice + 1) >> 1;
        rounded as f32 * super::power_of_two(-23) * super::power_of_two(self.exponent)
    }

    /// The product, rounded down.
    // Once in a program: it is many instructions where registers are narrower.
    #[inline(never)]
    pub(super) fn times(self, other: Self) -> Self {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        let product = (product >> 64) as u64; // between 1/4 and 1
        let is_half = product >> 63;
        Self {
            mantissa: product << (1 - is_half),
            exponent: self.exponent + other.exponent + is_half as i32,
        }
    }

    /// The `n`th root as far as logarithms tell; `n` is above 0 and at most [`MOST`].
    pub(super) fn root(self, n: i32) -> Self {
        let log = self.log2();
        let mut root = Self {
            exponent: self.exponent.div_euclid(n),
            ..Self::ONE
        };
        // Bit by bit, the largest number whose power is not above `self`, by their logarithms.
        for bit in (63 - LOG_BITS..63).rev() {
            let larger = Self {
                mantissa: root.mantissa | 1 << bit,
                ..root
            };
            if larger.log2() * i64::from(n) <= log {
                root = larger;
            }
        }
        root
    }

    /// The logarithm to base 2 in steps of `2^-LOG_BITS`, rounded down.
    fn log2(self) -> i64 {
        let mut log = i64::from(self.exponent);
        let mut rest = Self {
            exponent: 0,
            ..self
        };
        for _ in 0..LOG_BITS {
            // A square's logarithm is twice as large: its integer part is the next bit.
            rest = rest.times(rest);
            log = log << 1 | i64::from(rest.exponent);
            rest.exponent = 0;
        }
        log
    }
}
