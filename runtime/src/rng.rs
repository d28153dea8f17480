//! Counter-based random numbers: a position in a sequence is a number, so any part of it can be
//! computed by anyone, in any order, and "where the generator stands" needs no saving.

/// Number `counter` of stream `stream` under `seed`.
///
/// Different `(seed, stream)` pairs give unrelated sequences. Not for cryptography.
///
/// # Source
/// Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators": SplitMix64, whose
/// state is here the counter.
#[inline]
#[must_use]
pub const fn random(seed: u64, stream: u64, counter: u64) -> u64 {
    numbered(key(seed, stream), counter)
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What [`random`] needs to know of `(seed, stream)`, for devices that make the numbers themselves:
/// number `counter` is `mix(key + (counter + 1) GAMMA)` with SplitMix64's constants.
#[inline]
#[must_use]
pub const fn key(seed: u64, stream: u64) -> u64 {
    mix(mix(seed.wrapping_add(GAMMA)) ^ stream.wrapping_mul(GAMMA))
}

#[inline]
const fn numbered(key: u64, counter: u64) -> u64 {
    mix(key.wrapping_add(counter.wrapping_add(1).wrapping_mul(GAMMA)))
}

// On microcontrollers, where a product of 64 bits is long, once.
#[cfg_attr(target_os = "none", inline(never))]
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The upper 24 bits as a number in `[0, 1)`, exact in `f32`.
#[inline]
#[must_use]
pub const fn unit(random: u64) -> f32 {
    (random >> 40) as u32 as f32 / 16_777_216.0
}

/// A number in `0..n`, without bias that matters (below 2^-32 for `n` under 2^32).
#[inline]
#[must_use]
pub const fn below(random: u64, n: u64) -> u64 {
    ((random as u128 * n as u128) >> 64) as u64
}

/// A generator that walks one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    /// Of seed and stream.
    key: u64,
    counter: u64,
}

impl Rng {
    /// Starts `stream` of `seed` at its first number.
    #[must_use]
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self {
            key: key(seed, stream),
            counter: 0,
        }
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        let number = numbered(self.key, self.counter);
        self.counter = self.counter.wrapping_add(1);
        number
    }

    /// The next number in `[0, 1)`.
    pub const fn next_unit(&mut self) -> f32 {
        unit(self.next())
    }

    /// The next number in `0..n`.
    pub const fn next_below(&mut self, n: usize) -> usize {
        below(self.next(), n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_even_and_unrelated() {
        const N: u64 = 100_000;
        let (mut ones, mut same, mut sum) = ([0u32; 64], 0, 0.0f64);
        for i in 0..N {
            let (a, b) = (random(1, 0, i), random(1, 1, i));
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += (a >> bit & 1) as u32;
            }
            same += u32::from(below(a, 16) == below(b, 16));
            sum += f64::from(unit(a));
        }
        assert!(ones.iter().all(|&n| n.abs_diff(N as u32 / 2) < 1_000));
        assert!(same.abs_diff(N as u32 / 16) < 500);
        assert!((sum / N as f64 - 0.5).abs() < 0.005);
    }

    #[test]
    fn walking_equals_jumping() {
        let mut rng = Rng::new(7, 3);
        for i in 0..10 {
            assert_eq!(rng.next(), random(7, 3, i));
        }
    }
}
