//! Sixteen rows with several tokens: lane `r` of a register belongs to row `r`.
//!
//! Words of four bytes of the rows stand side by side, so a token's word meets sixteen at once, the sum of a block
//! stays in its lane, and the eight sums that the specification keeps for a row are added register by register.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;
use core::array;
use core::mem::MaybeUninit;

use super::load::tile_scales;
use super::weights::Weights;
use super::{Matrix, Row};
use crate::kernels::Output;
use crate::kernels::avx512::lanes_below;
use crate::ops::LANES;
use crate::parts::part_mut;
use crate::quant::{BLOCK, Q8Activations};

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// Tokens that share the words of a block: as many chains of products as keep the processor busy.
const TOKENS: usize = 4;

/// Blocks of tiles that are kept, those of half their rows' sums.
const KEPT: usize = 128;

/// The longest row.
pub(in super::super) const MOST_BLOCKS: usize = 2 * KEPT;

/// Blocks of the tokens that meet a tile's blocks while these are kept.
const MOST_TOKEN_BLOCKS: usize = 4096;

/// The sums of the specification in the order that it adds them in: `(0 + 4) + (2 + 6)`, and the others likewise.
const HALVES: [[usize; 4]; 2] = [[0, 4, 2, 6], [1, 5, 3, 7]];

/// Words of a block: word `i` of each row.
pub(super) type Words = [__m512i; BLOCK / 4];

/// One block of the rows of a tile.
struct Block {
    words: Words,
    scales: __m512,
    /// Which it is of its rows' blocks.
    index: usize,
}

/// Tokens of `n` blocks.
///
/// # Shapes
/// `blocks`, `scales`, `offs` `[T, n]`; `offs` take off the offset of the weights.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    blocks: &'a [[i8; BLOCK]],
    scales: &'a [f32],
    offs: &'a [i32],
    n: usize,
}

/// Where the products of a tile go.
#[derive(Clone, Copy)]
struct Place {
    stride: usize,
    first: usize,
    rows: usize,
    /// What is there is one half of their sums.
    adds: bool,
}

/// Every row with every token.
///
/// # Safety
/// As of [`super::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<W: Weights>(
    out: Output<'_>,
    weights: W,
    matrix: Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let (n, n_rows) = (matrix.n, matrix.n_rows());
    assert!(
        x.quants.len() == x.scales.len() * BLOCK && x.scales.len().is_multiple_of(n),
        "tokens are whole, and each of their blocks has a scale"
    );
    let mut offs = [const { MaybeUninit::uninit() }; MOST_TOKEN_BLOCKS];
    let mut room = [const { MaybeUninit::uninit() }; KEPT];
    let batch = MOST_TOKEN_BLOCKS / n * n;
    let batches = x.quants.as_chunks().0.chunks(batch);
    let outs = out.values.chunks_mut((batch / n * out.stride).max(1));
    for ((blocks, scales), values) in batches.zip(x.scales.chunks(batch)).zip(outs) {
        let offs = &mut offs[..blocks.len()];
        for (off, block) in offs.iter_mut().zip(blocks) {
            // SAFETY: as above.
            off.write(unsafe { -self::off(weights, block) });
        }
        let tokens = Tokens {
            blocks,
            scales,
            // SAFETY: all were written.
            offs: unsafe { offs.assume_init_ref() },
            n,
        };
        for first in (0..n_rows).step_by(ROWS) {
            // Where rows are missing the last one stands in; what it gives is dropped.
            let tile = array::from_fn(|i| matrix.row(first + i));
            let mut place = Place {
                stride: out.stride,
                first: out.first + first,
                rows: ROWS.min(n_rows - first),
                adds: false,
            };
            let next = matrix
                .bytes
                .as_ptr()
                .wrapping_add((first + ROWS) * matrix.row_bytes);
            for half in HALVES {
                let indices = half.into_iter().flat_map(|sum| (sum..n).step_by(LANES));
                // SAFETY: as above.
                unsafe {
                    let blocks = by_sum(keep(&mut room, weights, &tile, next, indices), half, n);
                    each_four(values, weights, place, blocks, tokens);
                }
                place.adds = true;
            }
        }
    }
}

/// These blocks of a tile as they are multiplied. As many bytes of the next tile are fetched ahead.
#[inline(always)]
unsafe fn keep<'r, W: Weights>(
    room: &'r mut [MaybeUninit<Block>; KEPT],
    weights: W,
    tile: &[Row<'_>; ROWS],
    next: *const i8,
    indices: impl Iterator<Item = usize>,
) -> &'r [Block] {
    let mut n = 0;
    for (place, index) in room.iter_mut().zip(indices) {
        let share = next.wrapping_add(index * ROWS * W::BYTES / LANES);
        for line in (0..ROWS * W::BYTES / LANES).step_by(64) {
            // SAFETY: as above; nothing is read.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(share.wrapping_add(line)) };
        }
        // Part by part: a whole block would be made elsewhere and copied.
        let block = place.as_mut_ptr();
        // SAFETY: as above, and the place is there.
        unsafe {
            (*block).words = weights.words(tile, index);
            (*block).scales = tile_scales(tile, index);
            (*block).index = index;
        }
        n += 1;
    }
    // SAFETY: so many were written.
    unsafe { room[..n].assume_init_ref() }
}

/// The blocks that are added to each of these sums of a row of `n`.
#[inline(always)]
fn by_sum(mut blocks: &[Block], sums: [usize; 4], n: usize) -> [&[Block]; 4] {
    sums.map(|sum| {
        let (own, later) = blocks.split_at(n.saturating_sub(sum).div_ceil(LANES));
        blocks = later;
        own
    })
}

/// Products of a tile with all tokens.
#[inline(always)]
unsafe fn each_four<W: Weights>(
    out: &mut [f32],
    weights: W,
    place: Place,
    blocks: [&[Block]; 4],
    tokens: Tokens<'_>,
) {
    let n = tokens.n;
    let fours = tokens
        .blocks
        .chunks(TOKENS * n)
        .zip(tokens.scales.chunks(TOKENS * n));
    let fours = fours.zip(tokens.offs.chunks(TOKENS * n));
    for (((four, scales), offs), out) in fours.zip(out.chunks_mut(TOKENS * place.stride)) {
        let tokens = Tokens {
            blocks: four,
            scales,
            offs,
            n,
        };
        // SAFETY: as above, and there are so many tokens.
        unsafe {
            match four.len() / n {
                1 => some::<W, 1>(out, weights, place, blocks, tokens),
                2 => some::<W, 2>(out, weights, place, blocks, tokens),
                3 => some::<W, 3>(out, weights, place, blocks, tokens),
                _ => some::<W, TOKENS>(out, weights, place, blocks, tokens),
            }
        }
    }
}

/// Products of a tile with `T` tokens.
///
/// # Safety
/// As above, and there are so many.
#[inline(always)]
unsafe fn some<W: Weights, const T: usize>(
    out: &mut [f32],
    weights: W,
    place: Place,
    [a, b, c, d]: [&[Block]; 4],
    tokens: Tokens<'_>,
) {
    // Written out: a loop would keep what it makes in memory.
    // SAFETY: as above.
    let [a, b, c, d] = unsafe {
        [
            tokens.sum::<W, T>(weights, a),
            tokens.sum::<W, T>(weights, b),
            tokens.sum::<W, T>(weights, c),
            tokens.sum::<W, T>(weights, d),
        ]
    };
    for t in 0..T {
        let out = part_mut(out, t * place.stride + place.first, place.rows);
        let mask = lanes_below(out.len()) as u16;
        let out = out.as_mut_ptr();
        // SAFETY: as above, and the mask has a lane for each of the part.
        unsafe {
            let mut sum = _mm512_add_ps(_mm512_add_ps(a[t], b[t]), _mm512_add_ps(c[t], d[t]));
            if place.adds {
                sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum);
            }
            _mm512_mask_storeu_ps(out, mask, sum);
        }
    }
}

impl Tokens<'_> {
    /// The sum of the products of these blocks with each of `T` tokens.
    ///
    /// # Safety
    /// As of [`Self::products`].
    #[inline(always)]
    unsafe fn sum<W: Weights, const T: usize>(self, weights: W, blocks: &[Block]) -> [__m512; T] {
        // SAFETY: as above.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); T];
            for block in blocks {
                let products = self.products::<W, T>(weights, block);
                for t in 0..T {
                    sums[t] = _mm512_add_ps(sums[t], products[t]);
                }
            }
            sums
        }
    }

    /// The products of a block of the rows with the same of each of `T` tokens.
    ///
    /// # Safety
    /// As of [`super::matmul`]; there are so many tokens, and they have such a block.
    #[inline(always)]
    unsafe fn products<W: Weights, const T: usize>(self, weights: W, block: &Block) -> [__m512; T] {
        // SAFETY: as above. Closures would be functions without the instructions.
        unsafe {
            let mut dots = [_mm512_setzero_si512(); T];
            let mut scales = [_mm512_setzero_ps(); T];
            let mut x = [&[[0; 4]; 0][..]; T];
            for t in 0..T {
                let place = t * self.n + block.index;
                dots[t] = _mm512_set1_epi32(*self.offs.get_unchecked(place));
                let scale = _mm512_set1_ps(*self.scales.get_unchecked(place));
                scales[t] = _mm512_mul_ps(block.scales, scale);
                x[t] = self.blocks.get_unchecked(place).as_chunks::<4>().0;
            }
            for i in 0..BLOCK / 4 {
                for t in 0..T {
                    let word = i32::from_le_bytes(x[t][i].map(i8::cast_unsigned));
                    dots[t] = weights.add(dots[t], block.words[i], _mm512_set1_epi32(word));
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

/// The offset of the weights times the sum of a block's activations.
#[inline(always)]
unsafe fn off<W: Weights>(weights: W, block: &[i8; BLOCK]) -> i32 {
    // SAFETY: as above, and the array is 32 readable bytes; the load needs no alignment.
    unsafe {
        let block = _mm512_zextsi256_si512(_mm256_loadu_si256(block.as_ptr().cast()));
        let sums = weights.add(_mm512_setzero_si512(), _mm512_set1_epi8(W::OFFSET), block);
        _mm512_reduce_add_epi32(sums)
    }
}
