//! The inner loops, one file per instruction set: all vector code of the runtime.
//!
//! [`scalar`] specifies the arithmetic. For integer formats every other set gives the same bits:
//! the dot product of a block is exact in `i32`; block `b` is scaled to `f32` and added to lane
//! `b % 8`, multiply then add, never fused; the lanes are added by [`crate::ops::reduce`]. For `f32`
//! and `f16` weights the sets agree to within `1e-6 * sum(|w x|)` at the lengths that occur, `dsp`, whose sums
//! are sequential, to within `4e-6`.
#![allow(
    unsafe_code,
    reason = "vendor intrinsics and target_feature calls live here only"
)]
#![cfg_attr(
    not(kernel_scalar),
    allow(unreachable_patterns, reason = "one instruction set is certain")
)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(kernel_dsp)]
mod dsp;
mod isa;
#[cfg(kernel_neon)]
mod neon;
#[cfg(any(kernel_neon, kernel_simd128, test))]
mod registers;
mod scalar;
#[cfg(kernel_simd128)]
mod simd128;
#[cfg(any(soft_float, test))]
mod soft;
#[cfg(kernel_thumb2)]
mod thumb2;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(feature = "rayon")]
pub(crate) use self::attention::Tile;
pub(crate) use self::attention::{
    Attention, BaseScale, Heads, KEPT_BITS, PIECE as NARROW_TOKENS, Row,
};
#[cfg(kernel_dsp)]
pub(crate) use self::dsp::root;
pub use self::isa::Isa;
use crate::parts::part_mut;

/// Where a product of some rows of a matrix goes.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    /// `[T, stride]`
    pub(crate) values: &'a mut [f32],
    /// Rows of the whole matrix.
    pub(crate) stride: usize,
    /// The first of these rows.
    pub(crate) first: usize,
}

/// Elements `i..i + N`.
///
/// # Safety
/// They are there.
#[cfg(any(target_arch = "x86_64", kernel_neon, kernel_simd128, test))]
#[inline(always)]
unsafe fn chunk<T, const N: usize>(x: &[T], i: usize) -> &[T; N] {
    debug_assert!(i + N <= x.len());
    let chunk = x.as_ptr().wrapping_add(i).cast();
    // SAFETY: the caller knows that they are there.
    unsafe { &*chunk }
}

/// Every row with every token; a row is read once and used while it is in the cache.
#[inline(always)]
fn matmul<Row: Copy, X>(
    out: Output<'_>,
    rows: impl Iterator<Item = Row>,
    tokens: impl Iterator<Item = X> + Clone,
    dot: impl Fn(Row, X) -> f32,
) {
    for (r, row) in rows.enumerate() {
        for (t, x) in tokens.clone().enumerate() {
            let place = t * out.stride + out.first + r;
            part_mut(out.values, place, 1).fill(dot(row, x));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
