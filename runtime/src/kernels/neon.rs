//! NEON: every 64-bit Arm core, with the dot product instructions (Cortex-A55 and A76, 2018, and later) or without.
//!
//! Stable Rust has neither conversions of half precision nor `sdot`, so those are assembly,
//! and so is what reads and writes memory on bare metal: there a compiler that may not assume that memory takes
//! accesses of any alignment would go byte by byte.

mod instructions;

use half::f16;

use self::instructions::{DotProduct, Plain, With};
use super::Output;
use super::registers;
#[cfg(feature = "kv-float")]
use super::registers::Registers;
#[cfg(feature = "kv-float")]
use crate::ops::LANES;
use crate::quant::{Q4Matrix, Q8Activations, Q8Matrix};

/// Proof that NEON is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon {
    /// Proof that the dot product instructions are too.
    pub(super) dot_product: Option<DotProduct>,
}

impl Neon {
    /// Without the dot product instructions, and with them.
    pub(super) fn detect() -> [Option<Self>; 2] {
        let with = |dot_product| Self { dot_product };
        let dot_product = DotProduct::detect();
        [Some(with(None)), dot_product.map(|_| with(dot_product))]
    }

    pub(super) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        registers::matmul_f32(With(Plain), out, w, x, cols);
    }

    pub(super) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        registers::matmul_f16(With(Plain), out, w, x, cols);
    }

    pub(super) fn matmul_q8(self, out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
        match self.dot_product {
            Some(sdot) => registers::matmul_q8(With(sdot), out, w, x),
            None => registers::matmul_q8(With(Plain), out, w, x),
        }
    }

    pub(super) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
        match self.dot_product {
            Some(sdot) => registers::matmul_q4(With(sdot), out, w, x),
            None => registers::matmul_q4(With(Plain), out, w, x),
        }
    }

    pub(super) fn quantize(self, quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
        registers::quantize(With(Plain), quants, scales, x, cols);
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
        let load = |x: &[f32; LANES]| With(Plain).load(x);
        registers::attend(With(Plain), out, scores, query, keys, values, load);
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
        let load = |x: &[f16; LANES]| With(Plain).load_f16(x);
        registers::attend(With(Plain), out, scores, query, keys, values, load);
    }

    #[cfg(feature = "kv-float")]
    pub(super) fn narrow_f16(self, out: &mut [f16], x: &[f32]) {
        registers::narrow_f16(With(Plain), out, x);
    }

    pub(super) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        registers::widen_f16(With(Plain), out, x);
    }
}
