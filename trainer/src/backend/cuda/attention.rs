//! The attention branch.

use minigpt_runtime::config::Config;
use minigpt_runtime::math;

use super::buffer::Buffer;
use super::device::Found;
use super::driver::Address;
use super::kernels::Kernel;
use super::linear::{self, Factors};
use super::queue::Arguments;
use super::rows;
use super::work::{THREADS, Work};
use crate::backend::{AttentionSaved, BackendError, Branch, Dropout, Shape};

/// Kernels for heads of up to a size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    size: usize,
    /// Rows of a block: a warp for 16.
    rows: usize,
    forward: Kernel,
    queries: Kernel,
    keys: Kernel,
}

const HEADS: [Heads; 4] = [
    Heads {
        size: 16,
        rows: 64,
        forward: Kernel::AttentionForward16,
        queries: Kernel::AttentionQueries16,
        keys: Kernel::AttentionKeys16,
    },
    Heads {
        size: 32,
        rows: 64,
        forward: Kernel::AttentionForward32,
        queries: Kernel::AttentionQueries32,
        keys: Kernel::AttentionKeys32,
    },
    Heads {
        size: 64,
        rows: 64,
        forward: Kernel::AttentionForward64,
        queries: Kernel::AttentionQueries64,
        keys: Kernel::AttentionKeys64,
    },
    Heads {
        size: 128,
        rows: 32,
        forward: Kernel::AttentionForward128,
        queries: Kernel::AttentionQueries128,
        keys: Kernel::AttentionKeys128,
    },
];

/// The kernels for the heads of `config`.
pub(super) fn padded(found: &Found, config: &Config) -> Result<Heads, BackendError> {
    let size = config.head_size();
    let heads = HEADS.into_iter().find(|heads| size <= heads.size);
    heads.ok_or_else(|| BackendError::Unsupported {
        device: found.name.clone(),
        what: format!(
            "its heads have {size} values, and the kernels take up to 128 (raise n_head)"
        ),
    })
}

/// [`crate::backend::Backend::attention_forward`].
pub(super) fn forward(
    work: &mut Work,
    out: &mut Buffer,
    saved: &mut AttentionSaved<Buffer>,
    x: &Buffer,
    weights: Branch<&Buffer>,
    rotation: Option<&Buffer>,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    let heads = padded(work.found(), config)?;
    let [normed] = work.scratch([rows * width * 2])?;
    rows::norm(
        work,
        normed,
        saved.stats.exact(),
        x,
        weights.norm,
        shape,
        false,
    );
    let factors = Factors {
        a: normed,
        b: weights.input.weight.rounded(),
        sizes: [rows, n_qkv, width],
    };
    linear::QKV.launch(work, factors, |_, arguments| {
        Ok(arguments
            .address(saved.qkv.rounded())
            .address(rows::address(weights.input.bias))
            .address(rows::address(rotation))
            .int(width + config.n_kv())
            .int(config.head_size())
            .int(shape.batch.n_time))
    })?;
    let arguments = arguments(saved, [0; 3], None, shape);
    let grid = grid(heads, config.n_head(), shape);
    work.launch(heads.forward, grid, threads(heads), arguments);
    let factors = Factors {
        a: saved.heads.rounded(),
        b: weights.output.weight.rounded(),
        sizes: [rows, width, width],
    };
    linear::RESIDUAL.launch(work, factors, |work, arguments| {
        let arguments = arguments
            .address(out.exact())
            .address(x.exact())
            .address(rows::address(weights.output.bias));
        work.dropped(arguments, dropout)
    })
}

/// [`crate::backend::Backend::attention_backward`].
pub(super) fn backward(
    work: &mut Work,
    d_x: &mut Buffer,
    d_weights: Branch<&mut Buffer>,
    d_out: &Buffer,
    saved: &AttentionSaved<Buffer>,
    x: &Buffer,
    weights: Branch<&Buffer>,
    rotation: Option<&Buffer>,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_qkv) = (config.n_embd(), config.n_qkv());
    let heads = padded(work.found(), config)?;
    let stream = rows * width * 2;
    let dots = rows * config.n_head() * size_of::<f32>();
    let sizes = [stream, stream, stream, rows * n_qkv * 2, dots];
    let [d_branch, d_heads, normed, d_qkv, dots] = work.scratch(sizes)?;
    work.round(d_branch, d_out.exact(), rows * width, dropout)?;
    let attended = saved.heads.rounded();
    linear::gradient(
        work,
        d_weights.output,
        d_branch,
        attended,
        [width, width, rows],
    )?;
    linear::inputs(
        work,
        d_heads,
        d_branch,
        weights.output.weight,
        [rows, width, width],
    )?;
    let arguments = arguments(saved, [d_heads, dots, d_qkv], rotation, shape);
    let by_time = shape.batch.n_time.div_ceil(THREADS as usize);
    let all = [by_time, config.n_head(), shape.batch.n_batch];
    work.launch(Kernel::AttentionDots, all, THREADS, arguments);
    let queries = grid(heads, config.n_head(), shape);
    work.launch(heads.queries, queries, threads(heads), arguments);
    let keys = grid(heads, config.n_head_kv(), shape);
    work.launch(heads.keys, keys, threads(heads), arguments);
    // The branch's gradient has been used.
    let room = [normed, d_branch];
    let stream = (x, saved.stats.exact());
    let d_weights = (d_weights.norm, d_weights.input);
    rows::branch_backward(
        work,
        d_x,
        d_weights,
        (d_out, d_qkv),
        room,
        stream,
        weights,
        shape,
    )
}

/// The parameter `Attention` of the kernels; backward's `[d_heads, dots, d_qkv]` or zeros.
fn arguments(
    saved: &AttentionSaved<Buffer>,
    [d_heads, dots, d_qkv]: [Address; 3],
    rotation: Option<&Buffer>,
    shape: &Shape,
) -> Arguments {
    let config = &shape.config;
    let size = config.head_size();
    Arguments::new()
        .address(saved.qkv.rounded())
        .address(saved.heads.rounded())
        .address(saved.log_sum_exp.exact())
        .address(d_heads)
        .address(dots)
        .address(d_qkv)
        .address(rows::address(rotation))
        .float(1.0 / math::sqrt(size as f32))
        .int(shape.batch.n_time)
        .int(config.n_head())
        .int(config.n_head_kv())
        .int(size)
        .int(usize::from(size.is_multiple_of(8)))
}

fn grid(heads: Heads, n_head: usize, shape: &Shape) -> [usize; 3] {
    let blocks = shape.batch.n_time.div_ceil(heads.rows);
    [blocks, n_head, shape.batch.n_batch]
}

fn threads(heads: Heads) -> u32 {
    heads.rows as u32 * 2
}
