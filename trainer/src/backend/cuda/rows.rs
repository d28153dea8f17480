//! Norms, and sums of columns.

use minigpt_runtime::config::Norm;

use super::buffer::Buffer;
use super::driver::Address;
use super::kernels::Kernel;
use super::linear;
use super::queue::Arguments;
use super::work::{THREADS, Work};
use crate::backend::{Affine, BackendError, Branch, Shape};

/// Rows that a block of the norms' kernels does: one a warp.
const ROWS: usize = THREADS as usize / 32;

/// Columns that a block of the kernel of sums does.
const COLUMNS: usize = 32;

/// Rows of a sum of columns that are worth a block.
const LEAST_ROWS: usize = 64;

/// Normalised rows, from statistics that are `known` or are found and kept.
///
/// # Shapes
/// `out` `[R, C]` in `bf16`, `x` `[R, C]`, `stats` `[R, 2]`.
pub(super) fn norm(
    work: &mut Work,
    out: Address,
    stats: Address,
    x: &Buffer,
    weights: Affine<&Buffer>,
    shape: &Shape,
    known: bool,
) {
    let (rows, width) = (shape.batch.rows(), shape.config.n_embd());
    let arguments = Arguments::new()
        .address(out)
        .address(stats)
        .address(x.exact())
        .address(weights.weight.exact())
        .address(address(weights.bias))
        .int(rows)
        .int(width)
        .int(is_rms(shape))
        .int(usize::from(known));
    work.launch(
        Kernel::NormForward,
        [rows.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments,
    );
}

/// Backward of what every branch begins with, a norm and a linear layer on it: from the gradients of the
/// branch's sum with the stream, `d_out`, and of the layer's outputs, `d_linear`.
///
/// # Shapes
/// `d_linear` `[R, O]` in `bf16`, both of `room` `[R, C]` in `bf16`, `d_x`, `d_out`, `x` `[R, C]`, `stats`
/// `[R, 2]`.
pub(super) fn branch_backward(
    work: &mut Work,
    d_x: &mut Buffer,
    (d_norm, d_input): (Affine<&mut Buffer>, Affine<&mut Buffer>),
    (d_out, d_linear): (&Buffer, Address),
    room: [Address; 2],
    stream: (&Buffer, Address),
    weights: Branch<&Buffer>,
    shape: &Shape,
) -> Result<(), BackendError> {
    let (rows, width) = (shape.batch.rows(), shape.config.n_embd());
    let (weight, norm_weight) = (weights.input.weight, weights.norm.weight);
    let outputs = weight.len() / width;
    let [normed, d_normed] = room;
    let (x, stats) = stream;
    norm(work, normed, stats, x, weights.norm, shape, true);
    linear::gradient(work, d_input, d_linear, normed, [outputs, width, rows])?;
    linear::inputs(work, d_normed, d_linear, weight, [rows, width, outputs])?;
    norm_backward(
        work,
        d_x,
        d_norm,
        d_normed,
        Some(d_out),
        stream,
        norm_weight,
        shape,
    )
}

/// Backward of [`norm`]: `d_x`, with `skip` added if there is one, and the gradients of the norm's
/// parameters.
///
/// # Shapes
/// `d_x`, `skip`, `x` `[R, C]`, `d_out` `[R, C]` in `bf16`, `stats` `[R, 2]`.
pub(super) fn norm_backward(
    work: &mut Work,
    d_x: &mut Buffer,
    d_weights: Affine<&mut Buffer>,
    d_out: Address,
    skip: Option<&Buffer>,
    (x, stats): (&Buffer, Address),
    weight: &Buffer,
    shape: &Shape,
) -> Result<(), BackendError> {
    let (rows, width) = (shape.batch.rows(), shape.config.n_embd());
    let arguments = Arguments::new()
        .address(d_x.exact())
        .address(d_out)
        .address(address(skip))
        .address(x.exact())
        .address(stats)
        .address(weight.exact())
        .int(rows)
        .int(width)
        .int(is_rms(shape));
    work.launch(
        Kernel::NormBackward,
        [rows.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments,
    );
    let scaled = Some((d_weights.weight, x.exact(), stats));
    column_sums(work, d_weights.bias, scaled, d_out, rows, width)
}

/// Adds the sums of columns of `d_out` to `sums`, and to `scaled` those of `d_out` times the
/// normalised rows.
///
/// # Shapes
/// `d_out` `[rows, width]` in `bf16`; `scaled`: gradient `[width]`, `x` `[rows, width]` and its
/// statistics `[rows, 2]`.
pub(super) fn column_sums(
    work: &mut Work,
    sums: Option<&mut Buffer>,
    scaled: Option<(&mut Buffer, Address, Address)>,
    d_out: Address,
    rows: usize,
    width: usize,
) -> Result<(), BackendError> {
    if sums.is_none() && scaled.is_none() {
        return Ok(());
    }
    let across = width.div_ceil(COLUMNS);
    let blocks = (2 * work.busy())
        .div_ceil(across)
        .min(rows.div_ceil(LEAST_ROWS));
    let block = rows.div_ceil(blocks);
    let blocks = rows.div_ceil(block);
    let parts = work.parts(2 * blocks * width)?;
    let behind = parts + (blocks * width * size_of::<f32>()) as Address;
    let (x, stats) = scaled.as_ref().map_or((0, 0), |(_, x, stats)| (*x, *stats));
    let arguments = Arguments::new()
        .address(if sums.is_some() { parts } else { 0 })
        .address(if scaled.is_some() { behind } else { 0 })
        .address(d_out)
        .address(x)
        .address(stats)
        .int(rows)
        .int(width)
        .int(block);
    work.launch(Kernel::ColumnSums, [across, blocks, 1], THREADS, arguments);
    if let Some(sums) = sums {
        add_parts(work, sums, parts, blocks);
    }
    if let Some((scaled, _, _)) = scaled {
        add_parts(work, scaled, behind, blocks);
    }
    Ok(())
}

/// Adds `count` parts of a sum to `out`.
pub(super) fn add_parts(work: &mut Work, out: &mut Buffer, parts: Address, count: usize) {
    let arguments = Arguments::new()
        .address(out.exact())
        .address(parts)
        .long(out.len())
        .int(count);
    work.launch_each(Kernel::AddParts, out.len(), arguments);
}

/// Of the numbers of `buffer`, or 0.
pub(super) fn address(buffer: Option<&Buffer>) -> Address {
    buffer.map_or(0, Buffer::exact)
}

fn is_rms(shape: &Shape) -> usize {
    usize::from(shape.config.norm() == Norm::RmsNorm)
}
