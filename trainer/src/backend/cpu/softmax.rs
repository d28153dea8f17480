//! What softmax and its logarithm have in common.

use minigpt_runtime::{math, ops};

/// Replaces `x` by `e^(x - max)`; returns the largest and the sum of the exponentials.
///
/// The order of operations is that of [`ops::softmax`].
#[inline(always)]
pub(super) fn exponentials(x: &mut [f32]) -> (f32, f32) {
    let largest = ops::max(x);
    for value in x.iter_mut() {
        *value = math::exp(*value - largest);
    }
    (largest, ops::sum(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::rng::Rng;

    #[test]
    fn the_same_bits_as_softmax() {
        for n in [1, 7, 33, 100] {
            let mut rng = Rng::new(n, 0);
            let mut x: Vec<f32> = (0..n).map(|_| rng.next_unit() * 9.0 - 4.0).collect();
            let mut expected = x.clone();
            ops::softmax(&mut expected);
            let scale = 1.0 / exponentials(&mut x).1;
            x.iter_mut().for_each(|value| *value *= scale);
            assert_eq!(x, expected);
        }
    }
}
