//! Queries, keys, values and attention.

#[cfg(feature = "kv-float")]
use half::f16;

use super::Isa;
#[cfg(feature = "rayon")]
use crate::kernels::Tile;
use crate::kernels::{Attention, Heads, Row, scalar};
use crate::ops;

impl Isa {
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

    /// Turns keys or values of a token into integers of [`crate::kernels::KEPT_BITS`], as [`Self::integers`] does, at their place.
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
}
