//! Plain Rust: the specification that every other instruction set reproduces.

mod attention;
mod dsp_order;
mod gate;

use half::f16;

#[cfg(target_arch = "x86_64")]
pub(super) use self::attention::{EXP2, Loops, attend_with, exponent_and_factor};
#[cfg(any(kernel_dsp, kernel_thumb2))]
pub(super) use self::attention::{EXP2, factor, lead};
pub(super) use self::attention::{attend, integers, keep};
pub(super) use self::dsp_order::{matmul_q8_dsp, quantize_dsp};
#[cfg(any(target_arch = "x86_64", kernel_dsp, kernel_thumb2))]
pub(super) use self::gate::SIGMOID;
#[cfg(any(kernel_dsp, kernel_thumb2))]
pub(super) use self::gate::Sigmoid;
pub(super) use self::gate::swiglu_q16;
#[cfg(soft_float)]
use super::soft::{block_product, scaled_integer};

#[cfg(not(soft_float))]
use crate::math::ROUND;
use crate::ops::{self, LANES};
use crate::quant::{BLOCK, Q4_BYTES, Q4Row, Q8Row, q4_integers};

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
    let w_blocks = w.quants.as_chunks::<BLOCK>().0.iter().zip(w.scales);
    let x_blocks = quants.as_chunks::<BLOCK>().0.iter().zip(scales);
    sum_lanes(
        w_blocks
            .zip(x_blocks)
            .map(|((w, w_scale), (x, x_scale))| block_product(dot_i8(w, x), *w_scale, *x_scale)),
    )
}

/// [`dot_q8`] with weights of four bits.
pub(super) fn dot_q4(w: Q4Row<'_>, (quants, scales): (&[i8], &[f32])) -> f32 {
    let w_blocks = w.nibbles.as_chunks::<Q4_BYTES>().0.iter().zip(w.scales);
    let x_blocks = quants.as_chunks::<BLOCK>().0.iter().zip(scales);
    sum_lanes(w_blocks.zip(x_blocks).map(|((w, w_scale), (x, x_scale))| {
        block_product(dot_i8(&q4_integers(w), x), *w_scale, *x_scale)
    }))
}

/// Adds product `b` to lane `b % 8`, and then the lanes as [`ops::reduce`] does, without the additions of
/// zero: without floating point each of them is a hundred instructions.
pub(super) fn sum_lanes(products: impl Iterator<Item = f32>) -> f32 {
    let (mut lanes, mut n) = ([0.0; LANES], 0);
    for product in products {
        if let Some(lane) = lanes.get_mut(n % LANES) {
            *lane = if n < LANES { product } else { *lane + product };
        }
        n += 1;
    }
    let [a, b, c, d, ..] = lanes;
    match n {
        0 | 1 => a,
        2 => a + b,
        3 => (a + c) + b,
        4 => (a + c) + (b + d),
        _ => ops::reduce(lanes),
    }
}

/// `dot as f32 * (w * x)`, where a product of 0 is never negative: added to a lane, -0 would not be seen.
#[cfg(not(soft_float))]
#[inline(always)]
pub(super) fn block_product(dot: i32, w: f16, x: f32) -> f32 {
    dot as f32 * (w.to_f32() * x) + 0.0
}

/// Exact: at most 32 * 128 * 127. Eight at a time, for compilers that save space.
fn dot_i8(a: &[i8; BLOCK], b: &[i8; BLOCK]) -> i32 {
    let mut sum = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
        sum += product(0) + product(1) + product(2) + product(3);
        sum += product(4) + product(5) + product(6) + product(7);
    }
    sum
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
    // As integers magnitudes have the order they have as numbers, with NaN above infinity.
    let magnitudes = x.iter().map(|x| x.to_bits() & (u32::MAX >> 1));
    let numbers = magnitudes.filter(|bits| *bits <= f32::INFINITY.to_bits());
    let largest = f32::from_bits(numbers.max().unwrap_or(0));
    let (scale, inverse) = scale(largest);
    *quants = [0; BLOCK];
    for (quant, value) in quants.iter_mut().zip(x) {
        *quant = scaled_integer(*value, inverse);
    }
    scale
}

/// `value * inverse`, rounded to an integer; 0 of NaN, which also infinity times an inverse of 0 is.
#[cfg(not(soft_float))]
#[inline(always)]
fn scaled_integer(value: f32, inverse: f32) -> i8 {
    let scaled = value * inverse;
    let scaled = if scaled.is_nan() { 0.0 } else { scaled };
    (scaled + ROUND).to_bits() as i8
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

#[cfg(feature = "kv-float")]
pub(super) fn narrow_f16(out: &mut [f16], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = crate::quant::nearest_f16(*x);
    }
}

pub(super) fn widen_f16(out: &mut [f32], x: &[f16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x.to_f32();
    }
}
