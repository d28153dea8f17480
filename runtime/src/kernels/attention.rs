//! Attention in integers: what it takes, and the numbers that all instruction sets share. And what attention of
//! several tokens over a cache in half precision takes.

use core::f32::consts::LOG2_E;

#[cfg(feature = "rayon")]
use half::f16;

use crate::math;
use crate::parts::{part, part_mut};

/// Tokens whose weighted values add up exactly: weights have 15 bits.
pub(crate) const PIECE: usize = 1 << (31 - 15 - KEPT_BITS);

/// Bits of a key or value without its sign.
pub(crate) const KEPT_BITS: i32 = 7;

/// Where keys or values of a token are kept, from those of the first head on.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// A head's `width` integers `width * n_ctx` after those of the head before.
    pub(crate) integers: &'a mut [i8],
    /// Each `n_ctx` after that of the head before.
    pub(crate) exponents: &'a mut [i8],
    pub(crate) head_size: usize,
    pub(crate) width: usize,
    pub(crate) n_ctx: usize,
    /// Whether two integers of another token come after each two: values.
    pub(crate) in_pairs: bool,
}

/// What the heads of a token attend to.
///
/// `value = integer * 2^exponent`, with an exponent for a token's key of a group and one for its value.
#[derive(Debug)]
pub(crate) struct Attention<'a> {
    /// Tokens.
    pub(crate) n: usize,
    /// Tokens that there is room for, an even number.
    pub(crate) n_ctx: usize,
    /// Integers of a key or value.
    pub(crate) width: usize,
    /// Heads that share keys and values.
    pub(crate) group_size: usize,
    /// `[groups, n_ctx, width]`
    pub(crate) keys: &'a [i8],
    /// `[groups, n_ctx]`
    pub(crate) key_exponents: &'a [i8],
    /// `[groups, n_ctx / 2, width / 2, 2 tokens, 2]`
    pub(crate) values: &'a [i8],
    /// `[groups, n_ctx]`
    pub(crate) value_exponents: &'a [i8],
    /// Room for the scores of a head, `[n_ctx]`.
    pub(crate) scores: &'a mut [i32],
    /// Room for the output of a head in integers, `[width]`.
    pub(crate) sums: &'a mut [i32],
    /// Of scores.
    pub(crate) scale: BaseScale,
}

/// Some heads of a token.
///
/// # Shapes
/// `queries` `[heads, width]`, which are used up, `exponents` `[heads]`, `out` `[heads, HS]`.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    /// The first of them.
    pub(crate) first: usize,
    pub(crate) queries: &'a mut [i16],
    pub(crate) exponents: &'a [i8],
    pub(crate) out: &'a mut [f32],
}

impl Attention<'_> {
    /// Calls `attend` for each group of which there are heads, with keys and values of that group alone.
    pub(super) fn each_group(
        mut self,
        heads: Heads<'_>,
        mut attend: impl FnMut(&mut Self, Heads<'_>),
    ) {
        let (n_ctx, width, group_size) = (self.n_ctx, self.width, self.group_size.max(1));
        let (keys, key_exponents) = (self.keys, self.key_exponents);
        let (values, value_exponents) = (self.values, self.value_exponents);
        let n_heads = heads.exponents.len();
        let head_size = heads.out.len() / n_heads.max(1);
        let mut done = 0;
        while done < n_heads {
            let first = heads.first + done;
            let group = first / group_size;
            let count = ((group + 1) * group_size - first).min(n_heads - done);
            let start = group * n_ctx;
            self.keys = part(keys, start * width, n_ctx * width);
            self.key_exponents = part(key_exponents, start, n_ctx);
            self.values = part(values, start * width, n_ctx * width);
            self.value_exponents = part(value_exponents, start, n_ctx);
            let heads = Heads {
                first,
                queries: part_mut(heads.queries, done * width, count * width),
                exponents: part(heads.exponents, done, count),
                out: part_mut(heads.out, done * head_size, count * head_size),
            };
            attend(&mut self, heads);
            done += count;
        }
    }
}

/// A head of [`Self::TOKENS`] tokens in a row, and the cache that they attend to.
#[cfg(feature = "rayon")]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "there is no kernel for it")
)]
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// The head's outputs, `out_stride` apart.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
    /// The head's queries, `query_stride` apart.
    pub(crate) queries: &'a [f32],
    pub(crate) query_stride: usize,
    /// Room for [`Self::scores`].
    pub(crate) scores: &'a mut [f32],
    /// Of each token of the cache, `[T, HS]`.
    pub(crate) keys: &'a [f16],
    /// The same.
    pub(crate) values: &'a [f16],
    pub(crate) head_size: usize,
    /// Tokens that the first one attends to, itself the last of them.
    pub(crate) n: usize,
}

#[cfg(feature = "rayon")]
impl Tile<'_> {
    /// Tokens of a tile.
    pub(crate) const TOKENS: usize = 4;

    /// Scores of a tile whose last token attends to `n`.
    pub(crate) const fn scores(n: usize) -> usize {
        Self::TOKENS * n.next_multiple_of(Self::TOKENS)
    }
}

/// A positive number as `multiplier * 2^-shift`, `multiplier` in `2^30..2^31`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseScale {
    multiplier: i32,
    shift: i32,
}

impl BaseScale {
    /// Of heads of `head_size` values: `log2(e) / sqrt(head_size)`.
    pub(crate) fn new(head_size: usize) -> Self {
        let bits = (LOG2_E / math::sqrt(head_size as f32)).to_bits();
        Self {
            multiplier: ((bits & 0x7F_FFFF | 0x80_0000) << 7).cast_signed(),
            shift: 30 + 127 - (bits >> 23) as i32,
        }
    }

    /// How products of a query and keys, of these exponents at most, become scores.
    ///
    /// Where they may be in the tens of thousands, they are smaller than they should be by a common factor.
    pub(super) fn of(self, query: i32, largest_key: i32) -> ScoreScale {
        let (multiplier, shift) = self.parts(largest_key);
        ScoreScale {
            multiplier,
            shift: (shift - query).clamp(0, 31) + largest_key,
        }
    }

    /// Multiplier and shift, before the exponent of a query is taken off.
    pub(super) const fn parts(self, largest_key: i32) -> (i32, i32) {
        let shift = self.shift - 32 - largest_key - SCORE_FRACTION as i32;
        (self.multiplier, shift)
    }
}

/// Bits of a score behind its point: keys of 8 bits leave more undecided.
pub(super) const SCORE_FRACTION: u32 = 7;

/// How products of a query with keys become scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoreScale {
    pub(super) multiplier: i32,
    /// To the right, less the exponent of a key, which is not greater.
    pub(super) shift: i32,
}
