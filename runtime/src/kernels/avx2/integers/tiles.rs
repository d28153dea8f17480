//! Sixteen rows of a tile in two registers.
//!
//! `q8` becomes 16 bits as it is read: `madd` multiplies two neighbours and adds them, exactly. `q4` stays unsigned
//! bytes: a block adds up within 16 bits, in each place 16 products of at most `15 * 127`.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;
use core::mem::transmute;
use core::ptr;

use super::load_i8;
use crate::kernels::tiles::{Block, Format, ROWS, Row, Sums, Tokens};
use crate::ops::LANES;
use crate::parts::copy;
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET};

/// Eight rows, and eight more.
const PARTS: usize = ROWS / LANES;

/// Weights of eight bits.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

/// Weights of four bits.
#[derive(Clone, Copy)]
pub(super) struct Nibbles;

impl Format for Bytes {
    type Sums = [__m256; PARTS];

    /// Pairs `i` and `8 + i` of each row.
    type Words = [[__m256i; BLOCK / 4]; PARTS];

    /// Pairs of 16 bits.
    type Prepared = [i32; BLOCK / 2];

    const BYTES: usize = LANES * BLOCK;

    #[inline(always)]
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Self::Words {
        // SAFETY: as of the trait.
        unsafe { [pairs(tile, 0, block), pairs(tile, 1, block)] }
    }

    #[inline(always)]
    unsafe fn prepare(self, x: &[i8; BLOCK]) -> Self::Prepared {
        // SAFETY: as of the trait, and both are 64 bytes.
        unsafe {
            let x = load_i8(x);
            transmute([
                _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x)),
                _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(x)),
            ])
        }
    }

    #[inline(always)]
    unsafe fn products<const T: usize>(
        self,
        block: &Block<Self>,
        tokens: Tokens<'_, Self>,
    ) -> [Self::Sums; T] {
        // SAFETY: as of the trait. Closures would be functions without the instructions.
        unsafe {
            let mut dots = [[_mm256_setzero_si256(); PARTS]; T];
            let mut scales = [0.0; T];
            let mut x = [&[0; BLOCK / 2]; T];
            for t in 0..T {
                (_, scales[t], x[t]) = tokens.block(t, block);
            }
            for i in 0..BLOCK / 4 {
                // Of rows of this part: pair `i`, then pair `8 + i`.
                let halves = |part: usize| ptr::from_ref(&block.words[part][i]).cast::<__m128i>();
                for half in 0..2 {
                    let a = _mm256_cvtepi8_epi16(_mm_load_si128(halves(0).add(half)));
                    let b = _mm256_cvtepi8_epi16(_mm_load_si128(halves(1).add(half)));
                    for t in 0..T {
                        let pair = _mm256_set1_epi32(x[t][8 * half + i]);
                        let [first, second] = &mut dots[t];
                        *first = _mm256_add_epi32(*first, _mm256_madd_epi16(a, pair));
                        *second = _mm256_add_epi32(*second, _mm256_madd_epi16(b, pair));
                    }
                }
            }
            scaled(dots, block.scales, scales)
        }
    }
}

impl Format for Nibbles {
    type Sums = [__m256; PARTS];

    /// Word `i` of each row.
    type Words = [[__m256i; BLOCK / 4]; PARTS];

    /// The offset of the weights times the sum of the activations, to be taken off.
    type Prepared = i32;

    const BYTES: usize = LANES * Q4_BYTES;

    #[inline(always)]
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Self::Words {
        // SAFETY: as of the trait.
        unsafe { [nibbles(tile, 0, block), nibbles(tile, 1, block)] }
    }

    #[inline(always)]
    unsafe fn prepare(self, x: &[i8; BLOCK]) -> i32 {
        -x.iter().map(|x| i32::from(*x)).sum::<i32>() * i32::from(Q4_OFFSET)
    }

    #[inline(always)]
    unsafe fn products<const T: usize>(
        self,
        block: &Block<Self>,
        tokens: Tokens<'_, Self>,
    ) -> [Self::Sums; T] {
        // SAFETY: as of the trait. Closures would be functions without the instructions.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); PARTS]; T];
            let mut scales = [0.0; T];
            let mut offs = [&0; T];
            let mut x = [&[[0; 4]; 0][..]; T];
            for t in 0..T {
                let (bytes, scale, off) = tokens.block(t, block);
                (scales[t], offs[t]) = (scale, off);
                x[t] = bytes.as_chunks::<4>().0;
            }
            for i in 0..BLOCK / 4 {
                for t in 0..T {
                    let word = i32::from_le_bytes(x[t][i].map(i8::cast_unsigned));
                    let word = _mm256_set1_epi32(word);
                    for part in 0..PARTS {
                        let pairs = _mm256_maddubs_epi16(block.words[part][i], word);
                        sums[t][part] = _mm256_add_epi16(sums[t][part], pairs);
                    }
                }
            }
            let ones = _mm256_set1_epi16(1);
            for t in 0..T {
                let off = _mm256_set1_epi32(*offs[t]);
                for sum in &mut sums[t] {
                    *sum = _mm256_add_epi32(_mm256_madd_epi16(*sum, ones), off);
                }
            }
            scaled(sums, block.scales, scales)
        }
    }
}

impl Sums for [__m256; PARTS] {
    #[inline(always)]
    unsafe fn scales(tile: &[Row<'_>; ROWS], block: usize) -> Self {
        // SAFETY: as of the trait.
        unsafe { [eight_scales(tile, 0, block), eight_scales(tile, 1, block)] }
    }

    #[inline(always)]
    unsafe fn zeros() -> Self {
        // SAFETY: as of the trait.
        unsafe { [_mm256_setzero_ps(); PARTS] }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as of the trait.
        unsafe {
            [
                _mm256_add_ps(self[0], other[0]),
                _mm256_add_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn put(self, out: &mut [f32], adds: bool) {
        // SAFETY: both are 64 bytes, and all bits are numbers.
        let sums: [f32; ROWS] = unsafe { transmute(self) };
        match out.as_mut_array::<ROWS>() {
            Some(out) if adds => add_to(out, &sums),
            Some(out) => *out = sums,
            None if adds => add_to(out, &sums),
            None => copy(out, &sums),
        }
    }
}

#[inline(always)]
fn add_to(out: &mut [f32], sums: &[f32]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out += sum;
    }
}

/// Block `block` of eight rows: pairs `i` and `8 + i` of each.
#[inline(always)]
unsafe fn pairs(tile: &[Row<'_>; ROWS], part: usize, block: usize) -> [__m256i; BLOCK / 4] {
    // SAFETY: as of the trait.
    unsafe {
        let mut fours = [[_mm256_setzero_si256(); 4]; 2];
        for half in 0..2 {
            let first = LANES * part + 4 * half;
            let (a, b) = (whole(&tile[first], block), whole(&tile[first + 1], block));
            let (c, d) = (
                whole(&tile[first + 2], block),
                whole(&tile[first + 3], block),
            );
            let (ab, cd) = (_mm256_unpacklo_epi16(a, b), _mm256_unpacklo_epi16(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_epi16(a, b), _mm256_unpackhi_epi16(c, d));
            fours[half] = [
                _mm256_unpacklo_epi32(ab, cd),
                _mm256_unpackhi_epi32(ab, cd),
                _mm256_unpacklo_epi32(ab_high, cd_high),
                _mm256_unpackhi_epi32(ab_high, cd_high),
            ];
        }
        let [[a, b, c, d], [e, f, g, h]] = fours;
        [
            _mm256_unpacklo_epi64(a, e),
            _mm256_unpackhi_epi64(a, e),
            _mm256_unpacklo_epi64(b, f),
            _mm256_unpackhi_epi64(b, f),
            _mm256_unpacklo_epi64(c, g),
            _mm256_unpackhi_epi64(c, g),
            _mm256_unpacklo_epi64(d, h),
            _mm256_unpackhi_epi64(d, h),
        ]
    }
}

/// A block of a row of [`Bytes`].
#[inline(always)]
unsafe fn whole(row: &Row<'_>, block: usize) -> __m256i {
    debug_assert!(BLOCK * (block + 1) <= row.bytes.len());
    // SAFETY: as of the trait, the row has such a block; the load needs no alignment.
    unsafe { _mm256_loadu_si256(row.bytes.as_ptr().add(BLOCK * block).cast()) }
}

/// Block `block` of eight rows, a number a byte.
#[inline(always)]
unsafe fn nibbles(tile: &[Row<'_>; ROWS], part: usize, block: usize) -> [__m256i; BLOCK / 4] {
    // SAFETY: as of the trait.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        let [a, b, c, d] = four_words(tile, part, block);
        let (e, f) = (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b));
        let (g, h) = (_mm256_srli_epi16::<4>(c), _mm256_srli_epi16::<4>(d));
        [
            _mm256_and_si256(a, mask),
            _mm256_and_si256(b, mask),
            _mm256_and_si256(c, mask),
            _mm256_and_si256(d, mask),
            _mm256_and_si256(e, mask),
            _mm256_and_si256(f, mask),
            _mm256_and_si256(g, mask),
            _mm256_and_si256(h, mask),
        ]
    }
}

/// The four words of bytes `16 * i..` of each of eight rows, word by word.
#[inline(always)]
unsafe fn four_words(tile: &[Row<'_>; ROWS], part: usize, i: usize) -> [__m256i; 4] {
    // SAFETY: as of the trait.
    unsafe {
        let mut rows = [_mm256_setzero_si256(); 4];
        for r in 0..4 {
            let row = LANES * part + r;
            rows[r] = _mm256_set_m128i(sixteen(&tile[row + 4], i), sixteen(&tile[row], i));
        }
        let [a, b, c, d] = rows;
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}

/// Bytes `16 * i..` of a row.
#[inline(always)]
unsafe fn sixteen(row: &Row<'_>, i: usize) -> __m128i {
    debug_assert!(16 * (i + 1) <= row.bytes.len());
    // SAFETY: as of the trait, the row has such bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(row.bytes.as_ptr().add(16 * i).cast()) }
}

/// Scale `block` of eight rows. Not by way of an array: a load waits for narrower stores before it.
#[inline(always)]
unsafe fn eight_scales(tile: &[Row<'_>; ROWS], part: usize, block: usize) -> __m256 {
    // SAFETY: as of the trait, rows have such a block.
    unsafe {
        let scale = |r: usize| {
            let scales = tile[LANES * part + r].scales;
            scales.get_unchecked(block).to_bits().cast_signed()
        };
        _mm256_cvtph_ps(_mm_setr_epi16(
            scale(0),
            scale(1),
            scale(2),
            scale(3),
            scale(4),
            scale(5),
            scale(6),
            scale(7),
        ))
    }
}

/// `f32(dots[t]) * (w * x[t])`
#[inline(always)]
unsafe fn scaled<const T: usize>(
    dots: [[__m256i; PARTS]; T],
    w: [__m256; PARTS],
    x: [f32; T],
) -> [[__m256; PARTS]; T] {
    // SAFETY: as of the trait.
    unsafe {
        let mut products = [[_mm256_setzero_ps(); PARTS]; T];
        for t in 0..T {
            let x = _mm256_set1_ps(x[t]);
            for part in 0..PARTS {
                let exact = _mm256_cvtepi32_ps(dots[t][part]);
                products[t][part] = _mm256_mul_ps(exact, _mm256_mul_ps(w[part], x));
            }
        }
        products
    }
}
