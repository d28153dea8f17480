//! Attention in integers, and how heads become integers.

use std::vec;
use std::vec::Vec;

use super::{bits, every_isa, fresh_seed, random};
use crate::kernels::Isa;
use crate::kernels::attention::{Attention, BaseScale, Heads, KEPT_BITS, PIECE, Row};
use crate::rng::Rng;

const HEAD_SIZES: [usize; 9] = [1, 7, 8, 33, 48, 64, 97, 128, 130];

const TOKENS: [usize; 7] = [1, 2, 7, 8, 33, 300, PIECE + 9];

/// Bits of a query of any of these.
const QUERY_BITS: i32 = 15;

/// Heads of each set of numbers that makes a difference.
fn heads(rng: &mut Rng, head_size: usize) -> [Vec<f32>; 5] {
    let n = 3 * head_size;
    let any: Vec<f32> = (0..n).map(|_| f32::from_bits(rng.next() as u32)).collect();
    let mut among = |extremes: [f32; 4]| {
        let mut x = random(rng, n);
        for _ in 0..n.div_ceil(8) {
            x[rng.next_below(n)] = extremes[rng.next_below(4)];
        }
        x
    };
    let numbers = among([f32::NAN, -f32::NAN, -0.0, 3e-39]);
    let large = among([f32::INFINITY, f32::NEG_INFINITY, -3e38, 1e38]);
    let mut small = among([0.0; 4]);
    for x in &mut small {
        // About where heads become zeros.
        *x *= 2e-19;
    }
    [any, numbers, large, small, vec![-0.0; n]]
}

#[test]
fn heads_become_the_same_integers() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    // Miri has time for small ones.
    for head_size in HEAD_SIZES.into_iter().filter(|n| !cfg!(miri) || *n < 34) {
        let width = head_size.next_multiple_of(4);
        for (i, x) in heads(&mut rng, head_size).iter().enumerate() {
            let kept = |isa: Isa, in_pairs| {
                let (n_ctx, position) = (4, 3);
                let mut integers = vec![99; 3 * n_ctx * width];
                let mut exponents = vec![99; 3 * n_ctx];
                let start = match in_pairs {
                    true => (position - 1) * width + 2,
                    false => position * width,
                };
                let row = Row {
                    integers: &mut integers[start..],
                    exponents: &mut exponents[position..],
                    head_size,
                    width,
                    n_ctx,
                    in_pairs,
                };
                isa.keep(row, x);
                (integers, exponents)
            };
            let run = |isa: Isa| {
                let asked = [KEPT_BITS, QUERY_BITS].map(|bits| {
                    let (mut out, mut exponents) = (vec![99; 3 * width], vec![99; 3]);
                    isa.integers(&mut out, &mut exponents, x, head_size, bits);
                    (out, exponents)
                });
                (asked, kept(isa, false), kept(isa, true))
            };
            let expected = run(Isa::Scalar);
            for isa in every_isa().into_iter().skip(1) {
                assert!(
                    run(isa) == expected,
                    "{isa:?}, seed {seed}, {head_size}, {i}"
                );
            }
        }
    }
}

/// Queries, keys and values of two groups of two heads, with their exponents.
struct Case {
    queries: Vec<i16>,
    query_exponents: Vec<i8>,
    keys: Vec<i8>,
    key_exponents: Vec<i8>,
    values: Vec<i8>,
    value_exponents: Vec<i8>,
}

impl Case {
    const HEADS: usize = 4;

    /// With exponents that are alike or any, and integers that are any or as large as they can be, or keys of zeros.
    fn new(rng: &mut Rng, n_ctx: usize, width: usize, kind: usize) -> Self {
        let mut integers = |n, limit: i32, largest: bool| -> Vec<i32> {
            let mut any = || rng.next_below(2 * limit as usize) as i32 - limit;
            let fill = |_| match (any(), largest) {
                (any, false) => any,
                (0.., true) => limit - 1,
                (_, true) => -limit,
            };
            (0..n).map(fill).collect()
        };
        let bytes = |x: Vec<i32>| -> Vec<i8> { x.into_iter().map(|x| x as i8).collect() };
        let (tokens, largest) = (2 * n_ctx, kind == 2);
        let spread = if kind == 1 { 64 } else { 4 };
        let queries = integers(Self::HEADS * width, 1 << QUERY_BITS, largest);
        let mut keys = bytes(integers(tokens * width, 1 << KEPT_BITS, largest));
        if kind == 3 {
            keys.fill(0);
        }
        Self {
            queries: queries.into_iter().map(|x| x as i16).collect(),
            query_exponents: bytes(integers(Self::HEADS, spread, false)),
            keys,
            key_exponents: bytes(integers(tokens, spread, false)),
            values: bytes(integers(tokens * width, 1 << KEPT_BITS, largest)),
            value_exponents: bytes(integers(tokens, spread, false)),
        }
    }

    /// The bits of attention of some heads to `n` tokens.
    fn attend(&self, isa: Isa, n: usize, head_size: usize, heads: [usize; 2]) -> Vec<u32> {
        let (width, n_ctx) = (head_size.next_multiple_of(4), self.key_exponents.len() / 2);
        let [first, last] = heads;
        let mut queries = self.queries[first * width..last * width].to_vec();
        let mut out = vec![9.0; (last - first) * head_size];
        let attention = Attention {
            n,
            n_ctx,
            width,
            group_size: 2,
            keys: &self.keys,
            key_exponents: &self.key_exponents,
            values: &self.values,
            value_exponents: &self.value_exponents,
            scores: &mut vec![99; n_ctx],
            sums: &mut vec![99; width],
            scale: BaseScale::new(head_size),
        };
        let heads = Heads {
            first,
            queries: &mut queries,
            exponents: &self.query_exponents[first..last],
            out: &mut out,
        };
        isa.attend(attention, heads);
        bits(&out)
    }
}

#[test]
fn integer_attention_gives_the_same_bits() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    let sizes = HEAD_SIZES
        .into_iter()
        .flat_map(|head_size| TOKENS.map(|n| (n, head_size)));
    // The same.
    for (n, head_size) in sizes.filter(|(n, size)| !cfg!(miri) || n * size < 40) {
        let n_ctx = n.next_multiple_of(2) + 2 * rng.next_below(2);
        for kind in 0..if cfg!(miri) { 1 } else { 4 } {
            let case = Case::new(&mut rng, n_ctx, head_size.next_multiple_of(4), kind);
            for heads in [[0, Case::HEADS], [1, 2]] {
                let expected = case.attend(Isa::Scalar, n, head_size, heads);
                for isa in every_isa().into_iter().skip(1) {
                    let seen = case.attend(isa, n, head_size, heads);
                    assert!(
                        seen == expected,
                        "{isa:?}, seed {seed}, {n} of {head_size}, {kind}, {heads:?}"
                    );
                }
            }
        }
    }
}
