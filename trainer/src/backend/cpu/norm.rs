//! Layer norm and RMS norm over rows.

use minigpt_runtime::config::Norm;
use minigpt_runtime::ops;

use super::buffer::{Buffer, scratch};
use super::panels;
use super::wide::wide;
use crate::backend::Affine;

/// Normalises each row and keeps its statistics.
///
/// # Shapes
/// `out`, `x` `[n, C]`, `stats` `[n, 2]`: mean (0 for RMS norm) and reciprocal deviation.
#[inline(always)]
pub(super) fn forward(
    out: &mut [f32],
    stats: &mut [f32],
    x: &[f32],
    weights: Affine<&Buffer>,
    norm: Norm,
) {
    let width = weights.weight.len();
    let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
    for ((out, x), stats) in rows.zip(stats.chunks_exact_mut(2)) {
        let (mean, rstd) = match norm {
            Norm::RmsNorm => (0.0, ops::rms_norm_stats(x)),
            _ => ops::layer_norm_stats(x),
        };
        (stats[0], stats[1]) = (mean, rstd);
        normalize(out, stats, x, weights);
    }
}

/// The same normalised rows again, from saved statistics.
///
/// # Shapes
/// `out`, `x` `[n, C]`, `stats` `[n, 2]`.
pub(super) fn again(out: &mut [f32], stats: &[f32], x: &[f32], weights: Affine<&Buffer>) {
    let width = weights.weight.len();
    wide(
        #[inline(always)]
        || {
            let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
            for ((out, x), stats) in rows.zip(stats.chunks_exact(2)) {
                normalize(out, stats, x, weights);
            }
        },
    );
}

#[inline(always)]
fn normalize(out: &mut [f32], stats: &[f32], x: &[f32], weights: Affine<&Buffer>) {
    let bias = weights.bias.map(|bias| &**bias);
    ops::normalize(out, x, (stats[0], stats[1]), weights.weight, bias);
}

/// Backward of a linear layer on normalised rows: the gradient of the rows, with that which skips
/// the branch, and in `sums` those of the norm's parameters.
///
/// With `d_out = d_linear weight`, `h = (x - mean) rstd` and `g = d_out norm_weight`:
/// `d_x = skip + rstd (g - mean(g) - h mean(g h))`, where RMS norm has no `mean(g)`;
/// `sums[0] = sum of d_out h`, `sums[1] = sum of d_out`.
///
/// # Shapes
/// `d_x`, `skip`, `x` `[n, C]`, `sums` `[2, C]`, `d_linear` `[n, O]`, `packed` the layer's weight
/// from [`panels::pack`], `stats` `[n, 2]`, `weight` `[C]`.
/// # Source
/// llm.c, `layernorm_backward`.
pub(super) fn linear_backward(
    d_x: &mut [f32],
    sums: &mut [f32],
    skip: Option<&[f32]>,
    d_linear: &[f32],
    packed: &[f32],
    (x, stats): (&[f32], &[f32]),
    (weight, norm): (&[f32], Norm),
) {
    let width = weight.len();
    let outputs = d_linear.len() / (x.len() / width);
    scratch([x.len(), 2 * width], |[d_out, pair]| {
        panels::multiply(d_out, d_linear, packed, outputs, width);
        wide(
            #[inline(always)]
            || {
                match skip {
                    Some(skip) => d_x.copy_from_slice(skip),
                    None => d_x.fill(0.0),
                }
                sums.fill(0.0);
                let d_weights = sums.split_at_mut(width);
                let rows = d_x.chunks_exact_mut(width).zip(d_out.chunks_exact(width));
                let given = x.chunks_exact(width).zip(stats.chunks_exact(2));
                for ((d_x, d_out), (x, stats)) in rows.zip(given) {
                    let scales = (&mut *d_weights.0, &mut *d_weights.1);
                    backward(d_x, scales, pair, d_out, (x, stats), (weight, norm));
                }
            },
        );
    });
}

/// One row of [`linear_backward`]; `pair` is scratch for `h` and `g`.
#[inline(always)]
fn backward(
    d_x: &mut [f32],
    (d_weight, d_bias): (&mut [f32], &mut [f32]),
    pair: &mut [f32],
    d_out: &[f32],
    (x, stats): (&[f32], &[f32]),
    (weight, norm): (&[f32], Norm),
) {
    let (width, mean, rstd) = (weight.len(), stats[0], stats[1]);
    let (h, g) = pair.split_at_mut(width);
    for i in 0..width {
        h[i] = (x[i] - mean) * rstd;
        g[i] = d_out[i] * weight[i];
        d_weight[i] += d_out[i] * h[i];
        d_bias[i] += d_out[i];
    }
    let scale = 1.0 / width as f32;
    let mean_gh = ops::dot(g, h) * scale;
    let mean_g = match norm {
        Norm::RmsNorm => 0.0,
        _ => ops::sum(g) * scale,
    };
    for i in 0..width {
        d_x[i] += rstd * (g[i] - mean_g - h[i] * mean_gh);
    }
}

/// Adds the chunks' `sums` to the gradients of the norm's parameters, in the chunks' order.
///
/// # Shapes
/// `sums` `[chunks, 2, C]`.
pub(super) fn add_sums(d_weights: Affine<&mut Buffer>, sums: &[f32]) {
    let Affine { weight, mut bias } = d_weights;
    for sums in sums.chunks_exact(2 * weight.len()) {
        let (d_weight, d_bias) = sums.split_at(weight.len());
        ops::axpy(weight, 1.0, d_weight);
        if let Some(bias) = &mut bias {
            ops::axpy(bias, 1.0, d_bias);
        }
    }
}
