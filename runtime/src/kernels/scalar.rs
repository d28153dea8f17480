//! Plain Rust: the specification that every other instruction set reproduces.

mod attention;
mod dsp_order;

use half::f16;

#[cfg(kernel_dsp)]
pub(super) use self::attention::{EXP2, EXP2_CUBIC};
pub(super) use self::attention::{integers, largest, scores, weighted_sums, weights};
#[cfg(kernel_dsp)]
pub(super) use self::dsp_order::pack;
pub(super) use self::dsp_order::{matmul_q8_dsp, quantize_dsp};

use crate::math::ROUND;
use crate::ops::{self, LANES};
use crate::quant::{BLOCK, Q8Row};

pub(super) fn dot_f32(w: &[f32], x: &[f32]) -> f32 {
    ops::dot(w, x)
}

pub(super) fn dot_f16(w: &[f16], x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (w, x) in w.chunks(LANES).zip(x.chunks(LANES)) {
        for ((lane, w), x) in lanes.iter_mut().zip(w).zip(x) {
            *lane += w.to_f32() * x;
        }
    }
    ops::reduce(lanes)
}

/// Dot product of a row with one token's activations.
///
/// `lanes[b % 8] += f32(sum(w[b, i] * x[b, i])) * (w_scale[b] * x_scale[b])`, then [`ops::reduce`].
pub(super) fn dot_q8(w: Q8Row<'_>, (quants, scales): (&[i8], &[f32])) -> f32 {
    let mut lanes = [0.0; LANES];
    let w_blocks = w.quants.as_chunks::<BLOCK>().0.iter().zip(w.scales);
    let x_blocks = quants.as_chunks::<BLOCK>().0.iter().zip(scales);
    for (b, ((w, w_scale), (x, x_scale))) in w_blocks.zip(x_blocks).enumerate() {
        lanes[b % LANES] += dot_i8(w, x) as f32 * (w_scale.to_f32() * x_scale);
    }
    ops::reduce(lanes)
}

/// Exact: at most 32 * 128 * 127.
fn dot_i8(a: &[i8; BLOCK], b: &[i8; BLOCK]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.sum()
}

pub(super) fn quantize(quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
    let blocks = x
        .chunks_exact(cols.max(1))
        .flat_map(|row| row.chunks(BLOCK));
    let quants = quants.as_chunks_mut::<BLOCK>().0.iter_mut();
    for ((x, quants), scale) in blocks.zip(quants).zip(scales) {
        *scale = quantize_block(quants, x);
    }
}

/// Rounds a block to integers in -127..=127, ties to even, the rest of it to zero; returns the scale.
///
/// NaN becomes 0. A block that holds an infinity becomes zeros, like one whose values are too small
/// to scale: every result is finite, and the same wherever NaN and infinity behave otherwise.
pub(super) fn quantize_block(quants: &mut [i8; BLOCK], x: &[f32]) -> f32 {
    let mut largest = 0.0f32;
    for value in x {
        let magnitude = value.abs();
        largest = if magnitude > largest {
            magnitude
        } else {
            largest
        };
    }
    let (scale, inverse) = scale(largest);
    *quants = [0; BLOCK];
    for (quant, value) in quants.iter_mut().zip(x) {
        let scaled = value * inverse;
        // Also infinity times an inverse of 0.
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        *quant = (scaled + ROUND).to_bits() as i8;
    }
    scale
}

/// Scale of a block whose largest magnitude is `largest`, and what its values are multiplied by:
/// 0 and 0 if one of them is infinite or the largest is 0.
pub(super) fn scale(largest: f32) -> (f32, f32) {
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    if scale.is_finite() && inverse.is_finite() {
        (scale, inverse)
    } else {
        (0.0, 0.0)
    }
}

pub(super) fn widen_f16(out: &mut [f32], x: &[f16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x.to_f32();
    }
}
