//! The attention branch.
//!
//! Pieces of whole sequences go from the branch's input to its output, so that what lies between is still
//! in a cache, and threads that have none left help with the heads of others.

use minigpt_runtime::config::Config;
use minigpt_runtime::ops;
use rayon::prelude::*;

use super::buffer::{Buffer, Workspace, scratch};
use super::heads::{self, Qkv};
use super::linear::{self, ROWS};
use super::rows::Rows;
use super::wide::wide;
use super::{dropout, norm, panels};
use crate::backend::{AttentionSaved, Branch, Dropout, Shape};

mod backward;

pub(super) use backward::backward;

/// [`crate::backend::Backend::attention_forward`]: a phase over pieces, each of rows,
/// then heads, then rows.
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
    let width = config.n_embd();
    let sizes = [
        panels::packed_len(width, config.n_qkv()),
        panels::packed_len(width, width),
    ];
    let [input, output] = workspace.take(sizes);
    rayon::join(
        || panels::pack_transposed(input, weights.input.weight, width),
        || panels::pack_transposed(output, weights.output.weight, width),
    );
    let (input, output, n_qkv) = (&*input, &*output, config.n_qkv());
    let unit = rows_at_once(shape);
    out.par_chunks_mut(unit * width)
        .zip(x.par_chunks(unit * width))
        .zip(saved.stats.par_chunks_mut(unit * 2))
        .zip(saved.qkv.par_chunks_mut(unit * n_qkv))
        .zip(saved.heads.par_chunks_mut(unit * width))
        .zip(saved.log_sum_exp.par_chunks_mut(unit * config.n_head()))
        .enumerate()
        .for_each(|(i, (((((out, x), stats), qkv), heads), log_sum_exp))| {
            queries_keys_values([stats, &mut *qkv], x, input, weights, rotation, shape);
            heads_forward([&mut *heads, log_sum_exp], qkv, shape);
            let (bias, start) = (weights.output.bias, i * unit * width);
            project(out, x, heads, output, bias, start, shape, drop);
        });
}

/// Rows of a piece: the fewest that are whole sequences and whole chunks, or all.
fn rows_at_once(shape: &Shape) -> usize {
    let (n_time, rows) = (shape.batch.n_time, shape.batch.rows());
    let mut sequences = (1..=ROWS).map(|n| n * n_time);
    let whole = sequences.find(|n| n.is_multiple_of(ROWS));
    whole.map_or(rows, |whole| whole.min(rows))
}

/// Outputs of the heads of some sequences.
///
/// # Shapes
/// `heads` `[n, NH, T, HS]`, `log_sum_exp` `[n, NH, T]`, `qkv` `[n, T, n_qkv]`.
fn heads_forward([heads, log_sum_exp]: [&mut [f32]; 2], qkv: &[f32], shape: &Shape) {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    heads
        .par_chunks_mut(n_time * config.head_size())
        .zip(log_sum_exp.par_chunks_mut(n_time))
        .enumerate()
        .for_each(|(i, (out, log_sum_exp))| {
            let (sequence, head) = (i / config.n_head(), i % config.n_head());
            heads::forward(out, log_sum_exp, head_of(qkv, sequence, head, shape));
        });
}

/// `out = x + drop(c_proj(heads))` from element `start` on; `packed` is the weight of `c_proj`.
fn project(
    out: &mut [f32],
    x: &[f32],
    heads: &[f32],
    packed: &[f32],
    bias: Option<&Buffer>,
    start: usize,
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
                let start = start + chunk * ROWS * width;
                wide(
                    #[inline(always)]
                    || dropout::add_residual(out, x, branch, bias, start, drop),
                );
            });
        });
}

/// `qkv = rotate(c_attn(ln_1(x)))` of whole sequences; `packed` is the weight of `c_attn`.
fn queries_keys_values(
    [stats, qkv]: [&mut [f32]; 2],
    x: &[f32],
    packed: &[f32],
    weights: Branch<&Buffer>,
    rotation: Option<&[f32]>,
    shape: &Shape,
) {
    let config = &shape.config;
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    x.par_chunks(ROWS * width)
        .zip(stats.par_chunks_mut(ROWS * 2))
        .zip(qkv.par_chunks_mut(ROWS * n_qkv))
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
