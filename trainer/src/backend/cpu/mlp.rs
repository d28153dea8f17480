//! The MLP branch.

use minigpt_runtime::config::Mlp;
use minigpt_runtime::ops;
use rayon::prelude::*;

use super::buffer::{Buffer, Workspace, scratch};
use super::linear::{self, ROWS, rows_of};
use super::wide::wide;
use super::{dropout, norm, panels};
use crate::backend::{Affine, Branch, Dropout, MlpSaved, Shape};

/// [`crate::backend::Backend::mlp_forward`]: one phase over rows.
pub(super) fn forward(
    workspace: &mut Workspace,
    out: &mut [f32],
    saved: &mut MlpSaved<Buffer>,
    x: &[f32],
    weights: Branch<&Buffer>,
    shape: &Shape,
    drop: Dropout,
) {
    let config = &shape.config;
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    let sizes = [
        panels::packed_len(width, n_fc),
        panels::packed_len(n_ff, width),
    ];
    let [input, output] = workspace.take(sizes);
    rayon::join(
        || panels::pack_transposed(input, weights.input.weight, width),
        || panels::pack_transposed(output, weights.output.weight, n_ff),
    );
    out.par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .zip(saved.stats.par_chunks_mut(ROWS * 2))
        .zip(saved.fc.par_chunks_mut(ROWS * n_fc))
        .enumerate()
        .for_each(|(chunk, (((out, x), stats), fc))| {
            let rows = (chunk * ROWS * width, x);
            chunk_forward(out, stats, fc, rows, (input, output), weights, shape, drop);
        });
}

/// A chunk of rows `x` whose first element is number `start`, with both weights packed.
fn chunk_forward(
    out: &mut [f32],
    stats: &mut [f32],
    fc: &mut [f32],
    (start, x): (usize, &[f32]),
    (input, output): (&[f32], &[f32]),
    weights: Branch<&Buffer>,
    shape: &Shape,
    drop: Dropout,
) {
    let config = &shape.config;
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    scratch([x.len(), x.len() / width * n_ff], |[rows, hidden]| {
        wide(
            #[inline(always)]
            || norm::forward(rows, stats, x, weights.norm, config.norm()),
        );
        panels::multiply(fc, rows, input, width, n_fc);
        wide(
            #[inline(always)]
            || {
                linear::add_bias(fc, weights.input.bias);
                activate(hidden, fc, n_ff, config.mlp());
            },
        );
        panels::multiply(rows, hidden, output, n_ff, width);
        wide(
            #[inline(always)]
            || dropout::add_residual(out, x, rows, weights.output.bias, start, drop),
        );
    });
}

/// [`crate::backend::Backend::mlp_backward`]: a phase over rows, then one over outputs.
pub(super) fn backward(
    workspace: &mut Workspace,
    d_x: &mut [f32],
    d_weights: Branch<&mut Buffer>,
    d_out: &[f32],
    saved: &MlpSaved<Buffer>,
    x: &[f32],
    weights: Branch<&Buffer>,
    shape: &Shape,
    drop: Dropout,
) {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    let [normed, hidden, d_fc, masked, sums, input, output] = workspace.take([
        rows * width,
        rows * n_ff,
        rows * n_fc,
        rows * width,
        rows.div_ceil(ROWS) * 2 * width,
        panels::packed_len(n_fc, width),
        panels::packed_len(width, n_ff),
    ]);
    rayon::join(
        || panels::pack(input, weights.input.weight, width),
        || panels::pack(output, weights.output.weight, n_ff),
    );
    let d_branch = dropout::branch_gradient(masked, d_out, drop);
    let d_rows = [
        &mut *d_x,
        &mut *normed,
        &mut *sums,
        &mut *hidden,
        &mut *d_fc,
    ];
    let stream = (x, d_out, d_branch);
    rows_backward(d_rows, stream, saved, (input, output), weights.norm, shape);
    let (output, input) = ((d_branch, &*hidden), (&*d_fc, &*normed));
    linear::gradients(d_weights, sums, output, input, rows);
}

/// Gradients of the hidden layer and of the branch's input, with both weights packed.
///
/// # Shapes
/// `d_x`, `normed`, `x`, `skip`, `d_branch` `[R, C]`, `sums` `[chunks, 2, C]`, `hidden`
/// `[R, n_ff]`, `d_fc` `[R, n_fc]`.
fn rows_backward(
    [d_x, normed, sums, hidden, d_fc]: [&mut [f32]; 5],
    (x, skip, d_branch): (&[f32], &[f32], &[f32]),
    saved: &MlpSaved<Buffer>,
    (input, output): (&[f32], &[f32]),
    weights: Affine<&Buffer>,
    shape: &Shape,
) {
    let config = &shape.config;
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    let fc_rows = hidden
        .par_chunks_mut(ROWS * n_ff)
        .zip(d_fc.par_chunks_mut(ROWS * n_fc));
    d_x.par_chunks_mut(ROWS * width)
        .zip(normed.par_chunks_mut(ROWS * width))
        .zip(sums.par_chunks_mut(2 * width))
        .zip(fc_rows)
        .enumerate()
        .for_each(|(chunk, (((d_x, normed), sums), (hidden, d_fc)))| {
            let (first, n) = (chunk * ROWS, d_x.len() / width);
            let part = |all, size| rows_of(all, first, n, size);
            let (x, stats) = (part(x, width), part(&saved.stats, 2));
            scratch([n * n_ff], |[d_hidden]| {
                panels::multiply(d_hidden, part(d_branch, width), output, width, n_ff);
                let fc = part(&saved.fc, n_fc);
                wide(
                    #[inline(always)]
                    || activate_backward(d_fc, hidden, d_hidden, fc, n_ff, config.mlp()),
                );
            });
            norm::again(normed, stats, x, weights);
            let (skip, norm) = (part(skip, width), (&**weights.weight, config.norm()));
            norm::linear_backward(d_x, sums, Some(skip), d_fc, input, (x, stats), norm);
        });
}

/// `hidden = f(fc)`
///
/// # Shapes
/// `hidden` `[n, n_ff]`, `fc` `[n, n_fc]`.
#[inline(always)]
fn activate(hidden: &mut [f32], fc: &[f32], n_ff: usize, mlp: Mlp) {
    match mlp {
        Mlp::Relu => map(hidden, fc, ops::relu),
        Mlp::Gelu => map(hidden, fc, ops::gelu),
        Mlp::ReluSquared => map(hidden, fc, ops::relu_squared),
        Mlp::Swiglu => {
            for (hidden, fc) in hidden.chunks_exact_mut(n_ff).zip(fc.chunks_exact(2 * n_ff)) {
                let (gate, up) = fc.split_at(n_ff);
                for i in 0..n_ff {
                    hidden[i] = ops::silu(gate[i]) * up[i];
                }
            }
        }
        _ => unreachable!("a nonlinearity that this backend does not know"),
    }
}

#[inline(always)]
fn map(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = f(*x);
    }
}

/// `hidden = f(fc)` again, and `d_fc = d_hidden f'(fc)`.
///
/// # Shapes
/// `hidden`, `d_hidden` `[n, n_ff]`, `d_fc`, `fc` `[n, n_fc]`.
#[inline(always)]
fn activate_backward(
    d_fc: &mut [f32],
    hidden: &mut [f32],
    d_hidden: &[f32],
    fc: &[f32],
    n_ff: usize,
    mlp: Mlp,
) {
    let simple = (d_fc, hidden, d_hidden, fc);
    match mlp {
        Mlp::Relu => map_backward(simple, |x| (ops::relu(x), ops::relu_derivative(x))),
        Mlp::Gelu => map_backward(simple, |x| (ops::gelu(x), ops::gelu_derivative(x))),
        Mlp::ReluSquared => {
            map_backward(simple, |x| {
                (ops::relu_squared(x), ops::relu_squared_derivative(x))
            });
        }
        Mlp::Swiglu => swiglu_backward(simple, n_ff),
        _ => unreachable!("a nonlinearity that this backend does not know"),
    }
}

type Rows<'a> = (&'a mut [f32], &'a mut [f32], &'a [f32], &'a [f32]);

#[inline(always)]
fn map_backward((d_fc, hidden, d_hidden, fc): Rows<'_>, f: impl Fn(f32) -> (f32, f32)) {
    let out = d_fc.iter_mut().zip(hidden);
    for ((d_fc, hidden), (d_hidden, fc)) in out.zip(d_hidden.iter().zip(fc)) {
        let (value, derivative) = f(*fc);
        *hidden = value;
        *d_fc = d_hidden * derivative;
    }
}

#[inline(always)]
fn swiglu_backward((d_fc, hidden, d_hidden, fc): Rows<'_>, n_ff: usize) {
    let out = d_fc
        .chunks_exact_mut(2 * n_ff)
        .zip(hidden.chunks_exact_mut(n_ff));
    let given = d_hidden.chunks_exact(n_ff).zip(fc.chunks_exact(2 * n_ff));
    for ((d_fc, hidden), (d_hidden, fc)) in out.zip(given) {
        let (d_gate, d_up) = d_fc.split_at_mut(n_ff);
        let (gate, up) = fc.split_at(n_ff);
        for i in 0..n_ff {
            let silu = ops::silu(gate[i]);
            hidden[i] = silu * up[i];
            d_gate[i] = d_hidden[i] * up[i] * ops::silu_derivative(gate[i]);
            d_up[i] = d_hidden[i] * silu;
        }
    }
}
