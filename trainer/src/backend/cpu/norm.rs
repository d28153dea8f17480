//! Layer norm and RMS norm over rows.

use minigpt_runtime::config::Norm;
use minigpt_runtime::ops;

use super::Buffer;
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
#[inline(always)]
pub(super) fn again(out: &mut [f32], stats: &[f32], x: &[f32], weights: Affine<&Buffer>) {
    let width = weights.weight.len();
    let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
    for ((out, x), stats) in rows.zip(stats.chunks_exact(2)) {
        normalize(out, stats, x, weights);
    }
}

#[inline(always)]
fn normalize(out: &mut [f32], stats: &[f32], x: &[f32], weights: Affine<&Buffer>) {
    let bias = weights.bias.map(|bias| &**bias);
    ops::normalize(out, x, (stats[0], stats[1]), weights.weight, bias);
}

/// What [`backward`] is given about a chunk of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// Gradient of the normalised rows `[n, C]`.
    pub(super) d_out: &'a [f32],
    /// Mean and reciprocal deviation of each row `[n, 2]`.
    pub(super) stats: &'a [f32],
    /// The rows themselves `[n, C]`.
    pub(super) x: &'a [f32],
    /// The norm's weight `[C]`.
    pub(super) weight: &'a [f32],
    /// Which norm.
    pub(super) norm: Norm,
}

/// Gradient of the norm's input, added to that which skips the branch, and its parameters' in `sums`.
///
/// With `h = (x - mean) rstd` and `g = d_out weight`:
/// `d_x = skip + rstd (g - mean(g) - h mean(g h))`, where RMS norm has no `mean(g)`;
/// `sums[0] = sum of d_out h`, `sums[1] = sum of d_out`.
///
/// # Shapes
/// `d_x`, `skip` `[n, C]`, `sums` `[2, C]`, `pair` (scratch) `[2, C]`.
/// # Source
/// llm.c, `layernorm_backward`.
#[inline(always)]
pub(super) fn backward(
    d_x: &mut [f32],
    skip: Option<&[f32]>,
    sums: &mut [f32],
    pair: &mut [f32],
    given: Given<'_>,
) {
    let Given {
        d_out,
        stats,
        x,
        weight,
        norm,
    } = given;
    let width = weight.len();
    match skip {
        Some(skip) => d_x.copy_from_slice(skip),
        None => d_x.fill(0.0),
    }
    sums.fill(0.0);
    let (d_weight, d_bias) = sums.split_at_mut(width);
    let (h, g) = pair.split_at_mut(width);
    let rows = d_x.chunks_exact_mut(width).zip(d_out.chunks_exact(width));
    let rows = rows.zip(x.chunks_exact(width)).zip(stats.chunks_exact(2));
    for (((d_x, d_out), x), stats) in rows {
        let (mean, rstd) = (stats[0], stats[1]);
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
