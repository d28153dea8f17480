//! Products of integer weights, in the order of the specification.
//!
//! Four rows meet the tokens eight blocks at a time. Words of four bytes are transposed on both sides, so
//! that a lane adds up half a block and no sum is taken across lanes until the end; two rows share a
//! register. `vpdpbusd` multiplies unsigned by signed bytes: weights get an offset that makes them unsigned,
//! and each token takes `offset * sum(x)` off again. Sums of rows are in the order [`ORDER`]. What a row has
//! behind its last eight blocks shares registers with other rows, where that is half of them or less ([`Tail`]).

mod load;
mod tail;

use core::arch::x86_64::*;

use half::f16;

#[cfg(feature = "rayon")]
pub(super) use self::load::first;
use self::load::{load_f16, load_f32, q4_group, q8_group};
use self::tail::Tail;

use crate::kernels::Output;
use crate::ops::LANES;
use crate::parts::{copy, part};
use crate::quant::{BLOCK, Q4_BYTES, Q4_OFFSET, Q4Matrix, Q8Activations, Q8Matrix};

/// Rows of a tile.
const ROWS: usize = 4;

/// Most tokens that a row meets while its integers are in registers.
const TOKENS: usize = 32;

/// Bytes of eight blocks of activations, or of `q8` weights.
const GROUP: usize = LANES * BLOCK;

/// Bytes of eight blocks of `q4` weights.
const Q4_GROUP: usize = LANES * Q4_BYTES;

/// Groups of tokens that are kept transposed.
const MOST_GROUPS: usize = 128;

/// The longest row.
pub(super) const MOST_BLOCKS: usize = MOST_GROUPS * LANES;

/// Groups of a row that meets a single token on a path of its own.
const SHORT: usize = 12;

/// Bytes of rows that stay in the second cache while tokens meet them.
const BLOCK_BYTES: usize = 1 << 17;

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
        w.stored(),
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

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) fn matmul_q4_vnni(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    matmul::<Q4_GROUP>(
        out,
        w.stored(),
        x,
        |w| q4_group(w),
        |sum, w, x| _mm512_dpbusd_epi32(sum, w, x),
        Some(_mm512_set1_epi8(Q4_OFFSET)),
    );
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn matmul_q4(out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
    matmul::<Q4_GROUP>(
        out,
        w.stored(),
        x,
        |w| q4_group(w),
        |sum, w, x| {
            // No pair's sum saturates: w is at most 15, |x| 127.
            let pairs = _mm512_maddubs_epi16(w, x);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        },
        Some(_mm512_set1_epi8(Q4_OFFSET)),
    );
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn matmul_q8(out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
    matmul::<GROUP>(
        out,
        w.stored(),
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
fn matmul<const BYTES: usize>(
    out: Output<'_>,
    (bytes, scales): (&[i8], &[f16]),
    x: Q8Activations<'_>,
    widen: impl Fn(&[i8]) -> Group,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    offset: Option<__m512i>,
) {
    let (n_blocks, n_tokens) = (x.blocks.n, x.scales.len() / x.blocks.n.max(1));
    let (n_rows, groups) = (scales.len() / n_blocks, n_blocks.div_ceil(LANES));
    let row_bytes = n_blocks * BYTES / LANES;
    let row = |i: usize| Row {
        bytes: part(bytes, i * row_bytes, row_bytes),
        scales: part(scales, i * n_blocks, n_blocks),
    };
    if n_tokens == 1 && groups <= SHORT {
        return one_token::<BYTES>(out, (0..n_rows).map(row), x, widen, add, offset);
    }
    let mut room = [Token::NONE; MOST_GROUPS];
    let mut sums = [[_mm512_setzero_ps(); ROWS / 2]; TOKENS];
    let batch = (MOST_GROUPS / groups).min(TOKENS);
    let tail = Tail::of(n_blocks);
    let share = |group| {
        if group + 1 == groups {
            tail
        } else {
            Tail::Alone
        }
    };
    let block = (BLOCK_BYTES / row_bytes).next_multiple_of(ROWS);
    for rows in (0..n_rows).step_by(block) {
        for start in (0..n_tokens).step_by(batch) {
            let tokens = &mut room[..batch.min(n_tokens - start) * groups];
            for (i, token) in tokens.iter_mut().enumerate() {
                let (at, group) = (start + i / groups, i % groups);
                *token = self::token(x, at, group, share(group), &add, offset);
            }
            for first in (rows..(rows + block).min(n_rows)).step_by(ROWS) {
                let n = ROWS.min(n_rows - first);
                // Where rows are missing the last one stands in; what it gives is dropped.
                let mut tile = [row(first); ROWS];
                for (i, tile) in tile.iter_mut().enumerate() {
                    *tile = row((first + i).min(n_rows - 1));
                }
                let sums = &mut sums[..tokens.len() / groups];
                dots::<BYTES>(sums, &tile, tokens, (groups, tail), &widen, &add);
                let mut place = start * out.stride + out.first + first;
                for sums in sums.chunks(4) {
                    let fours = reduce(sums.as_array().copied().unwrap_or_else(|| filled(sums)));
                    for four in &fours[..sums.len()] {
                        store(&mut out.values[place..place + n], *four);
                        place += out.stride;
                    }
                }
            }
        }
    }
}

/// Every row with one token, one after the other: the processor fetches ahead what is read in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn one_token<'w, const BYTES: usize>(
    out: Output<'_>,
    rows: impl Iterator<Item = Row<'w>>,
    x: Q8Activations<'_>,
    widen: impl Fn(&[i8]) -> Group,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    offset: Option<__m512i>,
) {
    let order = _mm512_castsi512_si256(order(false));
    let mut room = [Token::NONE; SHORT];
    let token = &mut room[..x.blocks.n.div_ceil(LANES)];
    for (group, place) in token.iter_mut().enumerate() {
        *place = self::token(x, 0, group, Tail::Alone, &add, offset);
    }
    for (out, row) in out.values[out.first..].iter_mut().zip(rows) {
        let mut sums = _mm256_setzero_ps();
        for (group, x) in token.iter().enumerate() {
            let bytes = row.bytes.get(group * BYTES..).unwrap_or_default();
            let w = transpose(widen(bytes));
            let mut dots = x.off;
            for i in 0..4 {
                dots = add(dots, w[i], x.quants[i]);
            }
            let upper = _mm512_extracti64x4_epi64::<1>(dots);
            let lower = _mm512_castsi512_si256(dots);
            let exact = _mm256_add_epi32(
                _mm256_permute2x128_si256::<0x20>(lower, upper),
                _mm256_permute2x128_si256::<0x31>(lower, upper),
            );
            let w_scales = load_f16(row.scales.get(group * LANES..).unwrap_or_default());
            let w_scales = _mm256_permutevar8x32_ps(w_scales, order);
            let scales = _mm256_mul_ps(w_scales, _mm512_castps512_ps256(x.scales));
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(exact), scales);
            sums = _mm256_add_ps(sums, scaled);
        }
        *out = reduce([[_mm512_castps256_ps512(sums); ROWS / 2]; 4])[0][0];
    }
}

/// What a token has of a group of blocks.
#[derive(Clone, Copy)]
struct Token {
    /// Transposed.
    quants: Group,
    /// What takes off the offset of the weights.
    off: __m512i,
    /// In [`ORDER`], twice; of a tail in its own.
    scales: __m512,
}

impl Token {
    // SAFETY: registers are bits, and zeros a value of them.
    const NONE: Self = unsafe { core::mem::zeroed() };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn token(
    x: Q8Activations<'_>,
    token: usize,
    group: usize,
    tail: Tail,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    offset: Option<__m512i>,
) -> Token {
    let quants = part(x.quants, token * x.blocks.quants, x.blocks.quants);
    let scales = part(x.scales, token * x.blocks.n, x.blocks.n);
    let quants = q8_group(quants.get(group * GROUP..).unwrap_or_default());
    let quants = transpose(tail.repeat(quants));
    let scales = load_f32(scales.get(group * LANES..).unwrap_or_default());
    let mut sum = _mm512_setzero_si512();
    if let Some(offset) = offset {
        for x in quants {
            sum = add(sum, offset, x);
        }
    }
    Token {
        quants,
        off: _mm512_sub_epi32(_mm512_setzero_si512(), sum),
        scales: tail.token_scales(scales),
    }
}

/// The lanes of each row of a tile and each token.
///
/// # Shapes
/// `sums` `[T]`, `tokens` `[T, groups]`; the last group is a `tail`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn dots<const BYTES: usize>(
    sums: &mut [[__m512; ROWS / 2]],
    tile: &[Row<'_>; ROWS],
    tokens: &[Token],
    (groups, tail): (usize, Tail),
    widen: impl Fn(&[i8]) -> Group,
    add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
) {
    let weights = |group: usize| {
        let mut w = [[_mm512_setzero_si512(); 4]; ROWS];
        for r in 0..ROWS {
            w[r] = widen(tile[r].bytes.get(group * BYTES..).unwrap_or_default());
        }
        w
    };
    let alone = groups - usize::from(tail != Tail::Alone);
    if alone == 0 {
        sums.fill([_mm512_setzero_ps(); ROWS / 2]);
    }
    for group in 0..alone {
        let w_scales = pair_scales(tile, group);
        let w = weights(group).map(|w| transpose(w));
        for (x, sums) in tokens.iter().skip(group).step_by(groups).zip(&mut *sums) {
            let mut dots = [x.off; ROWS];
            for r in 0..ROWS {
                for i in 0..4 {
                    dots[r] = add(dots[r], w[r][i], x.quants[i]);
                }
            }
            for i in 0..ROWS / 2 {
                let exact = _mm512_cvtepi32_ps(join(dots[2 * i], dots[2 * i + 1]));
                let scaled = _mm512_mul_ps(exact, _mm512_mul_ps(w_scales[i], x.scales));
                let before = match group {
                    0 => _mm512_setzero_ps(),
                    _ => sums[i],
                };
                sums[i] = _mm512_add_ps(before, scaled);
            }
        }
    }
    if alone < groups {
        let scales = tail.row_scales(tile, alone);
        let tokens = tokens.iter().skip(alone).step_by(groups).zip(sums);
        tail.add_dots(tokens, weights(alone), scales, add);
    }
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

/// Writes what belongs to rows that are there.
#[inline(always)]
fn store(out: &mut [f32], sums: [f32; ROWS]) {
    match out.as_mut_array() {
        Some(out) => *out = sums,
        None => copy(out, &sums),
    }
}

/// [`crate::ops::reduce`] of each row with each of four tokens; the lanes are in [`ORDER`].
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce(tokens: [[__m512; ROWS / 2]; 4]) -> [[f32; ROWS]; 4] {
    // 0 + 4, 2 + 6; 1 + 5, 3 + 7.
    let [t, u, v, w] = tokens.map(|[ab, cd]| {
        let low = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
        _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd))
    });
    let [tu, vw] = [[t, u], [v, w]].map(|[t, u]| {
        let first = _mm512_shuffle_ps::<0b10_00_10_00>(t, u);
        _mm512_add_ps(first, _mm512_shuffle_ps::<0b11_01_11_01>(t, u))
    });
    let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(tu, vw);
    let sums = _mm512_add_ps(even, _mm512_shuffle_f32x4::<0b11_01_11_01>(tu, vw));
    // Of two tokens: a c a c, b d b d.
    let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    let sums = _mm512_permutexvar_ps(order, sums);
    let mut out = [[0.0; ROWS]; 4];
    // SAFETY: the array is 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr().cast(), sums) };
    out
}

/// What there is, and zeros.
#[cold]
fn filled(sums: &[[__m512; ROWS / 2]]) -> [[__m512; ROWS / 2]; 4] {
    let mut filled = [[Token::NONE.scales; ROWS / 2]; 4];
    copy(&mut filled, sums);
    filled
}
