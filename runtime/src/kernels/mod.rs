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

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(kernel_dsp)]
mod dsp;
mod scalar;
#[cfg(any(soft_float, test))]
mod soft;
#[cfg(kernel_thumb2)]
mod thumb2;

use half::f16;

use crate::ops;
use crate::parts::part_mut;
use crate::quant::{Activations, DspMatrix, Q8Activations, Q8Matrix};

/// An instruction set known to be present: a value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; the specification of the arithmetic.
    Scalar,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// The DSP extension of Cortex-M with single precision.
    #[cfg(kernel_dsp)]
    Dsp(dsp::Dsp),
    /// Cortex-M3 and other cores with its instructions and no floating point.
    #[cfg(kernel_thumb2)]
    Thumb2(thumb2::Thumb2),
}

impl Isa {
    /// Every set this machine has, [`Self::Scalar`] first and the best last. Without the feature `std` the
    /// compiler's target decides.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(kernel_dsp)]
            dsp::Dsp::detect().map(Self::Dsp),
            #[cfg(kernel_thumb2)]
            thumb2::Thumb2::detect().map(Self::Thumb2),
        ];
        all.into_iter().flatten()
    }

    /// The best of [`Self::available`].
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// `scalar`, `avx2`, `dsp`, `thumb2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(kernel_dsp)]
            Self::Dsp(_) => "dsp",
            #[cfg(kernel_thumb2)]
            Self::Thumb2(_) => "thumb2",
        }
    }

    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    ///
    /// # Shapes
    /// `w` `[rows, cols]`, `x` `[T, cols]`.
    pub(crate) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.matmul_f32(out, w, x, cols),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_f32(out, w, x, cols),
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
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.matmul_f16(out, w, x, cols),
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
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.matmul_q8(out, w, x),
            _ => matmul(out, w.rows(), x.q8.rows(), scalar::dot_q8),
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
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.quantize(quants, scales, x, cols),
            _ => scalar::quantize(quants, scales, x, cols),
        }
    }

    /// Turns values into integers of `bits` bits and a sign with one exponent, `value = integer *
    /// 2^exponent`; returns the exponent, at most `128 - bits`.
    ///
    /// NaN becomes 0. All become 0 if one of them is infinite or beyond `2^127`, or all are below `2^-60`.
    ///
    /// # Shapes
    /// `out` as long as `x` or longer, the rest becomes 0.
    pub(crate) fn integers(self, out: &mut [i16], x: &[f32], bits: i32) -> i32 {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.integers(out, x, bits),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.integers(out, x, bits),
            _ => scalar::integers(out, x, bits),
        }
    }

    /// The largest exponent; 0 if there is none.
    pub(crate) fn largest(self, exponents: &[i8]) -> i32 {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.largest(exponents),
            _ => scalar::largest(exponents),
        }
    }

    /// Scores of a query, which is used up, in integers, and the largest of them.
    ///
    /// `out[t] = dot(query, keys[t]) * multiplier * 2^-(32 + shift + largest - exponents[t])`, rounded down.
    ///
    /// # Shapes
    /// `out` `[T]` or more, `query` `[width]`, `keys` `[T, width]`, `exponents` `[T]`.
    pub(crate) fn scores(
        self,
        out: &mut [i32],
        query: &mut [i16],
        keys: &[i8],
        exponents: &[i8],
        scale: ScoreScale,
    ) -> i32 {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.scores(out, query, keys, exponents, scale),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.scores(out, query, keys, exponents, scale),
            _ => scalar::scores(out, query, keys, exponents, scale),
        }
    }

    /// Scores to what values are multiplied by, in units of `2^-29`; returns the sum of the powers of
    /// the scores in units of `2^-20`, and all bits that the results have.
    ///
    /// `x[t] = 2^-(most - x[t]) * 2^-(most_exponent - exponents[t])`, 0 where `x` is longer than `exponents`.
    ///
    /// # Shapes
    /// `x` `[T]` or more, `exponents` `[T]`; `x` and `most` have `fraction` bits behind the point.
    pub(crate) fn weights(
        self,
        x: &mut [i32],
        exponents: &[i8],
        most: i32,
        most_exponent: i32,
        fraction: u32,
    ) -> (u32, u32) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.weights(x, exponents, most, most_exponent, fraction),
            _ => scalar::weights(x, exponents, most, most_exponent, fraction),
        }
    }

    /// `out[i] = sum_t(w[t] * values[t, i])`, exactly; `w[t]` is `weights[t] * 2^lead`, which has
    /// 30 bits, rounded to its upper 14.
    ///
    /// # Shapes
    /// `out` `[width]`, `weights` `[T]` with `T` even, `values` `[T / 2, width / 2, 2 tokens, 2]`.
    pub(crate) fn weighted_sums(self, out: &mut [i32], weights: &[i32], lead: u32, values: &[i8]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.weighted_sums(out, weights, lead, values),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.weighted_sums(out, weights, lead, values),
            _ => scalar::weighted_sums(out, weights, lead, values),
        }
    }

    /// `out[i] = x[i] / sqrt(mean(x^2) + NORM_EPS) * weight[i]`.
    ///
    /// # Shapes
    /// All `[C]`.
    pub(crate) fn rms_norm(self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.rms_norm(out, x, weight),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.rms_norm(out, x, weight),
            _ => ops::normalize(out, x, (0.0, ops::rms_norm_stats(x)), weight, None),
        }
    }

    /// `y[i] += x[i]`, over the shorter of the two.
    pub(crate) fn add(self, y: &mut [f32], x: &[f32]) {
        match self {
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.add(y, x),
            _ => ops::axpy(y, 1.0, x),
        }
    }

    /// See [`ops::rope`].
    pub(crate) fn rope(self, head: &mut [f32], table: &[f32]) {
        match self {
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.rope(head, table),
            _ => ops::rope(head, table),
        }
    }

    /// `gates[i] = silu(gates[i]) * ups[i]`, over the shorter of the two.
    pub(crate) fn swiglu(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.swiglu(gates, ups),
            _ => {
                for (gate, up) in gates.iter_mut().zip(ups) {
                    *gate = ops::silu(*gate) * up;
                }
            }
        }
    }

    /// [`Self::swiglu`] for values that become 8 bits next: the sigmoid has 16 bits, and the result is the same
    /// bits everywhere.
    ///
    /// `gates[i] = (gates[i] * ups[i]) * (sigmoid_q16(gates[i]) * 2^-16)`
    pub(crate) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.swiglu_q16(gates, ups),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.swiglu_q16(gates, ups),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.swiglu_q16(gates, ups),
            _ => scalar::swiglu_q16(gates, ups),
        }
    }

    /// `out[i] = x[i]`, exactly.
    pub(crate) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.widen_f16(out, x),
            _ => scalar::widen_f16(out, x),
        }
    }
}

/// How products of a query with keys become scores, see [`Isa::scores`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreScale {
    pub(crate) multiplier: i32,
    pub(crate) shift: u32,
    /// The largest exponent of a key.
    pub(crate) largest: i32,
    /// Bits of a score behind its point, 1 to 16.
    pub(crate) fraction: u32,
}

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
