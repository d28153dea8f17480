//! Products of integer weights, in the order of the specification.
//!
//! Four rows meet the tokens eight blocks at a time. Words of four bytes are transposed on both sides, so
//! that a lane adds up half a block and no sum is taken across lanes until the end; two rows share a
//! register. `vpdpbusd` multiplies unsigned by signed bytes: weights get an offset that makes them unsigned,
//! and each token takes `offset * sum(x)` off again. Sums of rows are in the order [`ORDER`].

use core::arch::x86_64::*;

use half::f16;

use crate::kernels::Output;
use crate::ops::LANES;
use crate::parts::part;
use crate::quant::{BLOCK, Q8Activations, Q8Matrix};

/// Rows of a tile.
const ROWS: usize = 4;

/// Tokens that a row meets while its integers are in registers.
const TOKENS: usize = 32;

/// Bytes of eight blocks of activations, or of `q8` weights.
const GROUP: usize = LANES * BLOCK;

/// Bytes that are asked for before they are needed.
const AHEAD: usize = 4096;

/// Lane of the specification in each lane here, of each of two rows.
const ORDER: [i32; 16] = [0, 2, 4, 6, 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7];

/// Half a group of blocks, two in a register, or the same transposed.
type Group = [__m512i; 4];

/// One row of a matrix.
#[derive(Clone, Copy)]
struct Row<'w> {
    bytes: &'w [i8],
    scales: &'w [f16],
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) fn matmul_q8_vnni(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    let sign = _mm512_set1_epi8(i8::MIN);
    matmul::<GROUP>(
        out,
        w.rows().map(|row| (row.quants, row.scales)),
        x,
        |w| {
            let [a, b, c, d] = q8_group(w);
            let x = |w| _mm512_xor_si512(w, sign);
            [x(a), x(b), x(c), x(d)]
        },
        |sum, w, x| _mm512_dpbusd_epi32(sum, w, x),
        Some(sign),
    );
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn matmul_q8(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    matmul::<GROUP>(
        out,
        w.rows().map(|row| (row.quants, row.scales)),
        x,
        |w| q8_group(w),
        |sum, w, x| {
            // The sign of the weight moves to the activation. No pair's sum saturates: |w| is at most 128, |x| 127.
            let x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
            let pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(w), x);
            let fours = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
            _mm512_add_epi32(sum, fours)
        },
        None,
    );
}

/// Every row with every token.
///
/// `widen` makes bytes of a group's weights, two blocks a register; `add` multiplies bytes and adds fours of
/// products; `offset` is what `widen` added to each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn matmul<'w, const BYTES: usize>(
    out: Output<'_>,
    mut rows: impl Iterator<Item = (&'w [i8], &'w [f16])>,
    x: Q8Activations<'_>,
    widen: impl Fn(&[i8]) -> Group,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    offset: Option<__m512i>,
) {
    let n_tokens = x.scales.len() / x.blocks.n.max(1);
    let mut first = out.first;
    while let Some((bytes, scales)) = rows.next() {
        let mut n = 1;
        // Where rows are missing the first one stands in; what it gives is dropped.
        let mut tile = [Row { bytes, scales }; ROWS];
        while n < ROWS
            && let Some((bytes, scales)) = rows.next()
        {
            tile[n] = Row { bytes, scales };
            n += 1;
        }
        let place = |token| token * out.stride + first..token * out.stride + first + n;
        if n_tokens == 1 {
            let sums = dots::<BYTES, 1>(&tile, x, 0, 1, &widen, &add, offset);
            out.values[place(0)].copy_from_slice(&reduce(sums[0])[..n]);
        } else {
            for start in (0..n_tokens).step_by(TOKENS) {
                let end = (start + TOKENS).min(n_tokens);
                let sums = dots::<BYTES, TOKENS>(&tile, x, start, end, &widen, &add, offset);
                for (token, sums) in (start..end).zip(&sums) {
                    out.values[place(token)].copy_from_slice(&reduce(*sums)[..n]);
                }
            }
        }
        first += n;
    }
}

/// The lanes of each row and each of the tokens `start..end`, at most `T`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn dots<const BYTES: usize, const T: usize>(
    tile: &[Row<'_>; ROWS],
    x: Q8Activations<'_>,
    start: usize,
    end: usize,
    widen: impl Fn(&[i8]) -> Group,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    offset: Option<__m512i>,
) -> [[__m512; ROWS / 2]; T] {
    let mut sums = [[_mm512_setzero_ps(); ROWS / 2]; T];
    for group in 0..x.blocks.n.div_ceil(LANES) {
        if T == 1 {
            prefetch(tile[0].bytes, group * ROWS * BYTES, ROWS * BYTES);
        }
        let w_scales = pair_scales(tile, group);
        let mut w = [[_mm512_setzero_si512(); 4]; ROWS];
        for r in 0..ROWS {
            let bytes = tile[r].bytes.get(group * BYTES..).unwrap_or_default();
            w[r] = transpose(widen(bytes));
        }
        for (token, sums) in (start..end).zip(&mut sums) {
            let quants = part(x.quants, token * x.blocks.quants, x.blocks.quants);
            let scales = part(x.scales, token * x.blocks.n, x.blocks.n);
            let x = transpose(q8_group(quants.get(group * GROUP..).unwrap_or_default()));
            let x_scales = scales.get(group * LANES..).unwrap_or_default();
            let x_scales = _mm512_castps256_ps512(load_f32(x_scales));
            let x_scales = _mm512_permutexvar_ps(order(false), x_scales);
            let mut off = _mm512_setzero_si512();
            if let Some(offset) = offset {
                for x in x {
                    off = add(off, offset, x);
                }
                off = _mm512_sub_epi32(_mm512_setzero_si512(), off);
            }
            let mut dots = [off; ROWS];
            for r in 0..ROWS {
                for i in 0..4 {
                    dots[r] = add(dots[r], w[r][i], x[i]);
                }
            }
            for i in 0..ROWS / 2 {
                let exact = _mm512_cvtepi32_ps(join(dots[2 * i], dots[2 * i + 1]));
                let scaled = _mm512_mul_ps(exact, _mm512_mul_ps(w_scales[i], x_scales));
                sums[i] = _mm512_add_ps(sums[i], scaled);
            }
        }
    }
    sums
}

/// The scales of a group of blocks of two pairs of rows, in [`ORDER`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn pair_scales(tile: &[Row<'_>; ROWS], group: usize) -> [__m512; ROWS / 2] {
    let mut pairs = [_mm512_setzero_ps(); ROWS / 2];
    for (pair, rows) in pairs.iter_mut().zip(tile.as_chunks::<2>().0) {
        let scales = |i: usize| rows[i].scales.get(group * LANES..).unwrap_or_default();
        let low = _mm512_castps256_ps512(load_f16(scales(0)));
        let both = _mm512_insertf32x8::<1>(low, load_f16(scales(1)));
        *pair = _mm512_permutexvar_ps(order(true), both);
    }
    pairs
}

/// [`ORDER`], of one row for both or of two rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn order(two: bool) -> __m512i {
    let mut order = ORDER;
    if two {
        order[LANES..].iter_mut().for_each(|lane| *lane += 8);
    }
    // SAFETY: the array is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(order.as_ptr().cast()) }
}

/// Word `i` of each 128-bit part of each register becomes word `register` of that part of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: Group) -> Group {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Adds the halves of blocks; the rows come to stand side by side.
#[inline]
#[target_feature(enable = "avx512f")]
fn join(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
    )
}

/// [`crate::ops::reduce`] of each row, whose lanes are in [`ORDER`].
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce(rows: [__m512; ROWS / 2]) -> [f32; ROWS] {
    let sums = |x| {
        // 0 + 4, 2 + 6; 1 + 5, 3 + 7.
        let x = _mm512_add_ps(x, _mm512_shuffle_ps::<0b01_00_11_10>(x, x));
        let x = _mm512_add_ps(x, _mm512_shuffle_ps::<0b10_11_00_01>(x, x));
        let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
        [
            _mm512_cvtss_f32(x),
            _mm_cvtss_f32(_mm512_extractf32x4_ps::<2>(x)),
        ]
    };
    let (ab, cd) = (sums(rows[0]), sums(rows[1]));
    [ab[0], ab[1], cd[0], cd[1]]
}

/// The first 256 bytes, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn q8_group(bytes: &[i8]) -> Group {
    let mut group = [_mm512_setzero_si512(); 4];
    for (i, part) in group.iter_mut().enumerate() {
        let there = bytes.len().saturating_sub(i * 64);
        let from = bytes.as_ptr().wrapping_add(i * 64);
        // SAFETY: only as many bytes are read as there are; the load needs no alignment.
        *part = unsafe { _mm512_maskz_loadu_epi8(first(there), from) };
    }
    group
}

/// A mask of the first `n` of 64.
#[inline(always)]
fn first(n: usize) -> u64 {
    if n < 64 { (1 << n) - 1 } else { u64::MAX }
}

/// The first eight numbers, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
fn load_f16(x: &[f16]) -> __m256 {
    // SAFETY: only as many bytes are read as there are; the load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_maskz_loadu_epi16(first(x.len()) as u8, x.as_ptr().cast()) })
}

/// The first eight numbers, zeros where there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn load_f32(x: &[f32]) -> __m256 {
    // SAFETY: only as many bytes are read as there are; the load needs no alignment.
    unsafe { _mm256_maskz_loadu_ps(first(x.len()) as u8, x.as_ptr()) }
}

/// Asks for `len` bytes from `start` on, [`AHEAD`] of them.
#[inline(always)]
fn prefetch(bytes: &[i8], start: usize, len: usize) {
    for line in (0..len).step_by(64) {
        let ahead = bytes.as_ptr().wrapping_add(AHEAD + start + line);
        // SAFETY: a prefetch reads nothing that a program could see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
    }
}
