//! Point-wise mathematics of the model: the one definition that runtime and trainer share.
//!
//! Every reduction has a fixed order: [`LANES`] partial sums, element `i` into lane `i % LANES`,
//! then the tree of [`reduce`]. Nothing is fused. So the results are the same bits on every target
//! and at every vector width; vector kernels reproduce this order.

use crate::math;
use crate::parts::part;

/// Partial sums of a reduction.
pub const LANES: usize = 8;

/// Added to a variance or mean square before its root.
///
/// # Source
/// GPT-2 `model.py`, `norm`; Llama `RMSNorm`.
pub const NORM_EPS: f32 = 1e-5;

/// Adds up partial sums: `((0+4) + (2+6)) + ((1+5) + (3+7))`.
#[inline(always)]
#[must_use]
pub fn reduce(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[inline(always)]
fn reduce_map(x: &[f32], map: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            lanes[j] += map(chunk[j]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += map(value);
    }
    reduce(lanes)
}

/// Sum of `x`.
#[inline(always)]
#[must_use]
pub fn sum(x: &[f32]) -> f32 {
    reduce_map(x, |value| value)
}

/// `sum(a[i] * b[i])` over the shorter of the two.
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let n = a.len().min(b.len());
    let (a, a_rest) = part(a, 0, n).as_chunks::<LANES>();
    let (b, b_rest) = part(b, 0, n).as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for j in 0..LANES {
            lanes[j] += a[j] * b[j];
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    reduce(lanes)
}

/// `y += a * x`, over the shorter of the two.
#[inline(always)]
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Largest value of `x`; negative infinity if there is none. NaN is passed over.
#[inline(always)]
#[must_use]
pub fn max(x: &[f32]) -> f32 {
    let mut largest = f32::NEG_INFINITY;
    for &value in x {
        largest = if value > largest { value } else { largest };
    }
    largest
}

/// Mean of `x` and `1 / sqrt(variance + NORM_EPS)`.
#[inline(always)]
#[must_use]
pub fn layer_norm_stats(x: &[f32]) -> (f32, f32) {
    let scale = 1.0 / x.len() as f32;
    let mean = sum(x) * scale;
    let variance = reduce_map(x, |value| (value - mean) * (value - mean)) * scale;
    (mean, 1.0 / math::sqrt(variance + NORM_EPS))
}

/// `1 / sqrt(mean(x^2) + NORM_EPS)`.
#[inline(always)]
#[must_use]
pub fn rms_norm_stats(x: &[f32]) -> f32 {
    rms_scale(dot(x, x), x.len())
}

/// [`rms_norm_stats`] of `n` values whose squares sum to `square`.
#[inline(always)]
pub(crate) fn rms_scale(square: f32, n: usize) -> f32 {
    1.0 / math::sqrt(square * (1.0 / n as f32) + NORM_EPS)
}

/// `out[i] = (x[i] - mean) * rstd * weight[i] + bias[i]`; RMS norm is `mean` 0 without bias.
///
/// # Shapes
/// All `[C]`.
/// # Source
/// Ba et al. 2016; Zhang and Sennrich 2019.
#[inline(always)]
pub fn normalize(
    out: &mut [f32],
    x: &[f32],
    (mean, rstd): (f32, f32),
    weight: &[f32],
    bias: Option<&[f32]>,
) {
    match bias {
        Some(bias) => {
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = (x - mean) * rstd * weight + bias;
            }
        }
        None => {
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = (x - mean) * rstd * weight;
            }
        }
    }
}

/// `sqrt(2 / pi)` and the cubic coefficient of GELU's tanh form.
pub const GELU: (f32, f32) = (0.797_884_6, 0.044_715);

/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
///
/// # Source
/// Hendrycks and Gimpel 2016; GPT-2 `model.py`, `gelu`.
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    let (scale, cubic) = GELU;
    0.5 * x * (1.0 + math::tanh(scale * (x + cubic * x * x * x)))
}

/// Derivative of [`gelu`].
#[inline(always)]
#[must_use]
pub fn gelu_derivative(x: f32) -> f32 {
    let (scale, cubic) = GELU;
    let tanh = math::tanh(scale * (x + cubic * x * x * x));
    let inner = scale * (1.0 + 3.0 * cubic * x * x);
    0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
}

/// `x * sigmoid(x)`.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    x * math::sigmoid(x)
}

/// Derivative of [`silu`].
#[inline(always)]
#[must_use]
pub fn silu_derivative(x: f32) -> f32 {
    let sigmoid = math::sigmoid(x);
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}

/// `max(x, 0)`.
#[inline(always)]
#[must_use]
pub fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// Derivative of [`relu`], 0 at 0.
#[inline(always)]
#[must_use]
pub fn relu_derivative(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// `max(x, 0)^2`.
#[inline(always)]
#[must_use]
pub fn relu_squared(x: f32) -> f32 {
    relu(x) * relu(x)
}

/// Derivative of [`relu_squared`].
#[inline(always)]
#[must_use]
pub fn relu_squared_derivative(x: f32) -> f32 {
    2.0 * relu(x)
}

/// Replaces `x` by `e^(x - max)`; returns the largest, and the sum of the exponentials.
#[inline(always)]
pub fn exponentials(x: &mut [f32]) -> (f32, f32) {
    let largest = max(x);
    for value in x.iter_mut() {
        *value = math::exp(*value - largest);
    }
    (largest, sum(x))
}

/// Turns scores into probabilities in place: `x[i] = e^(x[i] - max) / sum`.
#[inline(always)]
pub fn softmax(x: &mut [f32]) {
    let (_, sum) = exponentials(x);
    let scale = 1.0 / sum;
    for value in x.iter_mut() {
        *value *= scale;
    }
}

/// Base of the frequencies of [`sinusoid`].
///
/// # Source
/// Vaswani et al. 2017, section 3.5.
pub const SINUSOID_BASE: f32 = 10_000.0;

/// By how many radians each pair turns from one position to the next:
/// `out[i] = base^(-2i / (2 out.len()))`. `base` is finite and above 0.
///
/// # Shapes
/// `out` `[HS / 2]` for [`rope_table`], `[C / 2]` for [`sinusoid`].
pub fn frequencies(out: &mut [f32], base: f32) {
    math::geometric(out, base);
    for frequency in out {
        *frequency = 1.0 / *frequency;
    }
}

/// Cosine and sine of each pair's angle at `position`, interleaved: `table[2i] = cos`,
/// `table[2i+1] = sin` of `position * frequencies[i]`.
///
/// # Shapes
/// `table` `[HS]`, `frequencies` `[HS / 2]` of base `rope_theta`.
/// # Source
/// Su et al. 2021, equation 15.
pub fn rope_table(table: &mut [f32], position: usize, frequencies: &[f32]) {
    for (pair, frequency) in table.chunks_exact_mut(2).zip(frequencies) {
        let (sin, cos) = math::sin_cos(position as f32 * frequency);
        pair[0] = cos;
        pair[1] = sin;
    }
}

/// Rotates neighbouring pairs of one head by the angles of `table` (Llama's own order of pairs).
///
/// # Shapes
/// Both `[HS]`.
#[inline(always)]
pub fn rope(head: &mut [f32], table: &[f32]) {
    let (pairs, _) = head.as_chunks_mut::<2>();
    let (angles, _) = table.as_chunks::<2>();
    for ([x, y], [cos, sin]) in pairs.iter_mut().zip(angles) {
        (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
    }
}

/// [`rope`] of some heads.
///
/// # Shapes
/// `heads` `[heads, HS]`, `table` `[HS]`.
pub(crate) fn rope_heads(heads: &mut [f32], table: &[f32]) {
    for head in heads.chunks_exact_mut(table.len().max(1)) {
        rope(head, table);
    }
}

/// Backward of [`rope`]: turns the gradient back by the same angles.
///
/// # Shapes
/// Both `[HS]`.
#[inline(always)]
pub fn rope_backward(d_head: &mut [f32], table: &[f32]) {
    let (pairs, _) = d_head.as_chunks_mut::<2>();
    let (angles, _) = table.as_chunks::<2>();
    for ([x, y], [cos, sin]) in pairs.iter_mut().zip(angles) {
        (*x, *y) = (*x * cos + *y * sin, *y * cos - *x * sin);
    }
}

/// The fixed embedding of `position`: `out[2i] = sin`, `out[2i+1] = cos` of
/// `position * frequencies[i]`.
///
/// # Shapes
/// `out` `[C]`, `frequencies` `[C / 2]` of base [`SINUSOID_BASE`].
/// # Source
/// Vaswani et al. 2017, section 3.5.
pub fn sinusoid(out: &mut [f32], position: usize, frequencies: &[f32]) {
    for (pair, frequency) in out.chunks_exact_mut(2).zip(frequencies) {
        let (sin, cos) = math::sin_cos(position as f32 * frequency);
        pair[0] = sin;
        pair[1] = cos;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::rng::Rng;

    fn random(n: usize) -> Vec<f32> {
        let mut rng = Rng::new(n as u64, 0);
        (0..n).map(|_| rng.next_unit() * 4.0 - 2.0).collect()
    }

    #[test]
    fn reductions_at_odd_sizes() {
        for n in [0, 1, 7, 8, 9, 33, 100] {
            let (a, b) = (random(n), random(n + 1));
            let exact: f64 = a
                .iter()
                .zip(&b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-5);
            let exact: f64 = a.iter().map(|a| f64::from(*a)).sum();
            assert!((f64::from(sum(&a)) - exact).abs() < 1e-5);
        }
    }

    #[test]
    fn derivatives_match_differences() {
        type Function = fn(f32) -> f32;
        let pairs: [(Function, Function); 3] = [
            (gelu, gelu_derivative),
            (silu, silu_derivative),
            (relu_squared, relu_squared_derivative),
        ];
        for (function, derivative) in pairs {
            for i in -40..=40 {
                // Never at 0, where relu squared has a kink in its slope.
                let x = i as f32 * 0.1 + 0.05;
                let difference = (function(x + 1e-2) - function(x - 1e-2)) / 2e-2;
                assert!((derivative(x) - difference).abs() < 2e-4, "at {x}");
            }
        }
    }

    #[test]
    fn norms_normalise() {
        let x = random(33);
        let mut out = x.clone();
        let ones = [1.0; 33];
        normalize(&mut out, &x, layer_norm_stats(&x), &ones, None);
        assert!(sum(&out).abs() < 1e-4 && (dot(&out, &out) / 33.0 - 1.0).abs() < 1e-4);
        normalize(&mut out, &x, (0.0, rms_norm_stats(&x)), &ones, Some(&ones));
        let centred: Vec<f32> = out.iter().map(|value| value - 1.0).collect();
        assert!((dot(&centred, &centred) / 33.0 - 1.0).abs() < 1e-4);
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut x = random(33);
        x[3] = 500.0;
        softmax(&mut x);
        assert!((sum(&x) - 1.0).abs() < 1e-6 && x[3] > 0.999);
    }

    #[test]
    fn rope_turns_and_keeps_length() {
        let (mut head, mut table) = (random(8), [0.0; 8]);
        let before = dot(&head, &head);
        let mut turns = [0.0; 4];
        frequencies(&mut turns, 10_000.0);
        rope_table(&mut table, 5, &turns);
        rope(&mut head, &table);
        assert!((dot(&head, &head) - before).abs() < 1e-5);
        assert!((f64::from(table[0]) - 5f64.cos()).abs() < 1e-6);
        assert!((f64::from(table[3]) - 0.5f64.sin()).abs() < 1e-6);
    }
}
