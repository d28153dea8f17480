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
#[cfg(kernel_dsp)]
pub(crate) use self::dsp::root;
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

use half::f16;

#[cfg(feature = "rayon")]
pub(crate) use self::attention::Tile;
pub(crate) use self::attention::{
    Attention, BaseScale, Heads, KEPT_BITS, PIECE as NARROW_TOKENS, Row,
};
use crate::ops;
use crate::parts::part_mut;
use crate::quant::{Activations, DspMatrix, Q4Matrix, Q8Activations, Q8Matrix};

/// An instruction set known to be present: a value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; the specification of the arithmetic. Absent where every core of the target has `Self::Dsp`.
    #[cfg(kernel_scalar)]
    Scalar,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512 with or without VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// The DSP extension of Cortex-M with single precision.
    #[cfg(kernel_dsp)]
    Dsp(dsp::Dsp),
    /// Cortex-M3 and other cores with its instructions and no floating point.
    #[cfg(kernel_thumb2)]
    Thumb2(thumb2::Thumb2),
    /// NEON with or without the dot product instructions.
    #[cfg(kernel_neon)]
    Neon(neon::Neon),
    /// WebAssembly's vectors.
    #[cfg(kernel_simd128)]
    Simd128(simd128::Simd128),
}

impl Isa {
    /// Every set this machine has, scalar first and the best last. Without the feature `std` the
    /// compiler's target decides; on bare metal a register of the processor does where one tells.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let [avx512, avx512_vnni] = avx512::Avx512::detect();
        #[cfg(kernel_neon)]
        let [neon, neon_dot_product] = neon::Neon::detect();
        let all = [
            #[cfg(kernel_scalar)]
            Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            avx512.map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx512_vnni.map(Self::Avx512),
            #[cfg(kernel_dsp)]
            dsp::Dsp::detect().map(Self::Dsp),
            #[cfg(kernel_thumb2)]
            thumb2::Thumb2::detect().map(Self::Thumb2),
            #[cfg(kernel_neon)]
            neon.map(Self::Neon),
            #[cfg(kernel_neon)]
            neon_dot_product.map(Self::Neon),
            #[cfg(kernel_simd128)]
            Some(Self::Simd128(simd128::Simd128::CERTAIN)),
        ];
        all.into_iter().flatten()
    }

    /// The best of [`Self::available`].
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(kernel_scalar)]
        return Self::available().last().unwrap_or(Self::Scalar);
        #[cfg(not(kernel_scalar))]
        return Self::Dsp(dsp::Dsp::CERTAIN);
    }

    /// `scalar`, `avx2`, `avx512`, `avx512-vnni`, `dsp`, `thumb2`, `neon`, `neon-dotprod`, `simd128`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(kernel_scalar)]
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) if isa.vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(kernel_dsp)]
            Self::Dsp(_) => "dsp",
            #[cfg(kernel_thumb2)]
            Self::Thumb2(_) => "thumb2",
            #[cfg(kernel_neon)]
            Self::Neon(isa) if isa.dot_product.is_some() => "neon-dotprod",
            #[cfg(kernel_neon)]
            Self::Neon(_) => "neon",
            #[cfg(kernel_simd128)]
            Self::Simd128(_) => "simd128",
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

    /// Attention of one head, if this set has a kernel for it; returns whether it has.
    ///
    /// `scores = softmax_t(query . keys[t] / sqrt(HS))`, `out = sum_t(scores[t] values[t])`.
    ///
    /// # Shapes
    /// `out`, `query` `[HS]`, `scores` `[T]`, `keys`, `values` `[T, HS]`.
    #[cfg(feature = "kv-float")]
    pub(crate) fn attend_f32(
        self,
        _out: &mut [f32],
        _scores: &mut [f32],
        _query: &[f32],
        _keys: &[f32],
        _values: &[f32],
    ) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            isa.attend_f32(_out, _scores, _query, _keys, _values);
            return true;
        }
        #[cfg(any(kernel_neon, kernel_simd128))]
        if let Some(isa) = self.registers() {
            isa.attend_f32(_out, _scores, _query, _keys, _values);
            return true;
        }
        false
    }

    /// [`Self::attend_f32`] over a cache in half precision.
    #[cfg(feature = "kv-float")]
    pub(crate) fn attend_f16(
        self,
        _out: &mut [f32],
        _scores: &mut [f32],
        _query: &[f32],
        _keys: &[f16],
        _values: &[f16],
    ) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            isa.attend_f16(_out, _scores, _query, _keys, _values);
            return true;
        }
        #[cfg(any(kernel_neon, kernel_simd128))]
        if let Some(isa) = self.registers() {
            isa.attend_f16(_out, _scores, _query, _keys, _values);
            return true;
        }
        false
    }

    /// Whether this set has a kernel for [`Self::attend_tile`].
    #[cfg(feature = "rayon")]
    pub(crate) const fn has_tiles(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => true,
            _ => false,
        }
    }

    /// [`Self::attend_f16`] of a tile, if this set has a kernel for it.
    #[cfg(feature = "rayon")]
    pub(crate) fn attend_tile(self, _tile: Tile<'_>) {
        #[cfg(target_arch = "x86_64")]
        if let Self::Avx512(isa) = self {
            isa.attend_tile(_tile);
        }
    }

    /// AVX2 as this set or a part of it.
    #[cfg(target_arch = "x86_64")]
    const fn avx2(self) -> Option<avx2::Avx2> {
        match self {
            #[cfg(kernel_scalar)]
            Self::Scalar => None,
            Self::Avx2(isa) => Some(isa),
            Self::Avx512(isa) => Some(isa.avx2),
        }
    }

    /// NEON.
    #[cfg(all(kernel_neon, feature = "kv-float"))]
    const fn registers(self) -> Option<neon::Neon> {
        match self {
            Self::Scalar => None,
            Self::Neon(isa) => Some(isa),
        }
    }

    /// `simd128`.
    #[cfg(all(kernel_simd128, feature = "kv-float"))]
    const fn registers(self) -> Option<simd128::Simd128> {
        match self {
            Self::Scalar => None,
            Self::Simd128(isa) => Some(isa),
        }
    }

    /// Does `work`, whose loops the compiler may write with the instructions of this set.
    #[inline(always)]
    pub(crate) fn vectorized<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            return isa.vectorized(work);
        }
        work()
    }

    /// Turns each head of `head_size` values into integers of `bits` bits and a sign with one exponent, `value =
    /// integer * 2^exponent`; an exponent is at most `128 - bits`.
    ///
    /// NaN becomes 0. All of a head become 0 if one of them is infinite or beyond `2^127`, or all are below
    /// `2^-60`.
    ///
    /// # Shapes
    /// `x` `[heads, head_size]`, `exponents` `[heads]`, `out` `[heads, width]`, filled up with 0.
    pub(crate) fn integers(
        self,
        out: &mut [i16],
        exponents: &mut [i8],
        x: &[f32],
        head_size: usize,
        bits: i32,
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.integers(out, exponents, x, head_size, bits),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.integers(out, exponents, x, head_size, bits),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.integers(out, exponents, x, head_size, bits),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.integers(out, exponents, x, head_size, bits),
            _ => self.vectorized(|| scalar::integers(out, exponents, x, head_size, bits)),
        }
    }

    /// Turns keys or values of a token into integers of [`KEPT_BITS`], as [`Self::integers`] does, at their place.
    ///
    /// # Shapes
    /// `x` `[n_head_kv, HS]`
    pub(crate) fn keep(self, row: Row<'_>, x: &[f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.keep(row, x),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.keep(row, x),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.keep(row, x),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.keep(row, x),
            _ => scalar::keep(row, x),
        }
    }

    /// Attention of some heads of a token.
    ///
    /// `out[h] = sum_t softmax_t(query[h] . keys[g, t] / sqrt(HS)) values[g, t]`, `g` being the head's group, in integers
    /// up to the last product.
    pub(crate) fn attend(self, attention: Attention<'_>, heads: Heads<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.vectorized(|| {
                attention.each_group(heads, |group, heads| {
                    scalar::attend_with(isa, group, heads);
                });
            }),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.vectorized(|| {
                attention.each_group(heads, |group, heads| {
                    scalar::attend_with(isa, group, heads);
                });
            }),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.attend(attention, heads),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => {
                attention.each_group(heads, |group, heads| isa.attend(group, heads))
            }
            _ => self.vectorized(|| attention.each_group(heads, scalar::attend)),
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
            _ => self.vectorized(|| {
                ops::normalize(out, x, (0.0, ops::rms_norm_stats(x)), weight, None);
            }),
        }
    }

    /// `y += x`, over the shorter of the two.
    pub(crate) fn add(self, y: &mut [f32], x: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.add(y, x),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.add(y, x),
            _ => self.vectorized(|| ops::axpy(y, 1.0, x)),
        }
    }

    /// [`ops::rope`] of some heads.
    ///
    /// # Shapes
    /// `heads` `[heads, HS]`, `table` `[HS]`.
    pub(crate) fn rope(self, heads: &mut [f32], table: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.rope(heads, table),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.rope(heads, table),
            _ => self.vectorized(|| ops::rope_heads(heads, table)),
        }
    }

    /// `gates[i] = silu(gates[i]) * ups[i]`, over the shorter of the two.
    pub(crate) fn swiglu(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.swiglu(gates, ups),
            _ => self.vectorized(|| {
                for (gate, up) in gates.iter_mut().zip(ups) {
                    *gate = ops::silu(*gate) * up;
                }
            }),
        }
    }

    /// `out[i]` is the half precision number nearest to `x[i]`; beyond its range the largest, for NaN 0.
    #[cfg(feature = "kv-float")]
    pub(crate) fn narrow_f16(self, out: &mut [f16], x: &[f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            return isa.narrow_f16(out, x);
        }
        #[cfg(any(kernel_neon, kernel_simd128))]
        if let Some(isa) = self.registers() {
            return isa.narrow_f16(out, x);
        }
        scalar::narrow_f16(out, x);
    }

    /// [`Self::swiglu`] for values that become 8 bits next: the sigmoid has 16 bits, and the result is the same
    /// bits everywhere.
    ///
    /// `gates[i] = (gates[i] * ups[i]) * (sigmoid_q16(gates[i]) * 2^-16)`
    pub(crate) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.swiglu_q16(gates, ups),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.swiglu_q16(gates, ups),
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
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.widen_f16(out, x),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.widen_f16(out, x),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.widen_f16(out, x),
            #[cfg(kernel_dsp)]
            Self::Dsp(_) => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = dsp::widened(*x);
                }
            }
            _ => scalar::widen_f16(out, x),
        }
    }
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
