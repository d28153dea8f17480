//! Matrix products, and the gradients of linear layers.

use super::buffer::Buffer;
use super::driver::{Address, Form};
use super::kernels::Kernel;
use super::queue::Arguments;
use super::rows;
use super::work::Work;
use crate::backend::{Affine, BackendError};

/// A product whose results go through an epilogue of its own: `kernels/linear.cuh`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// With tiles of 64 and of 128.
    kernels: [Kernel; 2],
    /// Whether the left factor is `[k, m]`, and the right `[k, n]`.
    across: [bool; 2],
}

const fn product(small: Kernel, large: Kernel, across: [bool; 2]) -> Product {
    Product {
        kernels: [small, large],
        across,
    }
}

pub(super) const QKV: Product = product(Kernel::Qkv64, Kernel::Qkv128, [false, false]);
pub(super) const FC: Product = product(Kernel::Fc64, Kernel::Fc128, [false, false]);
pub(super) const RESIDUAL: Product =
    product(Kernel::Residual64, Kernel::Residual128, [false, false]);
pub(super) const LOGITS: Product = product(Kernel::Logits64, Kernel::Logits128, [false, false]);
pub(super) const INPUTS: Product = product(Kernel::Inputs64, Kernel::Inputs128, [false, true]);
pub(super) const FC_BACKWARD: Product =
    product(Kernel::FcBackward64, Kernel::FcBackward128, [false, true]);
pub(super) const COMBINE_ROWS: Product = product(
    Kernel::CombineRows64,
    Kernel::CombineRows128,
    [false, false],
);
pub(super) const COMBINE_COLUMNS: Product = product(
    Kernel::CombineColumns64,
    Kernel::CombineColumns128,
    [true, true],
);
pub(super) const COMBINE_ACROSS: Product = product(
    Kernel::CombineAcross64,
    Kernel::CombineAcross128,
    [false, true],
);
const WEIGHTS: Product = product(Kernel::Weights64, Kernel::Weights128, [true, true]);

/// Of the common dimension, what a kernel takes at once.
const STEP: usize = 32;

/// Of the common dimension, what is worth a block.
const LEAST: usize = 256;

/// Factors of a product and its sizes `[m, n, k]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors {
    pub(super) a: Address,
    pub(super) b: Address,
    pub(super) sizes: [usize; 3],
}

impl Product {
    /// Launches it; `rest` puts what follows `Product` in the kernel's parameter.
    pub(super) fn launch(
        self,
        work: &mut Work,
        factors: Factors,
        rest: impl FnOnce(&mut Work, Arguments) -> Result<Arguments, BackendError>,
    ) -> Result<(), BackendError> {
        self.launch_parts(work, factors, factors.sizes[2], rest)
    }

    /// The same, where blocks share the common dimension, `k_block` of it each.
    fn launch_parts(
        self,
        work: &mut Work,
        factors: Factors,
        k_block: usize,
        rest: impl FnOnce(&mut Work, Arguments) -> Result<Arguments, BackendError>,
    ) -> Result<(), BackendError> {
        let Factors {
            a,
            b,
            sizes: [m, n, k],
        } = factors;
        let whole = |address: Address, across: bool, side: usize| {
            let length = if across { side } else { k };
            usize::from(length.is_multiple_of(8) && address.is_multiple_of(16))
        };
        let k_block = k_block.next_multiple_of(STEP);
        let arguments = Arguments::new()
            .address(a)
            .address(b)
            .int(m)
            .int(n)
            .int(k)
            .int(whole(a, self.across[0], m))
            .int(whole(b, self.across[1], n))
            .int(k_block);
        let arguments = rest(work, arguments)?;
        let shares = k.div_ceil(k_block);
        let large = tiles(m, n, 128) * shares >= work.busy();
        let (kernel, side, threads) = match large {
            true => (self.kernels[1], 128, 256),
            false => (self.kernels[0], 64, 128),
        };
        let grid = [n.div_ceil(side), m.div_ceil(side), shares];
        work.launch(kernel, grid, threads, arguments);
        Ok(())
    }
}

/// An output that a product is stored to as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) address: Address,
    /// Whether it is `f32`, not `bf16`.
    pub(super) exact: bool,
    /// Whether the product is added to what is there.
    pub(super) adds: bool,
}

impl Product {
    /// Has the library do it, where it is in use and can.
    pub(super) fn by_library(
        self,
        work: &mut Work,
        factors: Factors,
        out: Output,
    ) -> Result<bool, BackendError> {
        let addresses = [factors.a, factors.b, out.address];
        let form = Form {
            sizes: factors.sizes,
            across: self.across,
            exact: out.exact,
            adds: out.adds,
            aligned: addresses.map(|address| 1 << address.trailing_zeros().min(8)),
        };
        work.multiply(form, addresses)
    }
}

fn tiles(m: usize, n: usize, side: usize) -> usize {
    m.div_ceil(side) * n.div_ceil(side)
}

/// `out = a weight` in `bf16`: the gradient of a layer's inputs.
///
/// # Shapes
/// `out` `[R, I]`, `a` `[R, O]`, `weight` `[O, I]`: all `bf16`; `sizes` `[R, I, O]`.
pub(super) fn inputs(
    work: &mut Work,
    out: Address,
    a: Address,
    weight: &Buffer,
    sizes: [usize; 3],
) -> Result<(), BackendError> {
    let factors = Factors {
        a,
        b: weight.rounded(),
        sizes,
    };
    let output = Output {
        address: out,
        exact: false,
        adds: false,
    };
    if INPUTS.by_library(work, factors, output)? {
        return Ok(());
    }
    INPUTS.launch(work, factors, |_, arguments| Ok(arguments.address(out)))
}

/// Among how many blocks the rows are shared for each tile of a gradient, and rows of each; `sizes`
/// `[O, I, R]`.
pub(super) fn shares(busy: usize, sizes: [usize; 3]) -> (usize, usize) {
    let [outputs, inputs, rows] = sizes;
    let shares = (2 * busy).div_ceil(tiles(outputs, inputs, 64));
    let k_block = rows.div_ceil(shares.min(rows.div_ceil(LEAST)));
    let k_block = k_block.next_multiple_of(STEP);
    (rows.div_ceil(k_block), k_block)
}

/// `d_weight += d_out^T x`, `d_bias += sum of rows of d_out`.
///
/// # Shapes
/// `d_out` `[R, O]`, `x` `[R, I]`: both `bf16`; `sizes` `[O, I, R]`.
pub(super) fn gradient(
    work: &mut Work,
    d_weights: Affine<&mut Buffer>,
    d_out: Address,
    x: Address,
    sizes: [usize; 3],
) -> Result<(), BackendError> {
    let [outputs, inputs, rows] = sizes;
    let factors = Factors {
        a: d_out,
        b: x,
        sizes,
    };
    let weight = d_weights.weight;
    let output = Output {
        address: weight.exact(),
        exact: true,
        adds: true,
    };
    if WEIGHTS.by_library(work, factors, output)? {
        return rows::column_sums(work, d_weights.bias, None, d_out, rows, outputs);
    }
    let (shares, k_block) = shares(work.busy(), sizes);
    let (to, adds) = match shares {
        1 => (weight.exact(), 1),
        _ => (work.parts(shares * outputs * inputs)?, 0),
    };
    let rest = |_: &mut Work, arguments: Arguments| Ok(arguments.address(to).int(adds));
    WEIGHTS.launch_parts(work, factors, k_block, rest)?;
    if shares > 1 {
        rows::add_parts(work, weight, to, shares);
    }
    rows::column_sums(work, d_weights.bias, None, d_out, rows, outputs)
}
