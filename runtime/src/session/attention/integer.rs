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
use crate::math::{self, power_of_two};
use crate::parts::{part, part_mut};

/// Bits of a key or value without its sign.
const BITS: i32 = 7;

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
    pub(crate) largest: Option<Largest>,
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

/// The largest exponents of a head's keys and values up to a position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest {
    place: Place,
    group: usize,
    key: i32,
    value: i32,
}

impl IntegerCache<'_> {
    pub(super) fn write(&mut self, isa: Isa, place: Place, keys: &[f32], values: &[f32]) {
        self.largest = None;
        let CacheShape {
            n_ctx,
            head_size,
            width,
            ..
        } = self.shape;
        let heads = keys.chunks_exact(head_size.max(1));
        for (i, keys) in heads.enumerate() {
            let head = (place.layer * self.shape.n_head_kv + i) * n_ctx;
            let exponent = isa.integers(self.query, keys, BITS);
            part_mut(self.key_exponents, head + place.position, 1).fill(exponent as i8);
            let row = part_mut(self.keys, (head + place.position) * width, width);
            for (out, integer) in row.iter_mut().zip(&*self.query) {
                *out = *integer as i8;
            }
            let values = part(values, i * head_size, head_size);
            let exponent = isa.integers(self.query, values, BITS);
            part_mut(self.value_exponents, head + place.position, 1).fill(exponent as i8);
            let pair = part_mut(
                self.values,
                (head + (place.position & !1)) * width,
                2 * width,
            );
            let words = pair.as_chunks_mut::<2>().0.iter_mut();
            let places = words.skip(place.position & 1).step_by(2);
            for (place, columns) in places.zip(self.query.as_chunks::<2>().0) {
                *place = columns.map(|integer| integer as i8);
            }
        }
    }

    pub(super) fn attend(
        &mut self,
        isa: Isa,
        place: Place,
        group: usize,
        query: &[f32],
        out: &mut [f32],
    ) {
        let largest = self.largest(isa, place, group);
        let shape = &self.shape;
        let n = place.position + 1;
        let head = (place.layer * shape.n_head_kv + group) * shape.n_ctx;
        let key_exponents = part(self.key_exponents, head, n);
        let value_exponents = part(self.value_exponents, head, n);
        let start = head * shape.width;

        let exponent = isa.integers(self.query, query, shape.query_bits());
        let scale = self.scale.of(exponent, largest.key);
        let scores = part_mut(self.scores, 0, n.next_multiple_of(2));
        let keys = part(self.keys, start, n * shape.width);
        let most = isa.scores(scores, self.query, keys, key_exponents, scale);

        let (mut total, mut all) = (0.0, 0);
        let pieces = scores.chunks_mut(PIECE).zip(value_exponents.chunks(PIECE));
        for (scores, exponents) in pieces {
            let (sum, used) = isa.weights(scores, exponents, most, largest.value, scale.fraction);
            total += sum as f32;
            all |= used;
        }
        // Bits up to the 30th.
        let lead = all.leading_zeros().saturating_sub(2).min(29);
        let factor = power_of_two(largest.value + 7 - lead as i32) / total;
        let values = part(self.values, start, scores.len() * shape.width);
        let values = values.chunks((PIECE * shape.width).max(1));
        for (i, (weights, values)) in scores.chunks(PIECE).zip(values).enumerate() {
            isa.weighted_sums(self.sums, weights, lead, values);
            for (out, sum) in out.iter_mut().zip(&*self.sums) {
                let earlier = if i == 0 { 0.0 } else { *out };
                *out = earlier + *sum as f32 * factor;
            }
        }
    }

    /// Heads of a group ask one after the other; the first one's answer is kept for the others.
    fn largest(&mut self, isa: Isa, place: Place, group: usize) -> Largest {
        if let Some(known) = self.largest
            && (known.place, known.group) == (place, group)
        {
            return known;
        }
        let head = (place.layer * self.shape.n_head_kv + group) * self.shape.n_ctx;
        let largest = |exponents| isa.largest(part(exponents, head, place.position + 1));
        let found = Largest {
            place,
            group,
            key: largest(self.key_exponents),
            value: largest(self.value_exponents),
        };
        self.largest = Some(found);
        found
    }
}
