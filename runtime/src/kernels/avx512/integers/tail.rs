//! Blocks behind the last eight of a row: up to four share the registers of a group with those of one
//! other row, up to two with those of three.

use core::arch::x86_64::*;

use super::load::load_f16;
use super::{Group, ORDER, ROWS, Row, Token, join, transpose};
use crate::ops::LANES;

/// With how many rows the blocks of the last group share registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// They have them for themselves.
    Alone,
    /// Up to four blocks: two rows.
    Pair,
    /// Up to two blocks: four rows.
    Four,
}

/// A lane that takes nothing.
const NONE: i32 = -1;

impl Tail {
    /// Of rows of `n_blocks`.
    pub(super) const fn of(n_blocks: usize) -> Self {
        match n_blocks % LANES {
            1 | 2 => Self::Four,
            3 | 4 => Self::Pair,
            _ => Self::Alone,
        }
    }

    /// Blocks of a token, once for each of the rows that share.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn repeat(self, [a, b, c, d]: Group) -> Group {
        match self {
            Self::Alone => [a, b, c, d],
            Self::Pair => [a, b, a, b],
            Self::Four => [a; 4],
        }
    }

    /// Scales of a token's blocks in the order of its lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn token_scales(self, scales: __m256) -> __m512 {
        let order = match self {
            Self::Alone => ORDER,
            Self::Pair => [0, 2, 0, 2, 1, 3, 1, 3, 0, 2, 0, 2, 1, 3, 1, 3],
            Self::Four => [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1],
        };
        _mm512_permutexvar_ps(load(&order), _mm512_castps256_ps512(scales))
    }

    /// The same of the rows of a tile.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
    pub(super) fn row_scales(self, tile: &[Row<'_>; ROWS], group: usize) -> __m512 {
        let scales = |r: usize| load_f16(tile[r].scales.get(group * LANES..).unwrap_or_default());
        let pair = |r| {
            let low = _mm512_castps256_ps512(scales(r));
            _mm512_insertf32x8::<1>(low, scales(r + 1))
        };
        // Eight of each row.
        let order = match self {
            Self::Four => [0, 8, 16, 24, 1, 9, 17, 25, 0, 8, 16, 24, 1, 9, 17, 25],
            _ => [0, 2, 8, 10, 1, 3, 9, 11, 16, 18, 24, 26, 17, 19, 25, 27],
        };
        _mm512_permutex2var_ps(pair(0), load(&order), pair(2))
    }

    /// Adds the products of rows `w` with each token to its sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
    pub(super) fn add_dots<'t>(
        self,
        tokens: impl Iterator<Item = (&'t Token, &'t mut [__m512; ROWS / 2])>,
        w: [Group; ROWS],
        w_scales: __m512,
        add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    ) {
        let [a, b, c, d] = w;
        let shared = match self {
            Self::Four => [a[0], b[0], c[0], d[0]],
            _ => [a[0], a[1], b[0], b[1]],
        };
        let (first, second) = (transpose(shared), transpose([c[0], c[1], d[0], d[1]]));
        let places = self.places();
        for (x, sums) in tokens {
            let dots = |w: &Group| {
                let mut dots = x.off;
                for i in 0..4 {
                    dots = add(dots, w[i], x.quants[i]);
                }
                dots
            };
            let low = dots(&first);
            let high = if self == Self::Four {
                low
            } else {
                dots(&second)
            };
            let exact = _mm512_cvtepi32_ps(join(low, high));
            let scaled = _mm512_mul_ps(exact, _mm512_mul_ps(w_scales, x.scales));
            for (sum, (place, there)) in sums.iter_mut().zip(places) {
                *sum = _mm512_add_ps(*sum, _mm512_maskz_permutexvar_ps(there, place, scaled));
            }
        }
    }

    /// For each pair of rows, the lane of products that goes to each lane of its sums, and which lanes get one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn places(self) -> [(__m512i, __mmask16); ROWS / 2] {
        const N: i32 = NONE;
        let places = match self {
            Self::Four => [
                [0, N, N, N, 4, N, N, N, 1, N, N, N, 5, N, N, N],
                [2, N, N, N, 6, N, N, N, 3, N, N, N, 7, N, N, N],
            ],
            _ => [
                [0, 1, N, N, 4, 5, N, N, 2, 3, N, N, 6, 7, N, N],
                [8, 9, N, N, 12, 13, N, N, 10, 11, N, N, 14, 15, N, N],
            ],
        };
        places.map(|places| {
            let places = load(&places);
            (
                places,
                _mm512_cmpge_epi32_mask(places, _mm512_setzero_si512()),
            )
        })
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(lanes: &[i32; 16]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}
