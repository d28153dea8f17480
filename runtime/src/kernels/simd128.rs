//! WebAssembly's `simd128`: what a module has is known when it is compiled.

use core::arch::wasm32::*;

use half::f16;

use super::registers::{self, Registers};
use super::{Output, scalar};
use crate::bytes::Plain as Bits;
use crate::ops::LANES;
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET, Q4Matrix, Q8Activations, Q8Matrix};

/// Proof that `simd128` is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd128(());

impl Simd128 {
    pub(super) const CERTAIN: Self = Self(());

    pub(super) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        registers::matmul_f32(self, out, w, x, cols);
    }

    pub(super) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        registers::matmul_f16(self, out, w, x, cols);
    }

    pub(super) fn matmul_q8(self, out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
        registers::matmul_q8(self, out, w, x);
    }

    pub(super) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
        registers::matmul_q4(self, out, w, x);
    }

    pub(super) fn quantize(self, quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
        registers::quantize(self, quants, scales, x, cols);
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn attend_f32(
        self,
        out: &mut [f32],
        scores: &mut [f32],
        query: &[f32],
        keys: &[f32],
        values: &[f32],
    ) {
        let load = |x: &[f32; LANES]| self.load(x);
        registers::attend(self, out, scores, query, keys, values, load);
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn attend_f16(
        self,
        out: &mut [f32],
        scores: &mut [f32],
        query: &[f32],
        keys: &[f16],
        values: &[f16],
    ) {
        let load = |x: &[f16; LANES]| self.load_f16(x);
        registers::attend(self, out, scores, query, keys, values, load);
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn narrow_f16(self, out: &mut [f16], x: &[f32]) {
        registers::narrow_f16(self, out, x);
    }

    pub(super) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        registers::widen_f16(self, out, x);
    }
}

impl Registers for Simd128 {
    type Floats = v128;
    type Integers = v128;
    /// Widened to 16 bits, which is what is multiplied.
    type Block = [v128; 4];

    #[inline(always)]
    fn splat(self, x: f32) -> v128 {
        f32x4_splat(x)
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> [v128; 2] {
        [load::<0, _, _>(x), load::<1, _, _>(x)]
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> [v128; 2] {
        let x = load::<0, _, _>(x);
        [
            widen(u32x4_extend_low_u16x8(x)),
            widen(u32x4_extend_high_u16x8(x)),
        ]
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; 4], x: v128) {
        store::<0, _, _>(out, x);
    }

    #[inline(always)]
    fn widen(self, x: [f16; 4]) -> v128 {
        let [a, b, c, d] = x.map(|x| u32::from(x.to_bits()));
        widen(u32x4(a, b, c, d))
    }

    #[cfg(feature = "kv-float")]
    #[inline(always)]
    fn narrow(self, x: [v128; 2]) -> [f16; LANES] {
        let mut wide = [[0.0; 4]; 2];
        store::<0, _, _>(&mut wide[0], x[0]);
        store::<0, _, _>(&mut wide[1], x[1]);
        let mut out = [f16::ZERO; LANES];
        scalar::narrow_f16(&mut out, wide.as_flattened());
        out
    }

    #[inline(always)]
    fn add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    fn mul(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    #[inline(always)]
    fn transpose(self, [a, b, c, d]: [v128; 4]) -> [v128; 4] {
        let (ab, cd) = (
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
        );
        let (ab_high, cd_high) = (
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        );
        [
            i64x2_shuffle::<0, 2>(ab, cd),
            i64x2_shuffle::<1, 3>(ab, cd),
            i64x2_shuffle::<0, 2>(ab_high, cd_high),
            i64x2_shuffle::<1, 3>(ab_high, cd_high),
        ]
    }

    #[inline(always)]
    fn block(self, x: &[i8; BLOCK]) -> [v128; 4] {
        let [a, b, c, d] = x.as_chunks::<8>().0 else {
            return [i32x4_splat(0); 4];
        };
        [a, b, c, d].map(|x| {
            // SAFETY: the array is eight readable bytes; the load needs no alignment.
            unsafe { i16x8_load_extend_i8x8(x.as_ptr()) }
        })
    }

    #[inline(always)]
    fn block_q4(self, x: &[i8; Q4_BYTES]) -> [v128; 4] {
        let x = load::<0, _, _>(x);
        let integers = |stored| {
            let x = i8x16_sub(stored, i8x16_splat(Q4_OFFSET));
            [i16x8_extend_low_i8x16(x), i16x8_extend_high_i8x16(x)]
        };
        let half = u8x16_splat(15);
        let ([a, b], [c, d]) = (
            integers(v128_and(x, half)),
            integers(v128_and(u16x8_shr(x, 4), half)),
        );
        [a, b, c, d]
    }

    #[inline(always)]
    fn dots(self, w: [[v128; 4]; 4], x: [v128; 4]) -> v128 {
        let sums = w.map(|w| {
            let dot = |i: usize| i32x4_dot_i16x8(w[i], x[i]);
            i32x4_add(i32x4_add(dot(0), dot(1)), i32x4_add(dot(2), dot(3)))
        });
        let [a, b, c, d] = self.transpose(sums);
        i32x4_add(i32x4_add(a, b), i32x4_add(c, d))
    }

    #[inline(always)]
    fn exact(self, x: v128) -> v128 {
        f32x4_convert_i32x4(x)
    }

    #[inline(always)]
    fn exact_q4(self, x: v128) -> v128 {
        f32x4_convert_i32x4(x)
    }

    #[inline(always)]
    fn quantize_block(self, quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32 {
        let mut registers = [i32x4_splat(0); BLOCK / 4];
        let mut largest = i32x4_splat(0);
        for (register, x) in registers.iter_mut().zip(x.as_chunks::<4>().0) {
            *register = load::<0, _, _>(x);
            // As integers magnitudes have the order they have as numbers, with NaN above infinity.
            let magnitude = f32x4_abs(*register);
            let number = i32x4_le(magnitude, u32x4_splat(f32::INFINITY.to_bits()));
            largest = i32x4_max(largest, v128_and(magnitude, number));
        }
        largest = i32x4_max(largest, i64x2_shuffle::<1, 0>(largest, largest));
        largest = i32x4_max(largest, i32x4_shuffle::<1, 0, 3, 2>(largest, largest));
        let (scale, inverse) = scalar::scale(f32x4_extract_lane::<0>(largest));
        let inverse = f32x4_splat(inverse);
        // Of NaN the conversion makes 0.
        let rounded =
            registers.map(|x| i32x4_trunc_sat_f32x4(f32x4_nearest(f32x4_mul(x, inverse))));
        let [a, b, c, d, e, f, g, h] = rounded;
        let pairs =
            [(a, b), (c, d), (e, f), (g, h)].map(|(low, high)| i16x8_narrow_i32x4(low, high));
        store::<0, _, _>(quants, i8x16_narrow_i16x8(pairs[0], pairs[1]));
        store::<1, _, _>(quants, i8x16_narrow_i16x8(pairs[2], pairs[3]));
        scale
    }
}

/// Register `I` of an array.
#[inline(always)]
fn load<const I: usize, T: Bits, const N: usize>(x: &[T; N]) -> v128 {
    const { assert!((I + 1) * 16 <= size_of::<[T; N]>(), "the array ends before") };
    let from = x.as_ptr().cast::<u8>().wrapping_add(I * 16);
    // SAFETY: the array has these sixteen bytes; the load needs no alignment.
    unsafe { v128_load(from.cast()) }
}

/// To register `I` of an array.
#[inline(always)]
fn store<const I: usize, T: Bits, const N: usize>(out: &mut [T; N], x: v128) {
    const { assert!((I + 1) * 16 <= size_of::<[T; N]>(), "the array ends before") };
    let to = out.as_mut_ptr().cast::<u8>().wrapping_add(I * 16);
    // SAFETY: the array has these sixteen bytes, and any are values; the store needs no alignment.
    unsafe { v128_store(to.cast(), x) };
}

/// Halves, one in each 32 bits, in single precision.
///
/// With the exponent where single precision has it the number is `2^-112` times itself, subnormal or not; infinity and
/// NaN have the largest exponent in both.
#[inline(always)]
fn widen(x: v128) -> v128 {
    let magnitude = v128_and(x, u32x4_splat(0x7FFF));
    let number = f32x4_mul(
        u32x4_shl(magnitude, 13),
        f32x4_splat(f32::from_bits((112 + 127) << 23)),
    );
    let infinite = i32x4_gt(magnitude, u32x4_splat(0x7BFF));
    let infinite = v128_and(infinite, u32x4_splat(f32::INFINITY.to_bits()));
    let sign = u32x4_shl(v128_xor(x, magnitude), 16);
    v128_or(v128_or(number, infinite), sign)
}
