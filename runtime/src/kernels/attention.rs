//! Attention in integers: what it takes, and the numbers that all instruction sets share.

use core::f32::consts::LOG2_E;

use crate::math;

/// Tokens whose weighted values add up exactly: weights have 15 bits.
pub(super) const PIECE: usize = 1 << (31 - 15 - KEPT_BITS);

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

/// What heads of a group attend to.
///
/// `value = integer * 2^exponent`, with an exponent for a token's key and one for its value.
#[derive(Debug)]
pub(crate) struct Attention<'a> {
    /// Tokens.
    pub(crate) n: usize,
    /// Integers of a key or value.
    pub(crate) width: usize,
    /// `[even, width]` or more, `even` being `n` rounded up to pairs.
    pub(crate) keys: &'a [i8],
    /// `[n]` or more.
    pub(crate) key_exponents: &'a [i8],
    /// `[even / 2, width / 2, 2 tokens, 2]` or more.
    pub(crate) values: &'a [i8],
    /// `[even]` or more.
    pub(crate) value_exponents: &'a [i8],
    /// Room for the scores of a head, `[even]` or more.
    pub(crate) scores: &'a mut [i32],
    /// Room for the output of a head in integers, `[width]`.
    pub(crate) sums: &'a mut [i32],
    /// Of scores.
    pub(crate) scale: BaseScale,
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
        let shift = self.shift - 32 - query - largest_key - SCORE_FRACTION as i32;
        ScoreScale {
            multiplier: self.multiplier,
            shift: shift.clamp(0, 31) + largest_key,
        }
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
