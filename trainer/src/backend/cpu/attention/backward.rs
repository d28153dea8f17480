//! Backward of the attention branch.

use minigpt_runtime::ops;
use rayon::prelude::*;

use super::super::buffer::{Buffer, Workspace};
use super::super::heads::{self, Given};
use super::super::linear::{self, ROWS, rows_of};
use super::super::rows::Rows;
use super::super::{dropout, norm, panels};
use super::{gather_heads, group, head_of, rotate, rows_at_once};
use crate::backend::{Affine, AttentionSaved, Branch, Dropout, Shape};

/// [`crate::backend::Backend::attention_backward`]: a phase over pieces, then one over outputs.
pub(in super::super) fn backward(
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
    let d_rows = [
        &mut *d_x,
        &mut *normed,
        &mut *d_qkv,
        &mut *sums,
        &mut *attended,
        d_attended,
        d_grouped,
    ];
    let stream = (x, d_out, d_branch);
    pieces_backward(
        d_rows,
        saved,
        stream,
        (input, output),
        weights.norm,
        rotation,
        shape,
    );
    let (output, input) = ((d_branch, &*attended), (&*d_qkv, &*normed));
    linear::gradients(d_weights, sums, output, input, rows);
}

/// Gradients of the branch's input and of `c_attn`'s outputs, both weights packed: for each piece of
/// [`rows_at_once`], rows, then heads, then rows.
///
/// # Shapes
/// As in [`project_backward`], [`heads_backward`], [`rows_backward`].
fn pieces_backward(
    [d_x, normed, d_qkv, sums, attended, d_attended, d_grouped]: [&mut [f32]; 7],
    saved: &AttentionSaved<Buffer>,
    (x, skip, d_branch): (&[f32], &[f32], &[f32]),
    (input, output): (&[f32], &[f32]),
    weights: Affine<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
) {
    let config = &shape.config;
    let (width, n_qkv, unit) = (config.n_embd(), config.n_qkv(), rows_at_once(shape));
    let heads = attended
        .par_chunks_mut(unit * width)
        .zip(d_attended.par_chunks_mut(unit * width))
        .zip(d_grouped.par_chunks_mut(unit * n_qkv));
    d_x.par_chunks_mut(unit * width)
        .zip(normed.par_chunks_mut(unit * width))
        .zip(d_qkv.par_chunks_mut(unit * n_qkv))
        .zip(sums.par_chunks_mut(unit.div_ceil(ROWS) * 2 * width))
        .zip(heads)
        .enumerate()
        .for_each(
            |(i, ((((d_x, normed), d_qkv), sums), ((attended, d_attended), d_grouped)))| {
                let (first, n) = (i * unit, d_x.len() / width);
                let part = |all, size| rows_of(all, first, n, size);
                let saved = AttentionSaved {
                    stats: part(&saved.stats, 2),
                    qkv: part(&saved.qkv, n_qkv),
                    heads: part(&saved.heads, width),
                    log_sum_exp: part(&saved.log_sum_exp, config.n_head()),
                };
                let d_branch = part(d_branch, width);
                project_backward(d_attended, attended, d_branch, saved.heads, output, shape);
                heads_backward(d_grouped, d_attended, &saved, shape);
                let d_rows = [d_x, normed, d_qkv, sums];
                let stream = (part(x, width), part(skip, width), saved.stats);
                rows_backward(d_rows, d_grouped, input, stream, weights, rotation, shape);
            },
        );
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
    saved: &AttentionSaved<&[f32]>,
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
            let qkv = head_of(saved.qkv, sequence, head, shape);
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
