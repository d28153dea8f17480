//! Loads of blocks and scales, zeros where there are none, and words turned round.

use core::arch::x86_64::*;

use half::f16;

use crate::kernels::avx512::lanes_below;
use crate::kernels::tiles::{ROWS, Row};
use crate::ops::LANES;

/// Eight blocks of a row, in four registers of four parts; or the same transposed, see [`transpose`].
pub(super) type Group = [__m512i; 4];

/// The first `64 * N` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn registers<const N: usize>(bytes: &[i8]) -> [__m512i; N] {
    let mut registers = [_mm512_setzero_si512(); N];
    if let Some(chunks) = bytes.as_chunks::<64>().0.first_chunk::<N>() {
        for (register, chunk) in registers.iter_mut().zip(chunks) {
            // SAFETY: the array is 64 readable bytes; the load needs no alignment.
            *register = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        }
        return registers;
    }
    for (i, register) in registers.iter_mut().enumerate() {
        let there = lanes_below(bytes.len().saturating_sub(64 * i));
        let from = bytes.as_ptr().wrapping_add(64 * i);
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        *register = unsafe { _mm512_maskz_loadu_epi8(there, from) };
    }
    registers
}

/// Word `i` of each 128-bit part of each register becomes word `register` of that part of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose([a, b, c, d]: Group) -> Group {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The four words of bytes `16 * i..` of each row, transposed.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn four_words(tile: &[Row<'_>; ROWS], i: usize) -> Group {
    let load = |r: usize| {
        let bytes = tile[r].bytes.as_chunks::<16>().0.get(i);
        let bytes = bytes.copied().unwrap_or_default();
        // SAFETY: the array is 16 readable bytes; the load needs no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let mut rows = [_mm512_setzero_si512(); 4];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = _mm512_castsi128_si512(load(r));
        *row = _mm512_inserti32x4::<1>(*row, load(r + 4));
        *row = _mm512_inserti32x4::<2>(*row, load(r + 8));
        *row = _mm512_inserti32x4::<3>(*row, load(r + 12));
    }
    transpose(rows)
}

/// Scale `i` of each row of a tile.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn tile_scales(tile: &[Row<'_>; ROWS], i: usize) -> __m512 {
    let scales = tile.map(|row| row.scales.get(i).copied().unwrap_or_default());
    // SAFETY: the array is 32 readable bytes; the load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) })
}

/// The first eight scales of two rows, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn pair_scales([a, b]: [&[f16]; 2]) -> __m512 {
    let load = |x: &[f16]| match x.first_chunk::<LANES>() {
        // SAFETY: the array is 16 readable bytes; the load needs no alignment.
        Some(x) => unsafe { _mm_loadu_si128(x.as_ptr().cast()) },
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        None => unsafe { _mm_maskz_loadu_epi16(lanes_below(x.len()) as u8, x.as_ptr().cast()) },
    };
    _mm512_cvtph_ps(_mm256_set_m128i(load(b), load(a)))
}

/// The first eight numbers, zeros where there are fewer, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
pub(super) fn twice(x: &[f32]) -> __m512 {
    // SAFETY: only as many bytes are read as there are; the load needs no alignment.
    _mm512_broadcast_f32x8(unsafe { _mm256_maskz_loadu_ps(lanes_below(x.len()) as u8, x.as_ptr()) })
}
