//! Attention of a head for four tokens together, over a cache in half precision: each key and value is widened
//! once for all four. Every number is summed up in the order of [`crate::ops`], as for one token.

use core::arch::x86_64::*;

use half::f16;

use super::lanes_below;
use crate::kernels::Tile;
use crate::kernels::avx2::softmax;
use crate::math;
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};

/// Tokens of a tile.
const TOKENS: usize = Tile::TOKENS;

/// Keys that share a query's loads.
const KEYS: usize = 8;

/// Values of a register.
const WIDTH: usize = 16;

/// Registers of a token's output that are summed up together.
const WIDE: usize = 4;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) fn attend_tile(mut tile: Tile<'_>) {
    let n = tile.n + TOKENS - 1;
    let room = Tile::scores(n) / TOKENS;
    scores(&mut tile, n, room);
    for t in 0..TOKENS {
        let scores = part_mut(tile.scores, t * room, n);
        let (own, later) = scores.split_at_mut(tile.n + t);
        softmax(own);
        // In half precision all values are finite: times 0 they change no sum.
        later.fill(0.0);
    }
    let mut column = 0;
    while column < tile.head_size {
        column += match (tile.head_size - column).div_ceil(WIDTH) {
            1 => weighted_sums::<1>(&mut tile, column, n, room),
            2 => weighted_sums::<2>(&mut tile, column, n, room),
            3 => weighted_sums::<3>(&mut tile, column, n, room),
            _ => weighted_sums::<WIDE>(&mut tile, column, n, room),
        };
    }
}

/// `scores[t, i] = query[t] . keys[i] / sqrt(HS)` of `n` keys, `room` apart; also of those behind a token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn scores(tile: &mut Tile<'_>, n: usize, room: usize) {
    let head_size = tile.head_size;
    let scale = _mm512_set1_ps(1.0 / math::sqrt(head_size as f32));
    let queries = [0, 1, 2, 3].map(|t| head(tile.queries, t * tile.query_stride, head_size));
    let whole = head_size / LANES * LANES;
    for first in (0..n).step_by(KEYS) {
        // Where keys are missing the last one stands in.
        let keys = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| {
            let place = (first + i).min(n - 1) * head_size;
            head(tile.keys, place, head_size)
        });
        // Two keys a register.
        let mut lanes = [[_mm512_setzero_ps(); TOKENS]; KEYS / 2];
        for column in (0..whole).step_by(LANES) {
            // SAFETY: queries and keys have `head_size` values.
            unsafe { add_products(&mut lanes, &keys, &queries, column, u8::MAX) };
        }
        if whole < head_size {
            let there = lanes_below(head_size - whole) as u8;
            // SAFETY: as above, and no others are read.
            unsafe { add_products(&mut lanes, &keys, &queries, whole, there) };
        }
        let fours = lanes
            .as_chunks::<2>()
            .0
            .iter()
            .take((n - first).div_ceil(4));
        for (i, lanes) in fours.enumerate() {
            let mut sums = [[0.0; 4]; TOKENS];
            let all = _mm512_mul_ps(reduce(*lanes), scale);
            // SAFETY: the array is 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().cast(), all) };
            for (t, sums) in sums.iter().enumerate() {
                copy(part_mut(tile.scores, t * room + first + 4 * i, 4), sums);
            }
        }
    }
}

/// Adds the products of eight values from `column` on, of those that are `there`.
///
/// # Safety
/// Keys and queries have these.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn add_products(
    lanes: &mut [[__m512; TOKENS]; KEYS / 2],
    keys: &[&[f16]; KEYS],
    queries: &[&[f32]; TOKENS],
    column: usize,
    there: u8,
) {
    let mut wide = [_mm512_setzero_ps(); KEYS / 2];
    for (i, wide) in wide.iter_mut().enumerate() {
        // SAFETY: the caller knows that they are there.
        *wide = unsafe { pair(keys[2 * i], keys[2 * i + 1], column, there) };
    }
    for t in 0..TOKENS {
        let query = queries[t].as_ptr().wrapping_add(column);
        // SAFETY: as above; the load needs no alignment.
        let query = _mm512_broadcast_f32x8(unsafe { _mm256_maskz_loadu_ps(there, query) });
        for i in 0..KEYS / 2 {
            lanes[i][t] = _mm512_add_ps(lanes[i][t], _mm512_mul_ps(query, wide[i]));
        }
    }
}

/// The `head_size` values from `start` on.
#[inline(always)]
fn head<T>(x: &[T], start: usize, head_size: usize) -> &[T] {
    let head = part(x, start, head_size);
    assert!(
        head.len() == head_size,
        "a tile has all its keys and queries"
    );
    head
}

/// Values of two keys from `column` on, zeros where they are not `there`.
///
/// # Safety
/// Those that are there must be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pair(low: &[f16], high: &[f16], column: usize, there: u8) -> __m512 {
    let place = |key: &[f16]| key.as_ptr().wrapping_add(column).cast();
    // SAFETY: the caller knows that they are there; the load needs no alignment.
    let low = unsafe { _mm_maskz_loadu_epi16(there, place(low)) };
    // SAFETY: as above.
    let high = unsafe { _mm_maskz_loadu_epi16(there, place(high)) };
    _mm512_cvtph_ps(_mm256_inserti128_si256::<1>(
        _mm256_castsi128_si256(low),
        high,
    ))
}

/// [`crate::ops::reduce`] of each token with four keys, whose lanes are in two pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce(pairs: [[__m512; TOKENS]; 2]) -> __m512 {
    let [a, b] = pairs.map(|[t, u, v, w]| {
        // Lanes 0 + 4 to 3 + 7 of two tokens with both keys.
        let halves = |t, u| {
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(t, u);
            _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(t, u))
        };
        let (tu, vw) = (halves(t, u), halves(v, w));
        _mm512_add_ps(_mm512_unpacklo_ps(tu, vw), _mm512_unpackhi_ps(tu, vw))
    });
    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
    let low = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    let sums = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    // t0 v0 t2 v2, t1 v1 t3 v3, u0 w0 u2 w2, u1 w1 u3 w3.
    let order = _mm512_setr_epi32(0, 4, 2, 6, 8, 12, 10, 14, 1, 5, 3, 7, 9, 13, 11, 15);
    _mm512_permutexvar_ps(order, sums)
}

/// `out[t, c] = sum_i(scores[t, i] * values[i, c])` over `n` values for up to `N` registers of columns from `column` on;
/// returns how many these are. Scores are `room` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn weighted_sums<const N: usize>(
    tile: &mut Tile<'_>,
    column: usize,
    n: usize,
    room: usize,
) -> usize {
    let width = (tile.head_size - column).min(N * WIDTH);
    let weights = [0, 1, 2, 3].map(|t| head(tile.scores, t * room, n));
    let mut there = [0; N];
    for (i, there) in there.iter_mut().enumerate() {
        *there = lanes_below(width.saturating_sub(i * WIDTH)) as u16;
    }
    let mut sums = [[_mm512_setzero_ps(); N]; TOKENS];
    for i in 0..n {
        let row = head(tile.values, i * tile.head_size + column, width);
        let mut values = [_mm512_setzero_ps(); N];
        for j in 0..N {
            let place = row.as_ptr().wrapping_add(j * WIDTH).cast();
            // SAFETY: only values of the row are read; the load needs no alignment.
            values[j] = _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(there[j], place) });
        }
        for t in 0..TOKENS {
            let weight = _mm512_set1_ps(weights[t][i]);
            for j in 0..N {
                sums[t][j] = _mm512_add_ps(sums[t][j], _mm512_mul_ps(weight, values[j]));
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        let out = part_mut(tile.out, t * tile.out_stride + column, width);
        for (out, sums) in out.chunks_mut(WIDTH).zip(sums) {
            let there = lanes_below(out.len()) as u16;
            // SAFETY: only as many numbers are written as there are; the store needs no alignment.
            unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), there, *sums) };
        }
    }
    width
}
