//! Groups of blocks and their scales in registers, zeros where there are none.

use core::arch::x86_64::*;

use half::f16;

use super::{GROUP, Group, Q4_GROUP};
use crate::ops::LANES;

/// The first 256 bytes, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q8_group(bytes: &[i8]) -> Group {
    let mut group = [_mm512_setzero_si512(); 4];
    if let Some(bytes) = bytes.first_chunk::<GROUP>() {
        for (part, bytes) in group.iter_mut().zip(bytes.as_chunks::<64>().0) {
            // SAFETY: the array is 64 readable bytes; the load needs no alignment.
            *part = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        }
        return group;
    }
    for (i, part) in group.iter_mut().enumerate() {
        let there = bytes.len().saturating_sub(i * 64);
        let from = bytes.as_ptr().wrapping_add(i * 64);
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        *part = unsafe { _mm512_maskz_loadu_epi8(first(there), from) };
    }
    group
}

/// The halves of the first 128 bytes as bytes, zeros where there are fewer; two blocks a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn q4_group(bytes: &[i8]) -> Group {
    let mut group = [_mm512_setzero_si512(); 4];
    let halves = |blocks, twice| {
        let blocks = _mm512_permutexvar_epi64(twice, blocks);
        let shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
        _mm512_and_si512(_mm512_srlv_epi64(blocks, shifts), _mm512_set1_epi8(15))
    };
    let first_two = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3);
    if let Some(bytes) = bytes.first_chunk::<Q4_GROUP>() {
        let last_two = _mm512_setr_epi64(4, 5, 4, 5, 6, 7, 6, 7);
        for (parts, bytes) in group
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(bytes.as_chunks::<64>().0)
        {
            // SAFETY: the array is 64 readable bytes; the load needs no alignment.
            let blocks = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            *parts = [halves(blocks, first_two), halves(blocks, last_two)];
        }
        return group;
    }
    for (i, part) in group.iter_mut().enumerate() {
        let there = bytes.len().saturating_sub(i * 32);
        let from = bytes.as_ptr().wrapping_add(i * 32);
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        let blocks = unsafe { _mm256_maskz_loadu_epi8(first(there) as u32, from) };
        *part = halves(_mm512_castsi256_si512(blocks), first_two);
    }
    group
}

/// A mask of the first `n` of 64.
#[inline(always)]
pub(in super::super) fn first(n: usize) -> u64 {
    if n < 64 { (1 << n) - 1 } else { u64::MAX }
}

/// The first eight numbers, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(super) fn load_f16(x: &[f16]) -> __m256 {
    let bits = match x.first_chunk::<LANES>() {
        // SAFETY: the array is 16 readable bytes; the load needs no alignment.
        Some(x) => unsafe { _mm_loadu_si128(x.as_ptr().cast()) },
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        None => unsafe { _mm_maskz_loadu_epi16(first(x.len()) as u8, x.as_ptr().cast()) },
    };
    _mm256_cvtph_ps(bits)
}

/// The first eight numbers, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn load_f32(x: &[f32]) -> __m256 {
    // SAFETY: only as many bytes are read as there are; the load needs no alignment.
    unsafe { _mm256_maskz_loadu_ps(first(x.len()) as u8, x.as_ptr()) }
}
