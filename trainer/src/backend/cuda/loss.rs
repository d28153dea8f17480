//! Last norm, head and cross-entropy. Logits exist for a limited number of rows at a time.

use super::buffer::{Buffer, Ids, Scalar};
use super::driver::Address;
use super::kernels::Kernel;
use super::linear::{self, Factors, Output};
use super::queue::Arguments;
use super::rows;
use super::work::{THREADS, Work};
use crate::backend::{Affine, BackendError, Head, Shape};

/// Logits that exist at once.
const LOGITS: usize = 1 << 26;

/// Memory of the logits of some rows, and of all normalised rows.
struct Place {
    /// `[R, C]` in `bf16`.
    normed: Address,
    /// `[R, 2]`
    stats: Address,
    /// `[R]`
    losses: Address,
    /// `[R, C]` in `bf16`: gradient of the normalised rows.
    d_normed: Address,
    /// `[block, V]`
    logits: Address,
    /// `[block, V]` in `bf16`
    d_logits: Address,
    /// Rows whose logits exist at once.
    block: usize,
}

impl Place {
    /// With room for gradients or without; the rows are normalised.
    fn new(
        work: &mut Work,
        x: &Buffer,
        head: Head<&Buffer>,
        shape: &Shape,
        backward: bool,
    ) -> Result<Self, BackendError> {
        let (rows, width) = (shape.batch.rows(), shape.config.n_embd());
        let n_vocab = shape.config.n_vocab();
        let block = rows_at_once(rows, n_vocab);
        let gradients = usize::from(backward);
        let [normed, stats, losses, d_normed, logits, d_logits] = work.scratch([
            rows * width * 2,
            rows * 2 * size_of::<f32>(),
            rows * size_of::<f32>(),
            gradients * rows * width * 2,
            block * n_vocab * size_of::<f32>(),
            gradients * block * n_vocab * 2,
        ])?;
        rows::norm(work, normed, stats, x, head.norm, shape, false);
        Ok(Self {
            normed,
            stats,
            losses,
            d_normed,
            logits,
            d_logits,
            block,
        })
    }

    /// Logits of `n` rows from `first` on.
    fn logits(
        &self,
        work: &mut Work,
        head: Head<&Buffer>,
        shape: &Shape,
        (first, n): (usize, usize),
    ) -> Result<(), BackendError> {
        let (width, n_vocab) = (shape.config.n_embd(), shape.config.n_vocab());
        let factors = Factors {
            a: behind(self.normed, first * width * 2),
            b: head.weight.rounded(),
            sizes: [n, n_vocab, width],
        };
        let output = Output {
            address: self.logits,
            exact: true,
            adds: false,
        };
        if linear::LOGITS.by_library(work, factors, output)? {
            return Ok(());
        }
        let rest = |_: &mut Work, arguments: Arguments| Ok(arguments.address(self.logits).int(0));
        linear::LOGITS.launch(work, factors, rest)
    }

    /// Losses of the rows, and with a `scale` the gradients of their logits.
    fn classify(
        &self,
        work: &mut Work,
        targets: &Ids,
        scale: Option<f32>,
        n_vocab: usize,
        (first, n): (usize, usize),
    ) -> Result<(), BackendError> {
        let (d_logits, scale) = match scale {
            Some(scale) => (self.d_logits, work.values(&[scale.to_bits().into()])?),
            None => (0, 0),
        };
        let arguments = Arguments::new()
            .address(behind(self.losses, first * size_of::<f32>()))
            .address(d_logits)
            .address(self.logits)
            .address(behind(targets.address(), first * size_of::<u32>()))
            .address(scale)
            .int(n_vocab);
        work.launch(Kernel::Classifier, [n, 1, 1], THREADS, arguments);
        Ok(())
    }

    /// The sum of the losses of all rows.
    fn sum(&self, work: &mut Work, rows: usize) -> Result<Scalar, BackendError> {
        total(work, [self.losses, 0], rows)
    }
}

/// Rows whose logits exist at once: whole tiles, so that they begin at multiples of 16 bytes.
pub(super) fn rows_at_once(rows: usize, n_vocab: usize) -> usize {
    let block = (LOGITS / n_vocab / 128).max(1) * 128;
    block.min(rows)
}

fn behind(address: Address, bytes: usize) -> Address {
    address + bytes as Address
}

/// First row and number of rows of each block of `rows`.
fn blocks(rows: usize, block: usize) -> impl Iterator<Item = (usize, usize)> {
    let firsts = (0..rows).step_by(block);
    firsts.map(move |first| (first, block.min(rows - first)))
}

/// The sum of `n` losses, or the root of the sum of `n` squares: `[losses, squares]`, one of them 0.
pub(super) fn total(
    work: &mut Work,
    [losses, squares]: [Address; 2],
    n: usize,
) -> Result<Scalar, BackendError> {
    let mut scalar = work.scalar()?;
    let place = work.values(&[scalar.place() as u64])?;
    let [table, seen] = work.scalars();
    let arguments = Arguments::new()
        .address(table)
        .address(seen)
        .address(place)
        .address(losses)
        .address(squares)
        .long(n);
    work.launch(Kernel::Total, [1; 3], THREADS, arguments);
    scalar.owed_by(work.flush_number());
    Ok(scalar)
}

/// [`crate::backend::Backend::logits`].
pub(super) fn logits(
    work: &mut Work,
    x: &Buffer,
    head: Head<&Buffer>,
    shape: &Shape,
) -> Result<Vec<f32>, BackendError> {
    let place = Place::new(work, x, head, shape, false)?;
    let mut all = Vec::new();
    for rows in blocks(shape.batch.rows(), place.block) {
        place.logits(work, head, shape, rows)?;
        all.extend(work.floats(place.logits, rows.1 * shape.config.n_vocab())?);
    }
    Ok(all)
}

/// [`crate::backend::Backend::loss`].
pub(super) fn forward(
    work: &mut Work,
    x: &Buffer,
    head: Head<&Buffer>,
    targets: &Ids,
    shape: &Shape,
) -> Result<Scalar, BackendError> {
    let place = Place::new(work, x, head, shape, false)?;
    for rows in blocks(shape.batch.rows(), place.block) {
        place.logits(work, head, shape, rows)?;
        place.classify(work, targets, None, shape.config.n_vocab(), rows)?;
    }
    place.sum(work, shape.batch.rows())
}

/// [`crate::backend::Backend::loss_backward`].
pub(super) fn backward(
    work: &mut Work,
    d_x: &mut Buffer,
    d_head: Head<&mut Buffer>,
    x: &Buffer,
    head: Head<&Buffer>,
    targets: &Ids,
    scale: f32,
    shape: &Shape,
) -> Result<Scalar, BackendError> {
    let (width, n_vocab) = (shape.config.n_embd(), shape.config.n_vocab());
    let place = Place::new(work, x, head, shape, true)?;
    let Head { norm, weight } = d_head;
    for (first, n) in blocks(shape.batch.rows(), place.block) {
        place.logits(work, head, shape, (first, n))?;
        place.classify(work, targets, Some(scale), n_vocab, (first, n))?;
        let (normed, d_normed) = (
            behind(place.normed, first * width * 2),
            behind(place.d_normed, first * width * 2),
        );
        linear::inputs(
            work,
            d_normed,
            place.d_logits,
            head.weight,
            [n, width, n_vocab],
        )?;
        let d_weight = Affine {
            weight: &mut *weight,
            bias: None,
        };
        linear::gradient(work, d_weight, place.d_logits, normed, [n_vocab, width, n])?;
    }
    let sum = place.sum(work, shape.batch.rows())?;
    let (weight, stream) = (head.norm.weight, (x, place.stats));
    rows::norm_backward(work, d_x, norm, place.d_normed, None, stream, weight, shape)?;
    Ok(sum)
}
