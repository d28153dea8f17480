//! The inner loops, one file per instruction set: all vector code of the runtime.
//!
//! [`scalar`] specifies the arithmetic. For integer formats every other set gives the same bits:
//! the dot product of a block is exact in `i32`; block `b` is scaled to `f32` and added to lane
//! `b % 8`, multiply then add, never fused; the lanes are added by [`crate::ops::reduce`]. For `f32`
//! and `f16` weights the sets agree to within `1e-6 * sum(|w x|)` at the lengths that occur.
#![allow(
    unsafe_code,
    reason = "vendor intrinsics and target_feature calls live here only"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;

use half::f16;

use crate::quant::{Q8Activations, Q8Matrix};

/// An instruction set known to be present: a value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; the specification of the arithmetic.
    Scalar,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
}

impl Isa {
    /// Every set this machine has, [`Self::Scalar`] first and the best last. Without the feature `std` the compiler's target decides.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Self::Avx2),
        ];
        all.into_iter().flatten()
    }

    /// The best of [`Self::available`].
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// `scalar`, `avx2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
        }
    }

    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    ///
    /// # Shapes
    /// `out` `[T, rows]`, `w` `[rows, cols]`, `x` `[T, cols]`.
    pub(crate) fn matmul_f32(self, out: &mut [f32], w: &[f32], x: &[f32], cols: usize) {
        match self {
            Self::Scalar => {
                matmul(
                    out,
                    w.chunks_exact(cols),
                    x.chunks_exact(cols),
                    scalar::dot_f32,
                );
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_f32(out, w, x, cols),
        }
    }

    /// [`Self::matmul_f32`] with weights in half precision.
    pub(crate) fn matmul_f16(self, out: &mut [f32], w: &[f16], x: &[f32], cols: usize) {
        match self {
            Self::Scalar => {
                matmul(
                    out,
                    w.chunks_exact(cols),
                    x.chunks_exact(cols),
                    scalar::dot_f16,
                );
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_f16(out, w, x, cols),
        }
    }

    /// [`Self::matmul_f32`] in integers. `x` comes from [`Self::quantize`].
    pub(crate) fn matmul_q8(self, out: &mut [f32], w: Q8Matrix<'_>, x: Q8Activations<'_>) {
        match self {
            Self::Scalar => matmul(out, w.rows(), x.rows(), scalar::dot_q8),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_q8(out, w, x),
        }
    }

    /// Turns rows of activations into blocks of integers with a scale each.
    ///
    /// NaN becomes 0, and a block that holds an infinity becomes zeros with scale 0.
    ///
    /// # Shapes
    /// `x` `[T, cols]`, `quants` `[T, blocks * 32]`, `scales` `[T, blocks]`, `blocks = cols / 32` rounded up.
    pub(crate) fn quantize(self, quants: &mut [i8], scales: &mut [f32], x: &[f32], cols: usize) {
        match self {
            Self::Scalar => scalar::quantize(quants, scales, x, cols),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.quantize(quants, scales, x, cols),
        }
    }

    /// `out[i] = x[i]`, exactly.
    pub(crate) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        match self {
            Self::Scalar => scalar::widen_f16(out, x),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.widen_f16(out, x),
        }
    }
}

/// Every row with every token; a row is read once and used while it is in the cache.
#[inline(always)]
fn matmul<Row: Copy, X>(
    out: &mut [f32],
    rows: impl ExactSizeIterator<Item = Row>,
    tokens: impl Iterator<Item = X> + Clone,
    dot: impl Fn(Row, X) -> f32,
) {
    let n_rows = rows.len();
    for (r, row) in rows.enumerate() {
        for (t, x) in tokens.clone().enumerate() {
            out[t * n_rows + r] = dot(row, x);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
