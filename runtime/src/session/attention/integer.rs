//! Attention over a cache of 8-bit integers, in integers.
//!
//! `value = integer * 2^exponent`, with one exponent for a token's keys of a head and one for its values.
//! Scores come in units of `2^-fraction` in base 2 and stay integers up to the weights of the values,
//! so a core without floating point pays for two conversions a head and not for every token.

use core::f32::consts::LOG2_E;

use super::Place;
use crate::config::Config;
use crate::kernels::Isa;
use crate::kernels::ScoreScale;
use crate::math::{self, ROUND, power_of_two};
use crate::parts::{part, part_mut};

/// Bits of a key or value without its sign.
const BITS: i32 = 7;

/// A block whose largest magnitude is below 2 to this power is zero.
const SMALLEST: i32 = -60;

/// Tokens whose weighted values add up exactly: weights have 14 bits, values 7.
const PIECE: usize = 1 << (31 - 14 - 7);

/// How the integers of one layer lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheShape {
    pub(crate) n_layer: usize,
    /// Tokens, rounded up to pairs.
    pub(crate) n_ctx: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) head_size: usize,
    /// `head_size` filled up to whole words.
    pub(crate) width: usize,
}

impl CacheShape {
    /// For a context of `n_ctx` tokens.
    pub(crate) const fn new(config: &Config, n_ctx: usize) -> Self {
        let head_size = config.head_size();
        Self {
            n_layer: config.n_layer(),
            n_ctx: n_ctx.next_multiple_of(2),
            n_head_kv: config.n_head_kv(),
            head_size,
            width: head_size.next_multiple_of(4),
        }
    }

    /// Integers of all keys.
    pub(crate) const fn integers(&self) -> u64 {
        self.exponents() * self.width as u64
    }

    /// Bits of a query without its sign: as many as leave products with keys exact.
    const fn query_bits(&self) -> i32 {
        let sum_bits = usize::BITS - self.width.leading_zeros();
        let bits = 31 - BITS - sum_bits as i32;
        if bits < 15 { bits } else { 15 }
    }

    /// Makes integers of a row of all heads of a layer; gives each to `put`, behind its head's number
    /// among those of all layers and its column.
    fn quantize(
        &self,
        exponents: &mut [i8],
        place: Place,
        row: &[f32],
        mut put: impl FnMut(usize, usize, i8),
    ) {
        for (i, values) in row.chunks_exact(self.head_size.max(1)).enumerate() {
            let head = place.layer * self.n_head_kv + i;
            let (exponent, factor) = scale(values, BITS);
            part_mut(exponents, head * self.n_ctx + place.position, 1).fill(exponent as i8);
            for (column, value) in values.iter().enumerate() {
                put(head, column, round(*value, factor, (1 << BITS) - 1) as i8);
            }
        }
    }

    /// Exponents of all keys.
    pub(crate) const fn exponents(&self) -> u64 {
        self.n_layer as u64 * self.n_head_kv as u64 * self.n_ctx as u64
    }
}

/// A cache of integers.
#[derive(Debug)]
pub(crate) struct IntegerCache<'a> {
    pub(crate) shape: CacheShape,
    /// `[n_layer, n_head_kv, n_ctx, width]`
    pub(crate) keys: &'a mut [i8],
    /// `[n_layer, n_head_kv, n_ctx / 2, width / 2, 2 tokens, 2]`: what two tokens have in a pair of columns is one
    /// word, for instructions that multiply pairs.
    pub(crate) values: &'a mut [i8],
    /// `[n_layer, n_head_kv, n_ctx]`
    pub(crate) key_exponents: &'a mut [i8],
    /// The same.
    pub(crate) value_exponents: &'a mut [i8],
    /// `[width]`
    pub(crate) query: &'a mut [i16],
    /// `[n_ctx]`
    pub(crate) scores: &'a mut [i32],
    /// `[width]`
    pub(crate) sums: &'a mut [i32],
    /// `log2(e) / sqrt(HS)`.
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

    /// How products of a query and keys with these exponents become scores.
    ///
    /// Scores get as many bits behind the point as fit, up to 16. Where not even one does, they are
    /// in the thousands, and smaller than they should be by a common factor.
    const fn of(self, query: i32, largest_key: i32) -> ScoreScale {
        let room = self.shift - 32 - query - largest_key;
        let fraction = if room < 1 {
            1
        } else if room > 16 {
            16
        } else {
            room
        };
        let shift = room - fraction;
        ScoreScale {
            multiplier: self.multiplier,
            shift: if shift < 0 {
                0
            } else if shift > 31 {
                31
            } else {
                shift as u32
            },
            largest: largest_key,
            fraction: fraction as u32,
        }
    }
}

impl IntegerCache<'_> {
    pub(super) fn write(&mut self, place: Place, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let (pair, second) = (place.position & !1, place.position & 1);
        shape.quantize(self.key_exponents, place, keys, |head, column, integer| {
            let row = (head * shape.n_ctx + place.position) * shape.width;
            part_mut(self.keys, row + column, 1).fill(integer);
        });
        shape.quantize(
            self.value_exponents,
            place,
            values,
            |head, column, integer| {
                let word = (head * shape.n_ctx + pair) * shape.width + column / 2 * 4;
                part_mut(self.values, word + 2 * second + column % 2, 1).fill(integer);
            },
        );
    }

    pub(super) fn attend(
        &mut self,
        isa: Isa,
        place: Place,
        group: usize,
        query: &[f32],
        out: &mut [f32],
    ) {
        let shape = &self.shape;
        let n = place.position + 1;
        let head = (place.layer * shape.n_head_kv + group) * shape.n_ctx;
        let key_exponents = part(self.key_exponents, head, n);
        let value_exponents = part(self.value_exponents, head, n);
        let start = head * shape.width;
        let bits = shape.query_bits();
        let (exponent, factor) = scale(query, bits);
        self.query.fill(0);
        for (integer, value) in self.query.iter_mut().zip(query) {
            *integer = round(*value, factor, (1 << bits) - 1) as i16;
        }

        let scale = self.scale.of(exponent, largest(key_exponents));
        let scores = part_mut(self.scores, 0, n.next_multiple_of(2));
        let keys = part(self.keys, start, n * shape.width);
        let most = isa.scores(scores, self.query, keys, key_exponents, scale);

        let most_exponent = largest(value_exponents);
        let (mut total, mut all) = (0.0, 0);
        let pieces = scores.chunks_mut(PIECE).zip(value_exponents.chunks(PIECE));
        for (scores, exponents) in pieces {
            let (sum, used) = isa.weights(scores, exponents, most, most_exponent, scale.fraction);
            total += sum as f32;
            all |= used;
        }
        // Bits up to the 30th.
        let lead = all.leading_zeros().saturating_sub(2).min(29);
        let factor = power_of_two(most_exponent + 7 - lead as i32) / total;
        out.fill(0.0);
        let values = part(self.values, start, scores.len() * shape.width);
        let pieces = scores
            .chunks(PIECE)
            .zip(values.chunks((PIECE * shape.width).max(1)));
        for (weights, values) in pieces {
            let sums = part_mut(self.sums, 0, shape.width);
            isa.weighted_sums(sums, weights, lead, values);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += *sum as f32 * factor;
            }
        }
    }
}

/// The largest exponent.
fn largest(exponents: &[i8]) -> i32 {
    exponents.iter().copied().max().map_or(0, i32::from)
}

/// Exponent of a block of values that is to become integers of `bits` bits, and what its values are
/// multiplied by: 0 where the block is all zeros, or holds an infinity.
fn scale(x: &[f32], bits: i32) -> (i32, f32) {
    // As integers magnitudes have the order they have as numbers, with NaN above infinity.
    let magnitudes = x.iter().map(|x| x.to_bits() & (u32::MAX >> 1));
    let numbers = magnitudes.filter(|bits| *bits <= f32::INFINITY.to_bits());
    let exponent = (numbers.max().unwrap_or(0) >> 23) as i32 - 127;
    if (SMALLEST..=127).contains(&exponent) {
        let exponent = exponent + 1 - bits;
        (exponent, power_of_two(-exponent))
    } else {
        (SMALLEST + 1 - bits, 0.0)
    }
}

/// `value * factor` to the nearest integer, in `-limit..=limit`; NaN is 0.
fn round(value: f32, factor: f32, limit: i32) -> i32 {
    let scaled = value * factor;
    // Also infinity times a factor of 0.
    let scaled = if scaled.is_nan() { 0.0 } else { scaled };
    let rounded = (scaled + ROUND).to_bits().wrapping_sub(ROUND.to_bits());
    rounded.cast_signed().clamp(-limit, limit)
}
