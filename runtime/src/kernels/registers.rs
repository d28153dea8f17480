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
use crate::ops::LANES;
use crate::parts::part;
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

/// Rows of `len` elements; where there are fewer, the last one stands in.
#[inline(always)]
fn tile<T>(x: &[T], len: usize) -> [&[T]; ROWS] {
    let last = (x.len() / len.max(1)).saturating_sub(1);
    let row = |i: usize| part(x, i.min(last) * len, len);
    [row(0), row(1), row(2), row(3)]
}

/// Whether all have `len` elements, as what a file and an arena hold has.
#[inline(always)]
fn all_have<T>(len: usize, x: &[&[T]]) -> bool {
    x.iter().all(|x| x.len() == len)
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
