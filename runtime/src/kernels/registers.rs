//! Kernels for registers of 16 bytes, written once for NEON and WebAssembly.
//!
//! Four rows of a matrix meet a token together, and lane `r` of a register belongs to row `r`: the eight sums that
//! the specification keeps for a row are eight registers, added as [`crate::ops::reduce`] adds eight numbers, and
//! rows may end anywhere. Only the products of a block are added across lanes.

#[cfg(feature = "kv-float")]
mod attention;
mod floats;
mod integers;
#[cfg(test)]
mod tests;

use half::f16;

#[cfg(feature = "kv-float")]
pub(super) use self::attention::attend;
#[cfg(feature = "kv-float")]
pub(super) use self::floats::narrow_f16;
pub(super) use self::floats::{matmul_f16, matmul_f32, widen_f16};
pub(super) use self::integers::{matmul_q4, matmul_q8, quantize};
use super::Output;
use crate::ops::LANES;
use crate::parts::{copy, part_mut};
use crate::quant::{BLOCK, Q4_BYTES};

/// Rows of a tile: lanes of a register.
const ROWS: usize = 4;

/// An instruction set with registers of 16 bytes: a value is the proof that it is there.
pub(super) trait Registers: Copy {
    /// Four floats.
    type Floats: Copy;
    /// Four integers of 32 bits.
    type Integers: Copy;
    /// The integers of a block, as [`Self::dots`] takes them.
    type Block: Copy;

    fn splat(self, x: f32) -> Self::Floats;
    fn load(self, x: &[f32; LANES]) -> [Self::Floats; 2];
    fn load_f16(self, x: &[f16; LANES]) -> [Self::Floats; 2];
    fn store(self, out: &mut [f32; 4], x: Self::Floats);
    fn widen(self, x: [f16; 4]) -> Self::Floats;
    /// The nearest of half precision; beyond its range the largest, for NaN 0.
    #[cfg(feature = "kv-float")]
    fn narrow(self, x: [Self::Floats; 2]) -> [f16; LANES];

    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once or twice.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Lane `i` of register `j` becomes lane `j` of register `i`.
    fn transpose(self, x: [Self::Floats; 4]) -> [Self::Floats; 4];

    fn block(self, x: &[i8; BLOCK]) -> Self::Block;
    /// Of weights of four bits, all times the same factor; [`Self::exact_q4`] takes it off again.
    fn block_q4(self, x: &[i8; Q4_BYTES]) -> Self::Block;
    /// The dot product of each of four blocks of weights with one of activations, which are at least -127.
    fn dots(self, w: [Self::Block; ROWS], x: Self::Block) -> Self::Integers;
    fn exact(self, x: Self::Integers) -> Self::Floats;
    fn exact_q4(self, x: Self::Integers) -> Self::Floats;

    /// What `scalar::quantize_block` does with a whole block.
    fn quantize_block(self, quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32;
}

/// What a kernel does with four rows and some tokens.
trait Tiles<R: Registers> {
    /// The products of four rows with each token, given as where they begin.
    ///
    /// # Safety
    /// The matrix has rows that begin there, and there are such tokens.
    unsafe fn sums<const T: usize>(
        &self,
        isa: R,
        rows: [usize; ROWS],
        tokens: [usize; T],
    ) -> [R::Floats; T];
}

/// Every row with every token, both of `len` elements, four rows with two tokens at a time.
#[inline(always)]
fn each_tile<R: Registers>(
    isa: R,
    out: Output<'_>,
    (n_rows, n_tokens, len): (usize, usize, usize),
    kernel: impl Tiles<R>,
) {
    let Output {
        values,
        stride,
        first,
    } = out;
    if n_tokens == 1 {
        // A loop of its own, so that compilers have registers for it.
        return each_four(n_rows, len, |row, rows| {
            // SAFETY: there are these rows, and a token.
            let [sums] = unsafe { kernel.sums(isa, rows, [0]) };
            put(
                isa,
                part_mut(values, first + row, ROWS.min(n_rows - row)),
                sums,
            );
        });
    }
    each_four(n_rows, len, |row, rows| {
        let mut put = |t: usize, sums| {
            let place = t * stride + first + row;
            put(isa, part_mut(values, place, ROWS.min(n_rows - row)), sums);
        };
        for t in (0..n_tokens / 2 * 2).step_by(2) {
            // SAFETY: there are these rows, and both are less than the number of tokens.
            let [a, b] = unsafe { kernel.sums(isa, rows, [t * len, (t + 1) * len]) };
            put(t, a);
            put(t + 1, b);
        }
        if n_tokens % 2 == 1 {
            // SAFETY: as above.
            let [sums] = unsafe { kernel.sums(isa, rows, [(n_tokens - 1) * len]) };
            put(n_tokens - 1, sums);
        }
    });
}

/// Calls `work` with each fourth row, and where it and the next ones begin; the last one stands in for those that are
/// missing.
#[inline(always)]
fn each_four(n_rows: usize, len: usize, mut work: impl FnMut(usize, [usize; ROWS])) {
    let whole = n_rows / ROWS * ROWS;
    for row in (0..whole).step_by(ROWS) {
        let start = row * len;
        work(row, [start, start + len, start + 2 * len, start + 3 * len]);
    }
    if whole < n_rows {
        work(
            whole,
            [0, 1, 2, 3].map(|i| (whole + i).min(n_rows - 1) * len),
        );
    }
}

/// What belongs to rows that are there.
#[inline(always)]
fn put<R: Registers>(isa: R, out: &mut [f32], sums: R::Floats) {
    match out.as_mut_array() {
        Some(out) => isa.store(out, sums),
        None => {
            let mut four = [0.0; ROWS];
            isa.store(&mut four, sums);
            copy(out, &four);
        }
    }
}

/// Element `i`.
///
/// # Safety
/// There are more than `i`.
#[inline(always)]
unsafe fn at<T>(x: &[T], i: usize) -> &T {
    debug_assert!(i < x.len());
    // SAFETY: the caller knows that it is there.
    unsafe { x.get_unchecked(i) }
}

/// The elements from `i` on.
///
/// # Safety
/// There are at least `i`.
#[inline(always)]
unsafe fn from<T>(x: &[T], i: usize) -> &[T] {
    debug_assert!(i <= x.len());
    // SAFETY: the caller knows that they are there.
    unsafe { x.get_unchecked(i..) }
}
