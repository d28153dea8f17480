//! Sixteen rows with several tokens: lane `r` of the registers belongs to row `r`.
//!
//! Words of the rows stand side by side, so a token's word meets sixteen at once, the sum of a block stays in its
//! lane, and the eight sums that the specification keeps for a row are added register by register.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "instructions in functions that become part of a caller which has them"
)]

use core::arch::x86_64::*;
use core::array;
use core::mem::MaybeUninit;

use half::f16;

use super::Output;
use crate::ops::LANES;
use crate::parts::{part, part_mut};
use crate::quant::{BLOCK, Q8Activations};

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// Tokens that share the words of a block: as many chains of products as keep the processor busy.
const TOKENS: usize = 4;

/// The longest row that any format takes.
pub(super) const MOST_BLOCKS: usize = 256;

/// The sums of the specification in the order that it adds them in: `(0 + 4) + (2 + 6)`, and the others likewise.
const HALVES: [[usize; 4]; 2] = [[0, 4, 2, 6], [1, 5, 3, 7]];

/// A format of weights in the registers of an instruction set.
///
/// # Safety
/// All functions need the instructions of the set: they become part of a caller which has them. Rows and tokens have
/// the block that is asked for.
pub(super) trait Format: Copy {
    /// A number for each row of a tile.
    type Sums: Sums;

    /// A block of each row of a tile.
    type Words: Copy;

    /// What is made of a block of a token before it meets the rows.
    type Prepared;

    /// Bytes of eight blocks.
    const BYTES: usize;

    /// Block `block` of the rows of a tile.
    unsafe fn words(self, tile: &[Row<'_>; ROWS], block: usize) -> Self::Words;

    unsafe fn prepare(self, x: &[i8; BLOCK]) -> Self::Prepared;

    /// The products of a block of the rows with the same of each of `T` tokens: there are so many, and they have such
    /// a block.
    unsafe fn products<const T: usize>(
        self,
        block: &Block<Self>,
        x: Tokens<'_, Self>,
    ) -> [Self::Sums; T];
}

/// A number for each row of a tile, in the registers of an instruction set.
///
/// # Safety
/// As of [`Format`].
pub(super) trait Sums: Copy {
    /// Scale `block` of the rows of a tile.
    unsafe fn scales(tile: &[Row<'_>; ROWS], block: usize) -> Self;

    unsafe fn zeros() -> Self;

    unsafe fn add(self, other: Self) -> Self;

    /// Writes as many as there are places, or adds them to what is there.
    unsafe fn put(self, out: &mut [f32], adds: bool);
}

/// A matrix: integers and scales of `n` blocks a row.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'w> {
    pub(super) bytes: &'w [i8],
    pub(super) row_bytes: usize,
    pub(super) scales: &'w [f16],
    pub(super) n: usize,
}

/// One row of it.
#[derive(Clone, Copy)]
pub(super) struct Row<'w> {
    pub(super) bytes: &'w [i8],
    pub(super) scales: &'w [f16],
}

/// One block of the rows of a tile.
pub(super) struct Block<F: Format> {
    pub(super) words: F::Words,
    pub(super) scales: F::Sums,
    /// Which it is of its rows' blocks.
    index: usize,
}

/// Tokens of `n` blocks.
///
/// # Shapes
/// All `[T, n]`.
pub(super) struct Tokens<'a, F: Format> {
    blocks: &'a [[i8; BLOCK]],
    scales: &'a [f32],
    prepared: &'a [F::Prepared],
    n: usize,
}

impl<F: Format> Clone for Tokens<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Tokens<'_, F> {}

/// Where the products of a tile go.
#[derive(Clone, Copy)]
struct Place {
    stride: usize,
    first: usize,
    rows: usize,
    /// What is there is one half of their sums.
    adds: bool,
}

impl<'w> Matrix<'w> {
    /// Rows of `n` blocks, of which eight have so many bytes.
    pub(super) fn new((bytes, scales): (&'w [i8], &'w [f16]), n: usize, eight: usize) -> Self {
        Self {
            bytes,
            row_bytes: n * eight / LANES,
            scales,
            n,
        }
    }

    pub(super) fn n_rows(self) -> usize {
        self.scales.len() / self.n
    }

    /// Whether each row has all its bytes and scales.
    fn is_whole(self) -> bool {
        self.bytes.len() >= self.n_rows() * self.row_bytes
    }

    /// Row `i`, or the last one.
    #[inline(always)]
    pub(super) fn row(self, i: usize) -> Row<'w> {
        let i = i.min(self.n_rows() - 1);
        Row {
            bytes: part(self.bytes, i * self.row_bytes, self.row_bytes),
            scales: part(self.scales, i * self.n, self.n),
        }
    }
}

impl<'a, F: Format> Tokens<'a, F> {
    /// Bytes, scale and what was prepared of the same block of token `t` as this one.
    ///
    /// # Safety
    /// There are such a token and such a block.
    #[inline(always)]
    pub(super) unsafe fn block(
        self,
        t: usize,
        block: &Block<F>,
    ) -> (&'a [i8; BLOCK], f32, &'a F::Prepared) {
        let place = t * self.n + block.index;
        // SAFETY: the caller's.
        unsafe {
            (
                self.blocks.get_unchecked(place),
                *self.scales.get_unchecked(place),
                self.prepared.get_unchecked(place),
            )
        }
    }
}

/// Every row with every token. `PREPARED` blocks of tokens meet a tile while `KEPT` of its blocks are kept, those of
/// half its sums.
///
/// # Safety
/// The caller has the instructions of the format; rows have a block at least.
#[inline(always)]
pub(super) unsafe fn matmul<F: Format, const PREPARED: usize, const KEPT: usize>(
    out: Output<'_>,
    format: F,
    matrix: Matrix<'_>,
    x: Q8Activations<'_>,
) {
    const { assert!(PREPARED >= 2 * KEPT, "there is room for a token") };
    let (n, n_rows) = (matrix.n, matrix.n_rows());
    assert!(n <= 2 * KEPT, "half of a row's blocks are kept");
    assert!(
        x.quants.len() == x.scales.len() * BLOCK && x.scales.len().is_multiple_of(n),
        "tokens are whole, and each of their blocks has a scale"
    );
    assert!(matrix.is_whole(), "all rows are there");
    let mut prepared = [const { MaybeUninit::uninit() }; PREPARED];
    let mut room = [const { MaybeUninit::uninit() }; KEPT];
    let batch = PREPARED / n * n;
    let batches = x.quants.as_chunks().0.chunks(batch);
    let outs = out.values.chunks_mut((batch / n * out.stride).max(1));
    for ((blocks, scales), values) in batches.zip(x.scales.chunks(batch)).zip(outs) {
        let prepared = &mut prepared[..blocks.len()];
        for (prepared, block) in prepared.iter_mut().zip(blocks) {
            // SAFETY: as above.
            prepared.write(unsafe { format.prepare(block) });
        }
        let tokens = Tokens {
            blocks,
            scales,
            // SAFETY: all were written.
            prepared: unsafe { prepared.assume_init_ref() },
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
                    let blocks = by_sum(keep(&mut room, format, &tile, next, indices), half, n);
                    each_four(values, format, place, blocks, tokens);
                }
                place.adds = true;
            }
        }
    }
}

/// These blocks of a tile as they are multiplied. As many bytes of the next tile are fetched ahead.
#[inline(always)]
unsafe fn keep<'r, F: Format>(
    room: &'r mut [MaybeUninit<Block<F>>],
    format: F,
    tile: &[Row<'_>; ROWS],
    next: *const i8,
    indices: impl Iterator<Item = usize>,
) -> &'r [Block<F>] {
    let mut n = 0;
    for (place, index) in room.iter_mut().zip(indices) {
        let share = next.wrapping_add(index * ROWS * F::BYTES / LANES);
        for line in (0..ROWS * F::BYTES / LANES).step_by(64) {
            // SAFETY: as above; nothing is read.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(share.wrapping_add(line)) };
        }
        // Part by part: a whole block would be made elsewhere and copied.
        let block = place.as_mut_ptr();
        // SAFETY: as above, and the place is there.
        unsafe {
            (*block).words = format.words(tile, index);
            (*block).scales = F::Sums::scales(tile, index);
            (*block).index = index;
        }
        n += 1;
    }
    // SAFETY: so many were written.
    unsafe { room[..n].assume_init_ref() }
}

/// The blocks that are added to each of these sums of a row of `n`.
#[inline(always)]
fn by_sum<F: Format>(mut blocks: &[Block<F>], sums: [usize; 4], n: usize) -> [&[Block<F>]; 4] {
    sums.map(|sum| {
        let (own, later) = blocks.split_at(n.saturating_sub(sum).div_ceil(LANES));
        blocks = later;
        own
    })
}

/// Products of a tile with all tokens.
#[inline(always)]
unsafe fn each_four<F: Format>(
    out: &mut [f32],
    format: F,
    place: Place,
    blocks: [&[Block<F>]; 4],
    tokens: Tokens<'_, F>,
) {
    let n = tokens.n;
    let fours = tokens
        .blocks
        .chunks(TOKENS * n)
        .zip(tokens.scales.chunks(TOKENS * n));
    let fours = fours.zip(tokens.prepared.chunks(TOKENS * n));
    for (((four, scales), prepared), out) in fours.zip(out.chunks_mut(TOKENS * place.stride)) {
        let tokens = Tokens {
            blocks: four,
            scales,
            prepared,
            n,
        };
        // SAFETY: as above, and there are so many tokens.
        unsafe {
            match four.len() / n {
                1 => some::<F, 1>(out, format, place, blocks, tokens),
                2 => some::<F, 2>(out, format, place, blocks, tokens),
                3 => some::<F, 3>(out, format, place, blocks, tokens),
                _ => some::<F, TOKENS>(out, format, place, blocks, tokens),
            }
        }
    }
}

/// Products of a tile with `T` tokens.
///
/// # Safety
/// As above, and there are so many.
#[inline(always)]
unsafe fn some<F: Format, const T: usize>(
    out: &mut [f32],
    format: F,
    place: Place,
    [a, b, c, d]: [&[Block<F>]; 4],
    tokens: Tokens<'_, F>,
) {
    // Written out: a loop would keep what it makes in memory.
    // SAFETY: as above.
    let [a, b, c, d] = unsafe {
        [
            sum::<F, T>(format, a, tokens),
            sum::<F, T>(format, b, tokens),
            sum::<F, T>(format, c, tokens),
            sum::<F, T>(format, d, tokens),
        ]
    };
    for t in 0..T {
        let out = part_mut(out, t * place.stride + place.first, place.rows);
        // SAFETY: as above.
        unsafe {
            let sum = a[t].add(b[t]).add(c[t].add(d[t]));
            sum.put(out, place.adds);
        }
    }
}

/// The sum of the products of these blocks with each of `T` tokens.
///
/// # Safety
/// As of [`some`].
#[inline(always)]
unsafe fn sum<F: Format, const T: usize>(
    format: F,
    blocks: &[Block<F>],
    tokens: Tokens<'_, F>,
) -> [F::Sums; T] {
    // SAFETY: as above.
    unsafe {
        let mut sums = [F::Sums::zeros(); T];
        for block in blocks {
            let products = format.products::<T>(block, tokens);
            for t in 0..T {
                sums[t] = sums[t].add(products[t]);
            }
        }
        sums
    }
}
