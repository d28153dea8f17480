//! Sixteen rows of a tile in a register.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;

use super::load::tile_scales;
use super::weights::Weights;
use crate::kernels::avx512::lanes_below;
use crate::kernels::tiles::{Block, Format, ROWS, Row, Sums, Tokens};
use crate::quant::BLOCK;

/// Words of a block: word `i` of each row.
pub(super) type Words = [__m512i; BLOCK / 4];

/// Weights as tiles have them.
#[derive(Clone, Copy)]
pub(super) struct Tiled<W: Weights>(pub(super) W);

impl<W: Weights> Format for Tiled<W> {
    type Sums = __m512;
    type Words = Words;

    /// The offset of the weights times the sum of the activations, to be taken off.
    type Prepared = i32;

    const BYTES: usize = W::BYTES;

    #[inline(always)]
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Words {
        // SAFETY: as of the trait.
        unsafe { self.0.words(tile, block) }
    }

    #[inline(always)]
    unsafe fn prepare(self, x: &[i8; BLOCK]) -> i32 {
        // SAFETY: as of the trait, and the array is 32 readable bytes; the load needs no alignment.
        unsafe {
            let x = _mm512_zextsi256_si512(_mm256_loadu_si256(x.as_ptr().cast()));
            let offset = _mm512_set1_epi8(W::OFFSET);
            -_mm512_reduce_add_epi32(self.0.add(_mm512_setzero_si512(), offset, x))
        }
    }

    #[inline(always)]
    unsafe fn products<const T: usize>(
        self,
        block: &Block<Self>,
        tokens: Tokens<'_, Self>,
    ) -> [__m512; T] {
        // SAFETY: as of the trait. Closures would be functions without the instructions.
        unsafe {
            let mut dots = [_mm512_setzero_si512(); T];
            let mut scales = [_mm512_setzero_ps(); T];
            let mut x = [&[[0; 4]; 0][..]; T];
            for t in 0..T {
                let (bytes, scale, off) = tokens.block(t, block);
                dots[t] = _mm512_set1_epi32(*off);
                scales[t] = _mm512_mul_ps(block.scales, _mm512_set1_ps(scale));
                x[t] = bytes.as_chunks::<4>().0;
            }
            for i in 0..BLOCK / 4 {
                for t in 0..T {
                    let word = i32::from_le_bytes(x[t][i].map(i8::cast_unsigned));
                    dots[t] = self.0.add(dots[t], block.words[i], _mm512_set1_epi32(word));
                }
            }
            let mut products = [_mm512_setzero_ps(); T];
            for t in 0..T {
                products[t] = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[t]), scales[t]);
            }
            products
        }
    }
}

impl Sums for __m512 {
    #[inline(always)]
    unsafe fn scales(tile: &[Row<'_>; ROWS], block: usize) -> Self {
        // SAFETY: as of the trait.
        unsafe { tile_scales(tile, block) }
    }

    #[inline(always)]
    unsafe fn zeros() -> Self {
        // SAFETY: as of the trait.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as of the trait.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn put(mut self, out: &mut [f32], adds: bool) {
        let mask = lanes_below(out.len()) as u16;
        let out = out.as_mut_ptr();
        // SAFETY: as of the trait, and the mask has a lane for each place.
        unsafe {
            if adds {
                self = _mm512_maskz_loadu_ps(mask, out).add(self);
            }
            _mm512_mask_storeu_ps(out, mask, self);
        }
    }
}
