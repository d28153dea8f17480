//! Token and position embedding.

use super::buffer::{Buffer, Ids};
use super::kernels::Kernel;
use super::queue::Arguments;
use super::rows;
use super::work::{THREADS, Work};
use crate::backend::{BackendError, Dropout, Shape};

/// [`crate::backend::Backend::embed_forward`].
pub(super) fn forward(
    work: &mut Work,
    out: &mut Buffer,
    ids: &Ids,
    wte: &Buffer,
    positions: Option<&Buffer>,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let width = shape.config.n_embd();
    let n = shape.batch.rows() * width;
    let arguments = Arguments::new()
        .address(out.exact())
        .address(ids.address())
        .address(wte.exact())
        .address(rows::address(positions))
        .long(n)
        .int(width)
        .int(shape.batch.n_time);
    let arguments = work.dropped(arguments, dropout)?;
    work.launch_each(Kernel::EmbedForward, n, arguments);
    Ok(())
}

/// Among how many blocks the rows are shared for each token, and rows of each.
pub(super) fn shares(busy: usize, rows: usize, n_vocab: usize) -> (usize, usize) {
    let shares = (8 * busy).div_ceil(n_vocab);
    let block = rows.div_ceil(shares.min(rows.div_ceil(THREADS as usize)));
    (rows.div_ceil(block), block)
}

/// [`crate::backend::Backend::embed_backward`].
pub(super) fn backward(
    work: &mut Work,
    d_wte: &mut Buffer,
    d_wpe: Option<&mut Buffer>,
    d_out: &Buffer,
    ids: &Ids,
    shape: &Shape,
    dropout: Dropout,
) -> Result<(), BackendError> {
    let (rows, width) = (shape.batch.rows(), shape.config.n_embd());
    let n_vocab = shape.config.n_vocab();
    let (shares, block) = shares(work.busy(), rows, n_vocab);
    let parts = work.parts(shares * n_vocab * width)?;
    let arguments = Arguments::new()
        .address(parts)
        .address(d_out.exact())
        .address(ids.address())
        .int(rows)
        .int(width)
        .int(n_vocab)
        .int(block);
    let arguments = work.dropped(arguments, dropout)?;
    work.launch(
        Kernel::TokenGradient,
        [n_vocab, shares, 1],
        THREADS,
        arguments,
    );
    rows::add_parts(work, d_wte, parts, shares);
    let Some(d_wpe) = d_wpe else {
        return Ok(());
    };
    let n = shape.batch.n_time * width;
    let arguments = Arguments::new()
        .address(d_wpe.exact())
        .address(d_out.exact())
        .long(n)
        .int(shape.batch.n_batch);
    let arguments = work.dropped(arguments, dropout)?;
    work.launch_each(Kernel::PositionGradient, n, arguments);
    Ok(())
}
