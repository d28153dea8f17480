//! Token and position embedding.

use minigpt_runtime::ops;
use rayon::prelude::*;

use super::linear::ROWS;
use super::wide::wide;
use super::{Buffer, dropout};
use crate::backend::{Dropout, Shape};

/// Parts of the vocabulary whose gradients are summed apart.
const PARTS: usize = 64;

/// [`crate::backend::Backend::embed_forward`].
pub(super) fn forward(
    out: &mut [f32],
    ids: &[u32],
    wte: &[f32],
    positions: Option<&Buffer>,
    shape: &Shape,
    drop: Dropout,
) {
    let (n_time, width) = (shape.batch.n_time, shape.config.n_embd());
    let row = |table: &[f32], i: usize| i * width..((i + 1) * width).min(table.len());
    let chunks = out.par_chunks_mut(ROWS * width).enumerate();
    chunks.for_each(|(chunk, out)| {
        wide(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let at = chunk * ROWS + i;
                    out.copy_from_slice(&wte[row(wte, ids[at] as usize)]);
                    if let Some(positions) = positions {
                        ops::axpy(out, 1.0, &positions[row(positions, at % n_time)]);
                    }
                }
                dropout::apply(out, chunk * ROWS * width, drop);
            },
        );
    });
}

/// [`crate::backend::Backend::embed_backward`].
pub(super) fn backward(
    d_wte: &mut [f32],
    d_wpe: Option<&mut Buffer>,
    d_out: &mut [f32],
    ids: &[u32],
    shape: &Shape,
    drop: Dropout,
) {
    let (n_time, width) = (shape.batch.n_time, shape.config.n_embd());
    let chunks = d_out.par_chunks_mut(ROWS * width).enumerate();
    if drop.probability > 0.0 {
        chunks.for_each(|(chunk, d_out)| {
            wide(
                #[inline(always)]
                || dropout::apply(d_out, chunk * ROWS * width, drop),
            );
        });
    }
    let d_out = &*d_out;
    let part = shape.config.n_vocab().div_ceil(PARTS);
    let parts = d_wte.par_chunks_mut(part * width).enumerate();
    parts.for_each(|(i, d_wte)| {
        let first = i * part;
        for (id, d_out) in ids.iter().zip(d_out.chunks_exact(width)) {
            if let Some(id) = (*id as usize).checked_sub(first)
                && let Some(d_row) = d_wte.get_mut(id * width..(id + 1) * width)
            {
                ops::axpy(d_row, 1.0, d_out);
            }
        }
    });
    if let Some(d_wpe) = d_wpe {
        let rows = d_wpe[..n_time * width].par_chunks_mut(width).enumerate();
        rows.for_each(|(t, d_row)| {
            for d_out in d_out.chunks_exact(n_time * width) {
                ops::axpy(d_row, 1.0, &d_out[t * width..(t + 1) * width]);
            }
        });
    }
}
