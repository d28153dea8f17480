//! The MLP branch.

use minigpt_runtime::config::Mlp;

use super::buffer::Buffer;
use super::driver::Address;
use super::kernels::Kernel;
use super::linear::{self, Factors};
use super::queue::Arguments;
use super::rows;
use super::work::Work;
use crate::backend::{BackendError, Branch, Dropout, MlpSaved, Shape};

/// The number of a nonlinearity in `kernels/pointwise.cuh`.
fn number(mlp: Mlp) -> usize {
    match mlp {
        Mlp::Relu => 0,
        Mlp::Gelu => 1,
        Mlp::Swiglu => 2,
        Mlp::ReluSquared => 3,
        _ => unreachable!("a nonlinearity that this backend does not know"),
    }
}

/// [`crate::backend::Backend::mlp_forward`].
pub(super) fn forward(
    work: &mut Work,
    out: &mut Buffer,
    saved: &mut MlpSaved<Buffer>,
    x: &Buffer,
    weights: Branch<&Buffer>,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    let [normed, hidden] = work.scratch([rows * width * 2, rows * n_ff * 2])?;
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
        sizes: [rows, n_fc, width],
    };
    let fc = saved.fc.rounded();
    linear::FC.launch(work, factors, |_, arguments| {
        Ok(arguments
            .address(fc)
            .address(hidden)
            .address(rows::address(weights.input.bias))
            .int(number(config.mlp())))
    })?;
    if config.mlp() == Mlp::Swiglu {
        swiglu(work, [hidden, 0, fc, 0], shape);
    }
    let factors = Factors {
        a: hidden,
        b: weights.output.weight.rounded(),
        sizes: [rows, width, n_ff],
    };
    linear::RESIDUAL.launch(work, factors, |work, arguments| {
        let arguments = arguments
            .address(out.exact())
            .address(x.exact())
            .address(rows::address(weights.output.bias));
        work.dropped(arguments, dropout)
    })
}

/// [`crate::backend::Backend::mlp_backward`].
pub(super) fn backward(
    work: &mut Work,
    d_x: &mut Buffer,
    d_weights: Branch<&mut Buffer>,
    d_out: &Buffer,
    saved: &MlpSaved<Buffer>,
    x: &Buffer,
    weights: Branch<&Buffer>,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let (config, rows) = (&shape.config, shape.batch.rows());
    let (width, n_fc, n_ff) = (config.n_embd(), config.n_fc(), config.n_ff());
    let (stream, inner) = (rows * width * 2, rows * n_ff * 2);
    let sizes = [stream, stream, inner, inner, rows * n_fc * 2];
    let [d_branch, normed, hidden, d_hidden, d_fc] = work.scratch(sizes)?;
    work.round(d_branch, d_out.exact(), rows * width, dropout)?;
    let (fc, output) = (saved.fc.rounded(), weights.output.weight);
    if config.mlp() == Mlp::Swiglu {
        linear::inputs(work, d_hidden, d_branch, output, [rows, n_ff, width])?;
        swiglu(work, [hidden, d_fc, fc, d_hidden], shape);
    } else {
        let factors = Factors {
            a: d_branch,
            b: output.rounded(),
            sizes: [rows, n_ff, width],
        };
        linear::FC_BACKWARD.launch(work, factors, |_, arguments| {
            let arguments = arguments.address(d_fc).address(hidden).address(fc);
            Ok(arguments.int(number(config.mlp())))
        })?;
    }
    linear::gradient(
        work,
        d_weights.output,
        d_branch,
        hidden,
        [width, n_ff, rows],
    )?;
    // The branch's gradient has been used.
    let room = [normed, d_branch];
    let stream = (x, saved.stats.exact());
    let d_weights = (d_weights.norm, d_weights.input);
    rows::branch_backward(
        work,
        d_x,
        d_weights,
        (d_out, d_fc),
        room,
        stream,
        weights,
        shape,
    )
}

/// Of `[hidden, d_fc, fc, d_hidden]` `fc` and `d_hidden` are given; without gradients those are 0.
fn swiglu(work: &mut Work, addresses: [Address; 4], shape: &Shape) {
    let (rows, n_ff) = (shape.batch.rows(), shape.config.n_ff());
    let arguments = addresses
        .into_iter()
        .fold(Arguments::new(), Arguments::address);
    let arguments = arguments.long(rows * n_ff).int(n_ff);
    work.launch_each(Kernel::Swiglu, rows * n_ff, arguments);
}
