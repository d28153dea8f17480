//! Every instruction set against `scalar`, on fresh random inputs and odd sizes.

mod integer_attention;

use std::io::Write;
use std::vec;
use std::vec::Vec;

use half::f16;

#[cfg(feature = "rayon")]
use super::Tile;
use super::{Isa, Output};
use crate::bytes::Buffer;
#[cfg(feature = "kv-float")]
use crate::math;
#[cfg(feature = "kv-float")]
use crate::ops;
use crate::quant::{Activations, BLOCK, Q4, Q8, Q8Activations, WeightFormat};
use crate::rng::Rng;

const SIZES: [(usize, usize, usize); 22] = [
    (1, 1, 1),
    (3, 7, 2),
    (2, 32, 1),
    (5, 33, 3),
    (4, 172, 2),
    (7, 256, 1),
    (3, 300, 5),
    (2, 777, 4),
    (9, 64, 7),
    (5, 380, 9),
    (10, 352, 34),
    (5, 513, 33),
    (6, 8256, 1),
    (5, 8192, 1),
    (3, 8192, 5),
    (2, 8192, 40),
    (17, 288, 12),
    (35, 1030, 11),
    (17, 4096, 21),
    (33, 64, 1),
    (7, 128, 1),
    (67, 20, 1),
];

/// Rows, columns and tokens: [`SIZES`], of which Miri has time for the small ones.
pub(super) fn sizes() -> impl Iterator<Item = (usize, usize, usize)> {
    let affordable = |size: &(usize, usize, usize)| !cfg!(miri) || size.0 * size.1 * size.2 < 500;
    SIZES.into_iter().filter(affordable)
}

/// A seed of this run; in every message, so that a failure can be repeated.
pub(crate) fn fresh_seed() -> u64 {
    if cfg!(miri) {
        return 1;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |time| time.as_nanos() as u64)
}

/// Every set that runs here. Where that is `scalar` alone, what the tests compare is nothing: says
/// so, past the capture of a test's output.
pub(crate) fn every_isa() -> Vec<Isa> {
    let all: Vec<Isa> = Isa::available().collect();
    if all.len() == 1 {
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "only scalar kernels run here: nothing to compare them with"
        );
    }
    all
}

/// Floats as what they are stored as: NaN equals itself, -0 is not 0.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Room for all rows of a matrix.
pub(super) fn whole(values: &mut [f32], rows: usize) -> Output<'_> {
    Output {
        values,
        stride: rows,
        first: 0,
    }
}

pub(super) fn random(rng: &mut Rng, n: usize) -> Vec<f32> {
    let scale = 10.0 * rng.next_unit() + 1e-3;
    (0..n)
        .map(|_| (rng.next_unit() * 2.0 - 1.0) * scale)
        .collect()
}

#[test]
fn q8_gives_the_same_bits() {
    sets_agree::<Q8>(0.1);
}

#[test]
fn q4_gives_the_same_bits() {
    sets_agree::<Q4>(0.9);
}

/// On products whose results are right to `tolerance`, see [`error_of`].
fn sets_agree<W: WeightFormat>(tolerance: f64) {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in sizes() {
        let mut buffer = Buffer::new(W::FORMAT.matrix_bytes(rows, cols) as usize);
        W::FORMAT.encode(buffer.bytes(), &random(&mut rng, rows * cols), cols);
        // Files may hold -128, which the encoder of q8 never writes.
        buffer.bytes()[0] = 0x80;
        let w = W::matrix(buffer.bytes(), rows, cols);
        let x = random(&mut rng, n_tokens * cols);
        let run = |isa: Isa| product::<W>(isa, w, &x, rows, cols);
        let expected = run(Isa::Scalar);
        for isa in every_isa() {
            let (quants, scales, out) = run(isa);
            let same = (&quants, &scales) == (&expected.0, &expected.1);
            assert!(
                same && bits(&out) == bits(&expected.2),
                "{isa:?}, seed {seed}, {rows} x {cols}"
            );
        }
        let mut row = vec![0.0; cols];
        W::row(Isa::Scalar, &mut row, w, rows - 1);
        let error = error_of(expected.2[rows - 1], &row, &x);
        assert!(error <= tolerance, "seed {seed}, {rows} x {cols}: {error}");
    }
}

/// What activations become, and their products with a matrix.
fn product<W: WeightFormat>(
    isa: Isa,
    w: W::Matrix<'_>,
    x: &[f32],
    rows: usize,
    cols: usize,
) -> (Vec<i8>, Vec<u32>, Vec<f32>) {
    let (n_tokens, blocks) = (x.len() / cols, cols.div_ceil(BLOCK));
    let mut quants = vec![99; n_tokens * blocks * BLOCK];
    let mut scales = vec![9.0; n_tokens * blocks];
    let mut out = vec![0.0; n_tokens * rows];
    let mut values = x.to_vec();
    W::quantize(isa, &mut quants, &mut scales, &mut values, cols);
    let q8 = Q8Activations {
        quants: &quants,
        scales: &scales,
        blocks: W::FORMAT.blocks(cols),
    };
    let x = Activations {
        values: &values,
        q8,
    };
    // In two parts, of which the second may have no rows.
    let cut = (rows / 2).next_multiple_of(16).min(rows);
    for part in [0..cut, cut..rows] {
        let out = Output {
            first: part.start,
            ..whole(&mut out, rows)
        };
        W::matmul(isa, out, w, part, x);
    }
    (quants, bits(&scales), out)
}

#[test]
fn the_largest_sums_give_the_same_bits() {
    largest_agree::<Q8>();
    largest_agree::<Q4>();
}

/// All weights and all activations of a block as large as they can be, which random ones never are.
fn largest_agree<W: WeightFormat>() {
    let (rows, cols, blocks) = (17, 2 * BLOCK, 2);
    let mut buffer = Buffer::new(W::FORMAT.matrix_bytes(rows, cols) as usize);
    W::FORMAT.encode(buffer.bytes(), &vec![1.0; rows * cols], cols);
    let quants = buffer.bytes().len() - rows * blocks * size_of::<f16>();
    for byte in [0x80, 0x7F, 0xFF, 0] {
        buffer.bytes()[..quants].fill(byte);
        let w = W::matrix(buffer.bytes(), rows, cols);
        for (n_tokens, value) in [1, 2, 13].into_iter().flat_map(|n| [(n, 1.0), (n, -1.0)]) {
            let x = vec![value; n_tokens * cols];
            let expected = product::<W>(Isa::Scalar, w, &x, rows, cols);
            for isa in every_isa() {
                let found = product::<W>(isa, w, &x, rows, cols);
                assert_eq!(found, expected, "{isa:?}, {byte:#x}, {n_tokens} of {value}");
            }
        }
    }
}

/// Of a dot product, as a share of what 8 bits leave undecided.
fn error_of(dot: f32, w: &[f32], x: &[f32]) -> f64 {
    let products = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
    let exact: f64 = products.sum();
    let size: f64 = x[..w.len()].iter().map(|x| f64::from(x.abs())).sum();
    (f64::from(dot) - exact).abs() / size
}

#[test]
fn quantize_at_extremes_gives_the_same_bits() {
    let nan = f32::from_bits(0x7FC0_0055);
    let values = [
        0.0,
        1e-45,
        1e-42,
        1e-38,
        1e-30,
        1.0,
        1e30,
        3.4e38,
        f32::INFINITY,
        nan,
        -nan,
    ];
    for (value, rest) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
        let mut x = [0.25 * rest; 40];
        (x[3], x[5], x[35], x[39]) = (-0.0, -value, value, 1.0);
        let run = |isa: Isa| {
            let (mut quants, mut scales) = ([1; 64], [1.0; 2]);
            isa.quantize(&mut quants, &mut scales, &mut x.clone(), 40);
            (quants, scales.map(f32::to_bits))
        };
        let expected = run(Isa::Scalar);
        for isa in every_isa() {
            assert_eq!(run(isa), expected, "{isa:?}, {value} among {rest}");
        }
        check_rule(&x, &expected.0, expected.1.map(f32::from_bits));
    }
}

/// NaN is 0, and a block with an infinity zeros.
fn check_rule(x: &[f32], quants: &[i8], scales: [f32; 2]) {
    for (x, (quants, scale)) in x.chunks(BLOCK).zip(quants.chunks(BLOCK).zip(scales)) {
        assert!(scale.is_finite());
        for (x, quant) in x.iter().zip(quants) {
            assert!(
                *quant == 0 || x.is_finite() && *quant >= -127,
                "{x}: {quant}"
            );
        }
        if x.iter().any(|x| x.is_infinite()) {
            assert!(scale == 0.0 && quants.iter().all(|quant| *quant == 0));
        }
    }
}

#[test]
fn swiglu_gives_the_same_bits() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for n in [1, 2, 7, 8, 33, 172] {
        let mut gates = random(&mut rng, n);
        let mut ups = random(&mut rng, n);
        let extremes = [
            f32::NAN,
            f32::INFINITY,
            -32.0,
            31.999_998,
            -0.0,
            1e-40,
            -1e30,
        ];
        for (gate, extreme) in gates.iter_mut().step_by(2).zip(extremes) {
            *gate = extreme;
        }
        (gates[0], ups[n - 1]) = (f32::from_bits(rng.next() as u32), -0.0);
        let run = |isa: Isa| {
            let mut out = gates.clone();
            isa.swiglu_q16(&mut out, &ups);
            bits(&out)
        };
        let expected = run(Isa::Scalar);
        for isa in every_isa() {
            assert_eq!(run(isa), expected, "{isa:?}, seed {seed}, {n}");
        }
    }
}

#[test]
fn floats_agree_within_tolerance() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in sizes() {
        let w = random(&mut rng, rows * cols);
        let half: Vec<f16> = w.iter().map(|w| f16::from_f32(*w)).collect();
        let widened: Vec<f32> = half.iter().map(|w| w.to_f32()).collect();
        let x = random(&mut rng, n_tokens * cols);
        for isa in every_isa() {
            let mut out = vec![0.0; n_tokens * rows];
            isa.matmul_f32(whole(&mut out, rows), &w, &x, cols);
            check(&out, &w, &x, cols, seed);
            for (x, out) in x.chunks(cols).zip(out.chunks(rows)) {
                let mut alone = vec![0.0; rows];
                isa.matmul_f32(whole(&mut alone, rows), &w, x, cols);
                assert_eq!(bits(&alone), bits(out), "{isa:?}, seed {seed}");
            }
            isa.matmul_f16(whole(&mut out, rows), &half, &x, cols);
            check(&out, &widened, &x, cols, seed);
            for (x, out) in x.chunks(cols).zip(out.chunks(rows)) {
                let mut alone = vec![0.0; rows];
                isa.matmul_f16(whole(&mut alone, rows), &half, x, cols);
                assert_eq!(bits(&alone), bits(out), "{isa:?}, seed {seed}");
            }
            let mut wide = vec![0.0; half.len()];
            isa.widen_f16(&mut wide, &half);
            assert_eq!(wide, widened);
        }
    }
}

/// Against the sum in `f64`.
pub(super) fn check(out: &[f32], w: &[f32], x: &[f32], cols: usize, seed: u64) {
    let rows = w.len() / cols;
    for (t, x) in x.chunks_exact(cols).enumerate() {
        for (r, w) in w.chunks_exact(cols).enumerate() {
            let products = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let exact: f64 = products.clone().sum();
            let size: f64 = products.map(f64::abs).sum();
            let error = (f64::from(out[t * rows + r]) - exact).abs();
            assert!(error <= 1e-6 * size, "seed {seed}, [{t}, {r}]: {error}");
        }
    }
}

#[cfg(feature = "kv-float")]
#[test]
fn attention_gives_the_same_bits() {
    for isa in every_isa().into_iter().skip(1) {
        attention_agrees(
            |out, scores, query, keys, values| {
                assert!(isa.attend_f32(out, scores, query, keys, values));
            },
            |out, scores, query, keys, values| {
                assert!(isa.attend_f16(out, scores, query, keys, values));
            },
        );
    }
}

/// With attention in the order of `ops`, one after the other.
#[cfg(feature = "kv-float")]
pub(super) fn attention_agrees(
    attend_f32: impl Fn(&mut [f32], &mut [f32], &[f32], &[f32], &[f32]),
    attend_f16: impl Fn(&mut [f32], &mut [f32], &[f32], &[f16], &[f16]),
) {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (n, head_size) in [
        (1, 1),
        (3, 7),
        (4, 8),
        (5, 16),
        (33, 64),
        (9, 97),
        (7, 60),
        (11, 32),
    ] {
        let query = random(&mut rng, head_size);
        let mut cache = || -> Vec<f16> {
            let values = random(&mut rng, n * head_size);
            values.iter().map(|x| f16::from_f32(*x)).collect()
        };
        let (keys, values) = (cache(), cache());
        let wide = |x: &[f16]| -> Vec<f32> { x.iter().map(|x| x.to_f32()).collect() };
        let (wide_keys, wide_values) = (wide(&keys), wide(&values));
        let (mut scores, mut expected) = (vec![0.0; n], vec![0.0; head_size]);
        for (score, key) in scores.iter_mut().zip(wide_keys.chunks(head_size)) {
            *score = ops::dot(&query, key) * (1.0 / math::sqrt(head_size as f32));
        }
        ops::softmax(&mut scores);
        for (score, value) in scores.iter().zip(wide_values.chunks(head_size)) {
            ops::axpy(&mut expected, *score, value);
        }
        let mut out = vec![9.0; head_size];
        attend_f32(
            &mut out,
            &mut vec![9.0; n],
            &query,
            &wide_keys,
            &wide_values,
        );
        assert_eq!(
            bits(&out),
            bits(&expected),
            "seed {seed}, f32, {n} of {head_size}"
        );
        out.fill(9.0);
        attend_f16(&mut out, &mut vec![9.0; n], &query, &keys, &values);
        assert_eq!(
            bits(&out),
            bits(&expected),
            "seed {seed}, f16, {n} of {head_size}"
        );
    }
}

#[cfg(feature = "rayon")]
#[test]
fn attention_of_four_tokens_gives_the_bits_of_one() {
    let (seed, n_tokens) = (fresh_seed(), Tile::TOKENS);
    let mut rng = Rng::new(seed, 0);
    let sizes = [(1, 1), (2, 7), (4, 8), (6, 48), (33, 70), (3, 128)];
    for isa in every_isa().into_iter().filter(|isa| isa.has_tiles()) {
        for (n, head_size) in sizes {
            let last = n + n_tokens - 1;
            let mut cache = || -> Vec<f16> {
                let values = random(&mut rng, last * head_size);
                values.iter().map(|x| f16::from_f32(*x)).collect()
            };
            let (keys, values) = (cache(), cache());
            let (query_stride, out_stride) = (head_size + 3, head_size + 1);
            let queries = random(&mut rng, n_tokens * query_stride);
            let mut out = vec![9.0; n_tokens * out_stride];
            let mut scores = vec![9.0; Tile::scores(last)];
            isa.attend_tile(Tile {
                out: &mut out,
                out_stride,
                queries: &queries,
                query_stride,
                scores: &mut scores,
                keys: &keys,
                values: &values,
                head_size,
                n,
            });
            let mut expected = vec![9.0; out.len()];
            for t in 0..n_tokens {
                let (query, own) = (
                    &queries[t * query_stride..][..head_size],
                    (n + t) * head_size,
                );
                let out = &mut expected[t * out_stride..][..head_size];
                let mut scores = vec![0.0; n + t];
                isa.attend_f16(out, &mut scores, query, &keys[..own], &values[..own]);
            }
            assert_eq!(
                bits(&out),
                bits(&expected),
                "seed {seed}, {n} of {head_size}"
            );
        }
    }
}

#[test]
fn halves_are_the_nearest_and_come_back() {
    // Miri has no time for all of them.
    let all = (0..=u16::MAX).step_by(if cfg!(miri) { 997 } else { 1 });
    let halves: Vec<f16> = all.map(f16::from_bits).collect();
    let values: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
    let number = |x: &[f32]| -> Vec<u32> {
        x.iter()
            .map(|x| if x.is_nan() { 1 } else { x.to_bits() })
            .collect()
    };
    for isa in every_isa() {
        let mut wide = vec![9.0; halves.len()];
        isa.widen_f16(&mut wide, &halves);
        assert_eq!(number(&wide), number(&values), "{isa:?}");
        #[cfg(feature = "kv-float")]
        for step in [-1e-3, -4e-4, 0.0, 4e-4, 1e-3] {
            let near: Vec<f32> = values
                .iter()
                .map(|x| x + x * step)
                .chain([1e30, -1e30])
                .collect();
            let mut narrow = vec![f16::ONE; near.len()];
            isa.narrow_f16(&mut narrow, &near);
            let expected: Vec<f16> = near.iter().map(|x| crate::quant::nearest_f16(*x)).collect();
            assert!(
                narrow
                    .iter()
                    .zip(&expected)
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
                "{isa:?}, {step}"
            );
        }
    }
}
