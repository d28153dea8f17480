//! The step of [`Muon`] on one matrix, in `bf16` but for momentum and parameters.

use super::buffer::Buffer;
use super::driver::Address;
use super::kernels::Kernel;
use super::linear::{COMBINE_ACROSS, COMBINE_COLUMNS, COMBINE_ROWS, Factors};
use super::queue::Arguments;
use super::update::Step;
use super::work::{THREADS, Work};
use crate::backend::BackendError;
use crate::optimizer::{Muon, Rule};

/// Values of a matrix that a block does: as in `kernels/update.cuh`.
const BLOCK: usize = 2048;

/// Scratch for the largest matrix.
pub(super) struct Room {
    /// `f32`
    u: Address,
    squares: Address,
    /// Two of `bf16`, from one of which the other is made.
    x: [Address; 2],
    /// `x x^T`, and the polynomial of it.
    products: [Address; 2],
}

impl Room {
    /// Bytes of its parts.
    pub(super) fn sizes(rules: &[Rule]) -> [usize; 6] {
        let (mut len, mut side) = (0, 0);
        for rule in rules {
            if let Rule::Muon { rows, cols } = rule {
                let most = rows.iter().copied().max().unwrap_or(0);
                len = len.max(most * cols);
                side = side.max(most.min(*cols));
            }
        }
        let squares = len.div_ceil(BLOCK) * size_of::<f64>();
        let square = side * side * 2;
        [len * 4, squares, len * 2, len * 2, square, square]
    }

    pub(super) fn new(work: &mut Work, rules: &[Rule]) -> Result<Self, BackendError> {
        let sizes = Self::sizes(rules);
        let [u, squares, x, other, product, polynomial] = work.scratch(sizes)?;
        Ok(Self {
            u,
            squares,
            x: [x, other],
            products: [product, polynomial],
        })
    }
}

/// Updates the matrix of `[rows, cols]` that begins at value `begin` of its tensor: parameters,
/// gradients, momentum.
pub(super) fn update(
    work: &mut Work,
    [param, gradient, momentum]: [&Buffer; 3],
    begin: usize,
    [rows, cols]: [usize; 2],
    step: &Step,
    muon: &Muon,
    room: &Room,
) -> Result<(), BackendError> {
    let n = rows * cols;
    let blocks = [n.div_ceil(BLOCK), 1, 1];
    let behind = |address: Address, size: usize| address + (begin * size) as Address;
    let arguments = Arguments::new()
        .address(room.u)
        .address(room.squares)
        .address(behind(gradient.exact(), size_of::<f32>()))
        .address(behind(momentum.exact(), size_of::<f32>()));
    let arguments = step.clip(arguments).long(n).float(muon.momentum);
    work.launch(Kernel::MuonMomentum, blocks, THREADS, arguments);
    let arguments = Arguments::new()
        .address(room.x[0])
        .address(room.u)
        .address(room.squares)
        .long(n)
        .float(Muon::EPS);
    work.launch(Kernel::MuonStart, blocks, THREADS, arguments);
    let orthogonal = orthogonalize(work, [rows, cols], room)?;
    let arguments = Arguments::new()
        .address(behind(param.exact(), size_of::<f32>()))
        .address(behind(param.rounded(), size_of::<u16>()))
        .address(orthogonal);
    let arguments = step.clip(arguments).address(step.muon_rates).long(n);
    let arguments = arguments.float(Muon::scale(rows, cols));
    work.launch_each(Kernel::MuonUpdate, n, arguments);
    Ok(())
}

/// What [`Muon`] calls `orthogonal`, of the first `x` of `room`; where it is.
fn orthogonalize(
    work: &mut Work,
    [rows, cols]: [usize; 2],
    room: &Room,
) -> Result<Address, BackendError> {
    let [a, b, c] = Muon::COEFFICIENTS;
    let ([mut x, mut other], [product, polynomial]) = (room.x, room.products);
    let wide = rows <= cols;
    let (side, length) = (rows.min(cols), rows.max(cols));
    let factors = |a, b, sizes| Factors { a, b, sizes };
    for _ in 0..Muon::ITERATIONS {
        let own = if wide { COMBINE_ROWS } else { COMBINE_COLUMNS };
        let sizes = [side, side, length];
        own.launch(
            work,
            factors(x, x, sizes),
            combination(product, 0, 1.0, 0.0),
        )?;
        let sizes = [side, side, side];
        let square = combination(polynomial, product, c, b);
        COMBINE_ROWS.launch(work, factors(product, product, sizes), square)?;
        // Product and polynomial are symmetric: rows of one are its columns.
        let (with, to) = (factors(polynomial, x, [side, length, side]), other);
        match wide {
            true => COMBINE_ACROSS.launch(work, with, combination(to, x, 1.0, a))?,
            false => {
                let with = factors(x, polynomial, [length, side, side]);
                COMBINE_ROWS.launch(work, with, combination(to, x, 1.0, a))?;
            }
        }
        (x, other) = (other, x);
    }
    Ok(x)
}

/// What follows `Product` in the parameter `Combination`.
fn combination(
    out: Address,
    with: Address,
    scale: f32,
    share: f32,
) -> impl FnOnce(&mut Work, Arguments) -> Result<Arguments, BackendError> {
    move |_, arguments| {
        let arguments = arguments.address(out).address(with);
        Ok(arguments.float(scale).float(share))
    }
}
