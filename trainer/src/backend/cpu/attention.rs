//! The attention branch.

use minigpt_runtime::config::Config;
use minigpt_runtime::ops;
use rayon::prelude::*;

use super::buffer::{Buffer, Workspace, scratch};
use super::heads::{self, Given, Qkv};
use super::linear::{self, ROWS};
use super::rows::Rows;
use super::wide::wide;
use super::{dropout, norm, panels};
use crate::backend::{Affine, AttentionSaved, Branch, Dropout, Shape};

/// [`crate::backend::Backend::attention_forward`]: phases over rows, heads, rows.
///
/// `saved.qkv` is `[R, n_qkv]`, `saved.heads` `[B, NH, T, HS]`: a thread writes whole heads.
pub(super) fn forward(
    workspace: &mut Workspace,
    out: &mut [f32],
    saved: &mut AttentionSaved<Buffer>,
    x: &[f32],
    weights: Branch<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
    drop: Dropout,
) {
    let config = &shape.config;
    let (width, size, n_time) = (config.n_embd(), config.head_size(), shape.batch.n_time);
    let sizes = [
        panels::packed_len(width, config.n_qkv()),
        panels::packed_len(width, width),
    ];
    let [input, output] = workspace.take(sizes);
    rayon::join(
        || panels::pack_transposed(input, weights.input.weight, width),
        || panels::pack_transposed(output, weights.output.weight, width),
    );
    queries_keys_values(saved, x, input, weights, rotation, shape);
    let qkv = &saved.qkv;
    saved
        .heads
        .par_chunks_mut(n_time * size)
        .zip(saved.log_sum_exp.par_chunks_mut(n_time))
        .enumerate()
        .for_each(|(i, (out, log_sum_exp))| {
            let (sequence, head) = (i / config.n_head(), i % config.n_head());
            heads::forward(out, log_sum_exp, head_of(qkv, sequence, head, shape));
        });
    project(
        out,
        x,
        &saved.heads,
        output,
        weights.output.bias,
        shape,
        drop,
    );
}

/// `out = x + drop(c_proj(heads))`; `packed` is the weight of `c_proj`.
fn project(
    out: &mut [f32],
    x: &[f32],
    heads: &[f32],
    packed: &[f32],
    bias: Option<&Buffer>,
    shape: &Shape,
    drop: Dropout,
) {
    let width = shape.config.n_embd();
    out.par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .enumerate()
        .for_each(|(chunk, (out, x))| {
            scratch([out.len(), out.len()], |[rows, branch]| {
                gather_heads(rows, heads, chunk * ROWS, shape);
                panels::multiply(branch, rows, packed, width, width);
                let start = chunk * ROWS * width;
                wide(
                    #[inline(always)]
                    || dropout::add_residual(out, x, branch, bias, start, drop),
                );
            });
        });
}

/// `saved.qkv = rotate(c_attn(ln_1(x)))`; `packed` is the weight of `c_attn`.
fn queries_keys_values(
    saved: &mut AttentionSaved<Buffer>,
    x: &[f32],
    packed: &[f32],
    weights: Branch<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
) {
    let config = &shape.config;
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    x.par_chunks(ROWS * width)
        .zip(saved.stats.par_chunks_mut(ROWS * 2))
        .zip(saved.qkv.par_chunks_mut(ROWS * n_qkv))
        .enumerate()
        .for_each(|(chunk, ((x, stats), qkv))| {
            scratch([x.len()], |[rows]| {
                wide(
                    #[inline(always)]
                    || norm::forward(rows, stats, x, weights.norm, config.norm()),
                );
                panels::multiply(qkv, rows, packed, width, n_qkv);
                wide(
                    #[inline(always)]
                    || {
                        linear::add_bias(qkv, weights.input.bias);
                        if let Some(table) = rotation {
                            rotate(qkv, chunk * ROWS, table, shape, ops::rope);
                        }
                    },
                );
            });
        });
}

/// Turns queries and keys of rows from `first` on.
#[inline(always)]
fn rotate(
    qkv: &mut [f32],
    first: usize,
    table: &[f32],
    shape: &Shape,
    turn: impl Fn(&mut [f32], &[f32]),
) {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    let size = config.head_size();
    for (i, row) in qkv.chunks_exact_mut(config.n_qkv()).enumerate() {
        let angles = &table[(first + i) % n_time * size..][..size];
        let turned = &mut row[..config.n_embd() + config.n_kv()];
        for head in turned.chunks_exact_mut(size) {
            turn(head, angles);
        }
    }
}

fn head_of<'a>(qkv: &'a [f32], sequence: usize, head: usize, shape: &Shape) -> Qkv<'a> {
    let config = &shape.config;
    let (size, n_qkv, n_kv) = (config.head_size(), config.n_qkv(), config.n_kv());
    let qkv = &qkv[sequence * shape.batch.n_time * n_qkv..];
    let shared = head / group(config) * size;
    let rows = |first| Rows::new(qkv, first, size, n_qkv);
    Qkv {
        q: rows(head * size),
        k: rows(config.n_embd() + shared),
        v: rows(config.n_embd() + n_kv + shared),
    }
}

/// Query heads that share one head of keys and values.
fn group(config: &Config) -> usize {
    config.n_head() / config.n_head_kv()
}

/// Rows from `first` on of `[R, NH, HS]` out of `[B, NH, T, HS]`.
fn gather_heads(rows: &mut [f32], heads: &[f32], first: usize, shape: &Shape) {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    let size = config.head_size();
    for (i, row) in rows.chunks_exact_mut(config.n_embd()).enumerate() {
        let (sequence, t) = ((first + i) / n_time, (first + i) % n_time);
        for (head, out) in row.chunks_exact_mut(size).enumerate() {
            let at = ((sequence * config.n_head() + head) * n_time + t) * size;
            out.copy_from_slice(&heads[at..at + size]);
        }
    }
}

/// [`crate::backend::Backend::attention_backward`]: phases over rows, heads, rows, outputs.
pub(super) fn backward(
    workspace: &mut Workspace,
    d_x: &mut [f32],
    d_weights: Branch<&mut Buffer>,
    d_out: &[f32],
    saved: &AttentionSaved<Buffer>,
    x: &[f32],
    weights: Branch<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
    drop: Dropout,
) {
    let (width, rows) = (shape.config.n_embd(), shape.batch.rows());
    let [
        masked,
        attended,
        d_attended,
        normed,
        d_grouped,
        d_qkv,
        sums,
        input,
        output,
    ] = workspace.take(backward_lens(shape));
    rayon::join(
        || panels::pack(input, weights.input.weight, width),
        || panels::pack(output, weights.output.weight, width),
    );
    let d_branch = dropout::branch_gradient(masked, d_out, drop);
    project_backward(d_attended, attended, d_branch, &saved.heads, output, shape);
    heads_backward(d_grouped, d_attended, saved, shape);
    let d_rows = [&mut *d_x, &mut *normed, &mut *d_qkv, &mut *sums];
    let stream = (x, d_out, &*saved.stats);
    rows_backward(
        d_rows,
        d_grouped,
        input,
        stream,
        weights.norm,
        rotation,
        shape,
    );
    let (output, input) = ((d_branch, &*attended), (&*d_qkv, &*normed));
    linear::gradients(d_weights, sums, output, input, rows);
}

/// Scratch of [`backward`], in its order.
fn backward_lens(shape: &Shape) -> [usize; 9] {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    [
        rows * width,
        rows * width,
        rows * width,
        rows * width,
        rows * n_qkv,
        rows * n_qkv,
        rows.div_ceil(ROWS) * 2 * width,
        panels::packed_len(n_qkv, width),
        panels::packed_len(width, width),
    ]
}

/// The heads' outputs again in the order of rows, and their gradient `d_branch weight`; `packed` is
/// the weight of `c_proj`.
fn project_backward(
    d_attended: &mut [f32],
    attended: &mut [f32],
    d_branch: &[f32],
    heads: &[f32],
    packed: &[f32],
    shape: &Shape,
) {
    let width = shape.config.n_embd();
    attended
        .par_chunks_mut(ROWS * width)
        .zip(d_attended.par_chunks_mut(ROWS * width))
        .zip(d_branch.par_chunks(ROWS * width))
        .enumerate()
        .for_each(|(chunk, ((attended, d_attended), d_branch))| {
            gather_heads(attended, heads, chunk * ROWS, shape);
            panels::multiply(d_attended, d_branch, packed, width, width);
        });
}

/// Gradients of `c_attn`'s outputs in the order of rows, then of its inputs and of the branch's;
/// `packed` is the weight of `c_attn`.
///
/// # Shapes
/// `d_x`, `normed`, `x`, `skip` `[R, C]`, `d_qkv` `[R, n_qkv]`, `sums` `[chunks, 2, C]`, `stats`
/// `[R, 2]`, `d_grouped` as in [`heads_backward`].
fn rows_backward(
    [d_x, normed, d_qkv, sums]: [&mut [f32]; 4],
    d_grouped: &[f32],
    packed: &[f32],
    (x, skip, stats): (&[f32], &[f32], &[f32]),
    weights: Affine<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
) {
    let config = &shape.config;
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    d_x.par_chunks_mut(ROWS * width)
        .zip(normed.par_chunks_mut(ROWS * width))
        .zip(d_qkv.par_chunks_mut(ROWS * n_qkv))
        .zip(sums.par_chunks_mut(2 * width))
        .zip(x.par_chunks(ROWS * width))
        .zip(skip.par_chunks(ROWS * width))
        .zip(stats.par_chunks(ROWS * 2))
        .enumerate()
        .for_each(
            |(chunk, ((((((d_x, normed), d_qkv), sums), x), skip), stats))| {
                gather_gradients(d_qkv, d_grouped, chunk * ROWS, shape);
                if let Some(table) = rotation {
                    rotate(d_qkv, chunk * ROWS, table, shape, ops::rope_backward);
                }
                norm::again(normed, stats, x, weights);
                let norm = (&**weights.weight, config.norm());
                norm::linear_backward(d_x, sums, Some(skip), d_qkv, packed, (x, stats), norm);
            },
        );
}

/// Gradients of queries, keys and values, parallel over sequences and heads of keys.
///
/// # Shapes
/// `d_grouped` `[B, n_head_kv, group + 2, T, HS]`: a thread writes a group whole: its queries, its
/// keys, its values. `d_attended` `[R, C]`.
fn heads_backward(
    d_grouped: &mut [f32],
    d_attended: &[f32],
    saved: &AttentionSaved<Buffer>,
    shape: &Shape,
) {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    let (width, size) = (config.n_embd(), config.head_size());
    let (n_group, one) = (group(config), n_time * size);
    let groups = d_grouped.par_chunks_mut((n_group + 2) * one).enumerate();
    groups.for_each(|(i, d_group)| {
        let (d_queries, d_rest) = d_group.split_at_mut(n_group * one);
        let (d_k, d_v) = d_rest.split_at_mut(one);
        d_k.fill(0.0);
        d_v.fill(0.0);
        let sequence = i / config.n_head_kv();
        for (j, d_q) in d_queries.chunks_exact_mut(one).enumerate() {
            let head = i % config.n_head_kv() * n_group + j;
            let at = sequence * config.n_head() + head;
            let d_rows = &d_attended[sequence * n_time * width..];
            let given = Given {
                d_out: Rows::new(d_rows, head * size, size, width),
                out: Rows::new(&saved.heads[at * one..], 0, size, size),
                log_sum_exp: &saved.log_sum_exp[at * n_time..(at + 1) * n_time],
            };
            let qkv = head_of(&saved.qkv, sequence, head, shape);
            heads::backward(d_q, d_k, d_v, given, qkv);
        }
    });
}

/// Rows from `first` on of `[R, n_qkv]` out of [`heads_backward`]'s order.
fn gather_gradients(d_qkv: &mut [f32], d_grouped: &[f32], first: usize, shape: &Shape) {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    let (size, n_group, n_head_kv) = (config.head_size(), group(config), config.n_head_kv());
    for (i, row) in d_qkv.chunks_exact_mut(config.n_qkv()).enumerate() {
        let (sequence, t) = ((first + i) / n_time, (first + i) % n_time);
        for (slot, out) in row.chunks_exact_mut(size).enumerate() {
            // Queries of all heads, then keys, then values of all groups.
            let (shared, member) = match slot.checked_sub(config.n_head()) {
                None => (slot / n_group, slot % n_group),
                Some(rest) => (rest % n_head_kv, n_group + rest / n_head_kv),
            };
            let group = (sequence * n_head_kv + shared) * (n_group + 2) + member;
            let at = (group * n_time + t) * size;
            out.copy_from_slice(&d_grouped[at..at + size]);
        }
    }
}
