//! The formats of weights: their bytes in registers, and what the kernels do with these.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;

use super::load::{Group, four_words, registers};
use super::tiles::Words;
use crate::kernels::tiles::{ROWS, Row};
use crate::ops::LANES;
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET};

/// A format of weights.
///
/// # Safety
/// All functions need AVX-512 F, BW, DQ, VL and F16C, and [`Self::add`] what the type says.
pub(super) trait Weights: Copy {
    /// Bytes of eight blocks.
    const BYTES: usize;

    /// What is added to each weight.
    const OFFSET: i8;

    /// Of two rows with eight blocks each, one after the other: the block in each lane of their products.
    const ORDER: [i32; 16];

    /// Adds fours of products of bytes.
    unsafe fn add(self, sum: __m512i, w: __m512i, x: __m512i) -> __m512i;

    /// The first eight blocks.
    unsafe fn group(self, bytes: &[i8]) -> Group;

    /// Eight blocks of activations, two a register, as [`Self::group`] has the weights.
    unsafe fn arrange(self, x: Group) -> Group;

    /// The dot products of two rows with activations, from the sums that [`transpose`](super::load::transpose)d words give.
    unsafe fn join(self, rows: [__m512i; 2]) -> __m512i;

    /// What [`Self::dots`] takes of a row's group.
    unsafe fn products(self, row: Group, x: &Group) -> [__m512i; 2];

    /// [`Self::join`] of rows that were not transposed.
    unsafe fn dots(self, rows: [[__m512i; 2]; 2]) -> __m512i;

    /// [`crate::ops::reduce`] of each of two rows.
    unsafe fn reduce(self, sums: __m512) -> [f32; 2];

    /// Block `block` of the rows of a tile.
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Words;
}

/// Weights of eight bits.
#[derive(Clone, Copy)]
pub(super) struct Bytes<const VNNI: bool>;

/// Weights of four bits.
#[derive(Clone, Copy)]
pub(super) struct Nibbles<const VNNI: bool>;

impl<const VNNI: bool> Weights for Bytes<VNNI> {
    const BYTES: usize = LANES * BLOCK;
    const OFFSET: i8 = if VNNI { i8::MIN } else { 0 };
    const ORDER: [i32; 16] = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15];

    #[inline(always)]
    unsafe fn add(self, sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: as of the trait.
        unsafe {
            if VNNI {
                return _mm512_dpbusd_epi32(sum, w, x);
            }
            // The sign of the weight moves to the activation. No pair's sum saturates: |w| is at most 128, |x| 127.
            let x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
            add_pairs(sum, _mm512_abs_epi8(w), x)
        }
    }

    #[inline(always)]
    unsafe fn group(self, bytes: &[i8]) -> Group {
        // SAFETY: as of the trait.
        unsafe { with_offset::<VNNI>(registers(bytes)) }
    }

    #[inline(always)]
    unsafe fn arrange(self, x: Group) -> Group {
        x
    }

    #[inline(always)]
    unsafe fn join(self, [a, b]: [__m512i; 2]) -> __m512i {
        // SAFETY: as of the trait. Halves of blocks lie in neighbouring parts.
        unsafe {
            _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
            )
        }
    }

    #[inline(always)]
    unsafe fn products(self, row: Group, x: &Group) -> [__m512i; 2] {
        // SAFETY: as of the trait.
        unsafe {
            let zero = _mm512_setzero_si512();
            [
                add_words(self.add(zero, row[0], x[0]), self.add(zero, row[1], x[1])),
                add_words(self.add(zero, row[2], x[2]), self.add(zero, row[3], x[3])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dots(self, [a, b]: [[__m512i; 2]; 2]) -> __m512i {
        // SAFETY: as of the trait.
        unsafe { self.join([add_pairs_of_words(a), add_pairs_of_words(b)]) }
    }

    #[inline(always)]
    unsafe fn reduce(self, sums: __m512) -> [f32; 2] {
        // SAFETY: as of the trait.
        unsafe {
            // 0 + 4, 2 + 6; 1 + 5, 3 + 7.
            let pairs = _mm512_add_ps(sums, _mm512_permute_ps::<0b01_00_11_10>(sums));
            let halves = _mm512_add_ps(pairs, _mm512_movehdup_ps(pairs));
            let all = _mm512_add_ps(
                halves,
                _mm512_shuffle_f32x4::<0b10_11_00_01>(halves, halves),
            );
            [
                _mm512_cvtss_f32(all),
                _mm_cvtss_f32(_mm512_extractf32x4_ps::<2>(all)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Words {
        // SAFETY: as of the trait.
        unsafe {
            let [a, b, c, d] = with_offset::<VNNI>(four_words(tile, 2 * block));
            let [e, f, g, h] = with_offset::<VNNI>(four_words(tile, 2 * block + 1));
            [a, b, c, d, e, f, g, h]
        }
    }
}

impl<const VNNI: bool> Weights for Nibbles<VNNI> {
    const BYTES: usize = LANES * Q4_BYTES;
    const OFFSET: i8 = Q4_OFFSET;
    const ORDER: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

    #[inline(always)]
    unsafe fn add(self, sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: as of the trait. No pair's sum saturates: w is at most 15, |x| 127.
        unsafe {
            if VNNI {
                _mm512_dpbusd_epi32(sum, w, x)
            } else {
                add_pairs(sum, w, x)
            }
        }
    }

    /// Low halves and high halves of four blocks, then of the others.
    #[inline(always)]
    unsafe fn group(self, bytes: &[i8]) -> Group {
        // SAFETY: as of the trait.
        unsafe {
            let [a, b] = registers(bytes);
            let [(a, b), (c, d)] = [halves(a), halves(b)];
            [a, b, c, d]
        }
    }

    #[inline(always)]
    unsafe fn arrange(self, [a, b, c, d]: Group) -> Group {
        // SAFETY: as of the trait.
        unsafe {
            [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
            ]
        }
    }

    #[inline(always)]
    unsafe fn join(self, rows: [__m512i; 2]) -> __m512i {
        // SAFETY: as of the trait. Halves of blocks are neighbours.
        unsafe {
            let [a, b] = [_mm512_castsi512_ps(rows[0]), _mm512_castsi512_ps(rows[1])];
            _mm512_add_epi32(
                _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(a, b)),
                _mm512_castps_si512(_mm512_shuffle_ps::<0b11_01_11_01>(a, b)),
            )
        }
    }

    #[inline(always)]
    unsafe fn products(self, row: Group, x: &Group) -> [__m512i; 2] {
        // SAFETY: as of the trait.
        unsafe {
            let zero = _mm512_setzero_si512();
            [
                self.add(self.add(zero, row[0], x[0]), row[1], x[1]),
                self.add(self.add(zero, row[2], x[2]), row[3], x[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dots(self, [[a, b], [c, d]]: [[__m512i; 2]; 2]) -> __m512i {
        // SAFETY: as of the trait.
        unsafe { add_pairs_of_words([add_words(a, b), add_words(c, d)]) }
    }

    #[inline(always)]
    unsafe fn reduce(self, sums: __m512) -> [f32; 2] {
        // SAFETY: as of the trait.
        unsafe {
            // 0 + 4, 1 + 5, 2 + 6, 3 + 7, each in a part of its own, of both rows.
            let pairs = _mm512_add_ps(sums, _mm512_movehdup_ps(sums));
            let halves = _mm512_add_ps(pairs, _mm512_shuffle_f32x4::<0b01_00_11_10>(pairs, pairs));
            let all = _mm_add_ps(
                _mm512_castps512_ps128(halves),
                _mm512_extractf32x4_ps::<1>(halves),
            );
            [_mm_cvtss_f32(all), _mm_cvtss_f32(_mm_movehl_ps(all, all))]
        }
    }

    #[inline(always)]
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Words {
        // SAFETY: as of the trait.
        unsafe {
            let words = four_words(tile, block);
            let [(a, e), (b, f)] = [halves(words[0]), halves(words[1])];
            let [(c, g), (d, h)] = [halves(words[2]), halves(words[3])];
            [a, b, c, d, e, f, g, h]
        }
    }
}

/// Of bytes, the first unsigned: products of two must not be beyond 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_pairs(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
    let pairs = _mm512_maddubs_epi16(w, x);
    _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
}

/// Makes signed bytes unsigned.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_offset<const VNNI: bool>(w: Group) -> Group {
    if !VNNI {
        return w;
    }
    let sign = _mm512_set1_epi8(i8::MIN);
    let [a, b, c, d] = w;
    [
        _mm512_xor_si512(a, sign),
        _mm512_xor_si512(b, sign),
        _mm512_xor_si512(c, sign),
        _mm512_xor_si512(d, sign),
    ]
}

/// Low and high halves of bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn halves(bytes: __m512i) -> (__m512i, __m512i) {
    let mask = _mm512_set1_epi8(15);
    let high = _mm512_srli_epi16::<4>(bytes);
    (_mm512_and_si512(bytes, mask), _mm512_and_si512(high, mask))
}

/// Of each part, the sums of words 0 and 2 and of words 1 and 3 of two registers, side by side. Twice this gives what
/// [`transpose`](super::load::transpose)d registers add up to.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_words(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b))
}

/// The second time.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_pairs_of_words([a, b]: [__m512i; 2]) -> __m512i {
    _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}
