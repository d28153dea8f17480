//! Products of integer weights, and activations as integers.

use core::array;

use half::f16;

use super::{ROWS, Registers, Tiles, at, each_tile, from};
use crate::kernels::{Output, chunk, scalar};
use crate::ops::LANES;
use crate::quant::{BLOCK, Q4_BYTES, Q4Matrix, Q8Activations, Q8Matrix};

/// See [`crate::kernels::Isa::matmul_q8`].
#[inline(always)]
pub(in crate::kernels) fn matmul_q8<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: Q8Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let block = |w: &[i8; BLOCK]| isa.block(w);
    matmul(isa, out, w.stored(), x, block, |x| isa.exact(x));
}

/// See [`crate::kernels::Isa::matmul_q4`].
#[inline(always)]
pub(in crate::kernels) fn matmul_q4<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: Q4Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let block = |w: &[i8; Q4_BYTES]| isa.block_q4(w);
    matmul(isa, out, w.stored(), x, block, |x| isa.exact_q4(x));
}

/// Not a loop, or compilers would keep what the lane is an index of in memory.
macro_rules! eight {
    ($lane:ident, $work:expr) => {
        eight!(@ $lane, $work, 0 1 2 3 4 5 6 7)
    };
    (@ $lane:ident, $work:expr, $($number:literal)*) => {
        $({
            let $lane = $number;
            $work
        })*
    };
}

/// What is multiplied, of lengths that were compared once.
///
/// # Shapes
/// `blocks`, `scales` `[rows, n]`, `x`, `x_scales` `[tokens, n]`.
struct Product<'a, const BYTES: usize> {
    blocks: &'a [[i8; BYTES]],
    scales: &'a [f16],
    x: &'a [[i8; BLOCK]],
    x_scales: &'a [f32],
    n: usize,
}

/// Every row with every token, four rows with two tokens at a time.
#[inline(always)]
fn matmul<R: Registers, const BYTES: usize>(
    isa: R,
    out: Output<'_>,
    (bytes, scales): (&[i8], &[f16]),
    x: Q8Activations<'_>,
    block: impl Fn(&[i8; BYTES]) -> R::Block + Copy,
    exact: impl Fn(R::Integers) -> R::Floats + Copy,
) {
    let n = x.blocks.n.max(1);
    let product = Product {
        blocks: bytes.as_chunks::<BYTES>().0,
        scales,
        x: x.quants.as_chunks::<BLOCK>().0,
        x_scales: x.scales,
        n,
    };
    let (n_rows, n_tokens) = (scales.len() / n, x.scales.len() / n);
    if product.blocks.len() != n_rows * n || product.x.len() != n_tokens * n {
        return;
    }
    each_tile(
        isa,
        out,
        (n_rows, n_tokens, n),
        Sums {
            product,
            block,
            exact,
        },
    );
}

/// The sums of [`Product`].
struct Sums<'a, const BYTES: usize, B, E> {
    product: Product<'a, BYTES>,
    block: B,
    exact: E,
}

impl<R, const BYTES: usize, B, E> Tiles<R> for Sums<'_, BYTES, B, E>
where
    R: Registers,
    B: Fn(&[i8; BYTES]) -> R::Block + Copy,
    E: Fn(R::Integers) -> R::Floats + Copy,
{
    #[inline(always)]
    unsafe fn sums<const T: usize>(
        &self,
        isa: R,
        rows: [usize; ROWS],
        tokens: [usize; T],
    ) -> [R::Floats; T] {
        let n = self.product.n;
        let mut lanes = [[isa.splat(0.0); LANES]; T];
        let mut add = |lane: usize, products: [R::Floats; T]| {
            for t in 0..T {
                lanes[t][lane] = isa.add(lanes[t][lane], products[t]);
            }
        };
        let whole = n / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            // SAFETY: there are eight more blocks of each row and token.
            let group = unsafe { self.product.group(rows, tokens, start) };
            let scales = group.scales.map(|scales| {
                // SAFETY: as above.
                isa.load_f16(unsafe { chunk(scales, 0) })
            });
            let [a, b] = [0, 1].map(|i| isa.transpose(scales.map(|scales| scales[i])));
            let scales = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]];
            eight!(lane, {
                // SAFETY: as above.
                let products = unsafe { self.products(isa, &group, lane, scales[lane]) };
                add(lane, products);
            });
        }
        // SAFETY: what is left may be nothing.
        let group = unsafe { self.product.group(rows, tokens, whole) };
        let mut add_one = |lane: usize| {
            if lane < n - whole {
                // SAFETY: there are more blocks of each row and token.
                let scales = group.scales.map(|scales| *unsafe { at(scales, lane) });
                // SAFETY: as above.
                let products = unsafe { self.products(isa, &group, lane, isa.widen(scales)) };
                add(lane, products);
            }
        };
        eight!(lane, add_one(lane));
        lanes.map(|lanes| reduce(isa, lanes))
    }
}

/// Blocks and scales of four rows and some tokens, from some block on.
struct Group<'a, const BYTES: usize, const T: usize> {
    blocks: [&'a [[i8; BYTES]]; ROWS],
    scales: [&'a [f16]; ROWS],
    x: [&'a [[i8; BLOCK]]; T],
    x_scales: [&'a [f32]; T],
}

impl<'a, const BYTES: usize> Product<'a, BYTES> {
    /// What rows and tokens that begin at these blocks have from their block `start` on.
    ///
    /// # Safety
    /// There are such rows and tokens, and `start` is at most `n`.
    #[inline(always)]
    unsafe fn group<const T: usize>(
        &self,
        rows: [usize; ROWS],
        tokens: [usize; T],
        start: usize,
    ) -> Group<'a, BYTES, T> {
        Group {
            // SAFETY: the caller knows that they are there.
            blocks: rows.map(|row| unsafe { from(self.blocks, row + start) }),
            // SAFETY: as above.
            scales: rows.map(|row| unsafe { from(self.scales, row + start) }),
            // SAFETY: as above.
            x: tokens.map(|token| unsafe { from(self.x, token + start) }),
            // SAFETY: as above.
            x_scales: tokens.map(|token| unsafe { from(self.x_scales, token + start) }),
        }
    }
}

impl<const BYTES: usize, B, E> Sums<'_, BYTES, B, E> {
    /// The products of block `i` of a group.
    ///
    /// # Safety
    /// There are more.
    #[inline(always)]
    unsafe fn products<R: Registers, const T: usize>(
        &self,
        isa: R,
        group: &Group<'_, BYTES, T>,
        i: usize,
        scales: R::Floats,
    ) -> [R::Floats; T]
    where
        B: Fn(&[i8; BYTES]) -> R::Block,
        E: Fn(R::Integers) -> R::Floats,
    {
        // SAFETY: the caller knows that there are more.
        let w = group
            .blocks
            .map(|blocks| (self.block)(unsafe { at(blocks, i) }));
        array::from_fn(|t| {
            // SAFETY: as above.
            let x = isa.block(unsafe { at(group.x[t], i) });
            // SAFETY: as above.
            let x_scale = isa.splat(*unsafe { at(group.x_scales[t], i) });
            let products = (self.exact)(isa.dots(w, x));
            isa.mul(products, isa.mul(scales, x_scale))
        })
    }
}

/// [`crate::ops::reduce`] of four rows.
#[inline(always)]
fn reduce<R: Registers>(isa: R, [a, b, c, d, e, f, g, h]: [R::Floats; LANES]) -> R::Floats {
    let even = isa.add(isa.add(a, e), isa.add(c, g));
    isa.add(even, isa.add(isa.add(b, f), isa.add(d, h)))
}

/// See [`crate::kernels::Isa::quantize`].
#[inline(always)]
pub(in crate::kernels) fn quantize<R: Registers>(
    isa: R,
    quants: &mut [i8],
    scales: &mut [f32],
    x: &[f32],
    cols: usize,
) {
    let blocks = x.chunks_exact(cols.max(1));
    let blocks = blocks.flat_map(|row| row.chunks(BLOCK));
    let quants = quants.as_chunks_mut::<BLOCK>().0.iter_mut();
    for ((x, quants), scale) in blocks.zip(quants).zip(scales) {
        *scale = match x.as_array::<BLOCK>() {
            Some(x) => isa.quantize_block(quants, x),
            None => scalar::quantize_block(quants, x),
        };
    }
}
