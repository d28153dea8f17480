//! Products of matrices, and the integers that they take.

use half::f16;

use super::Isa;
use crate::kernels::{Output, matmul, scalar};
use crate::quant::{Activations, DspMatrix, Q4Matrix, Q8Activations, Q8Matrix};

impl Isa {
    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    ///
    /// # Shapes
    /// `w` `[rows, cols]`, `x` `[T, cols]`.
    pub(crate) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_f32(out, w, x, cols),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.matmul_f32(out, w, x, cols),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_f32(out, w, x, cols),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.matmul_f32(out, w, x, cols),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.matmul_f32(out, w, x, cols),
            _ => {
                let (rows, tokens) = (w.chunks_exact(cols.max(1)), x.chunks_exact(cols.max(1)));
                matmul(out, rows, tokens, scalar::dot_f32);
            }
        }
    }

    /// [`Self::matmul_f32`] with weights in half precision.
    pub(crate) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_f16(out, w, x, cols),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.matmul_f16(out, w, x, cols),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_f16(out, w, x, cols),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.matmul_f16(out, w, x, cols),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.matmul_f16(out, w, x, cols),
            _ => {
                let (rows, tokens) = (w.chunks_exact(cols.max(1)), x.chunks_exact(cols.max(1)));
                matmul(out, rows, tokens, scalar::dot_f16);
            }
        }
    }

    /// [`Self::matmul_f32`] in integers. `x` comes from [`Self::quantize`].
    pub(crate) fn matmul_q8(self, out: Output<'_>, w: Q8Matrix<'_>, x: Activations<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_q8(out, w, x.q8),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.matmul_q8(out, w, x.q8),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.matmul_q8(out, w, x),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.matmul_q8(out, w, x.q8),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.matmul_q8(out, w, x.q8),
            _ => matmul(out, w.rows(), x.q8.rows(), scalar::dot_q8),
        }
    }

    /// [`Self::matmul_q8`] with weights of four bits.
    ///
    /// `x` comes from [`Self::quantize_q4`].
    pub(crate) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Activations<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_q4(out, w, x.q8),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.matmul_q4(out, w, x.q8),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.matmul_q4(out, w, x.q8),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.matmul_q4(out, w, x.q8),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_q4(out, w, x),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.matmul_q4(out, w, x),
            _ => matmul(out, w.rows(), x.q8.rows(), scalar::dot_q4),
        }
    }

    /// [`Self::matmul_q8`] in the order of [`crate::quant::Q8Dsp`]. `x` comes from [`Self::quantize_dsp`].
    pub(crate) fn matmul_q8_dsp(self, out: Output<'_>, w: DspMatrix<'_>, x: Q8Activations<'_>) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_q8(out, w, x),
            _ => scalar::matmul_q8_dsp(out, w, x),
        }
    }

    /// [`Self::quantize`] in the order of [`crate::quant::Q8Dsp`].
    ///
    /// # Shapes
    /// `x` `[T, cols]`, `records` as long for each token as that order says.
    pub(crate) fn quantize_dsp(self, records: &mut [i8], x: &[f32], cols: usize) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.quantize(records, x, cols),
            _ => scalar::quantize_dsp(records, x, cols),
        }
    }

    /// Turns rows of activations into blocks of integers with a scale each. `x` is used up: a kernel may
    /// keep there what [`Self::matmul_q8`] is to find.
    ///
    /// NaN becomes 0, and a block that holds an infinity becomes zeros with scale 0.
    ///
    /// # Shapes
    /// `x` `[T, cols]`, `quants` `[T, blocks * 32]`, `scales` `[T, blocks]`, `blocks = cols / 32` rounded up.
    pub(crate) fn quantize(
        self,
        quants: &mut [i8],
        scales: &mut [f32],
        x: &mut [f32],
        cols: usize,
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.quantize(quants, scales, x, cols),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.quantize(quants, scales, x, cols),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.quantize(quants, scales, x, cols),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.quantize(quants, scales, x, cols),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.quantize(quants, scales, x, cols),
            _ => scalar::quantize(quants, scales, x, cols),
        }
    }

    /// [`Self::quantize`] for [`Self::matmul_q4`]; where a kernel finds all it needs in `x`, the rest stays as it was.
    pub(crate) fn quantize_q4(
        self,
        quants: &mut [i8],
        scales: &mut [f32],
        x: &mut [f32],
        cols: usize,
    ) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.quantize_q4(quants, scales, x, cols),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.quantize_q4(quants, scales, x, cols),
            _ => self.quantize(quants, scales, x, cols),
        }
    }
}
