//! Every instruction set against `scalar`, on fresh random inputs and odd sizes.

use std::vec;
use std::vec::Vec;

use half::f16;

use super::Isa;
use crate::quant::{BLOCK, Q8, WeightFormat};
use crate::rng::Rng;

const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (3, 7, 2),
    (2, 32, 1),
    (5, 33, 3),
    (4, 172, 2),
    (7, 256, 1),
    (3, 300, 5),
    (2, 777, 4),
];

/// A seed of this run; in every message, so that a failure can be repeated.
fn fresh_seed() -> u64 {
    if cfg!(miri) {
        return 1;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |time| time.as_nanos() as u64)
}

fn random(rng: &mut Rng, n: usize) -> Vec<f32> {
    let scale = 10.0 * rng.next_unit() + 1e-3;
    (0..n)
        .map(|_| (rng.next_unit() * 2.0 - 1.0) * scale)
        .collect()
}

/// Bytes at a 16-byte boundary.
struct Bytes(Vec<u128>, usize);

impl Bytes {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(16)], len)
    }
    fn get(&mut self) -> &mut [u8] {
        #[expect(unsafe_code, reason = "u128 to bytes")]
        // SAFETY: the vector holds at least `len` initialised bytes.
        unsafe {
            core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.1)
        }
    }
}

#[test]
fn q8_gives_the_same_bits() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in SIZES {
        let blocks = cols.div_ceil(BLOCK);
        let mut bytes = Bytes::new(Q8::FORMAT.matrix_bytes(rows, cols) as usize);
        Q8::FORMAT.encode(bytes.get(), &random(&mut rng, rows * cols), cols);
        // Files may hold -128, which the encoder never writes.
        bytes.get()[0] = 0x80;
        let w = Q8::matrix(bytes.get(), rows, cols);
        let x = random(&mut rng, n_tokens * cols);
        let run = |isa: Isa| {
            let mut quants = vec![99; n_tokens * blocks * BLOCK];
            let mut scales = vec![9.0; n_tokens * blocks];
            let mut out = vec![0.0; n_tokens * rows];
            isa.quantize(&mut quants, &mut scales, &x, cols);
            isa.matmul_q8(&mut out, w, &quants, &scales);
            (quants, scales, out)
        };
        let expected = run(Isa::Scalar);
        assert_eq!(run(Isa::detect()), expected, "seed {seed}, {rows} x {cols}");
        let mut row = vec![0.0; cols];
        Q8::row(Isa::Scalar, &mut row, w, rows - 1);
        let products = row
            .iter()
            .zip(&x)
            .map(|(w, x)| f64::from(*w) * f64::from(*x));
        let exact: f64 = products.sum();
        let size: f64 = x[..cols].iter().map(|x| f64::from(x.abs())).sum();
        let error = (f64::from(expected.2[rows - 1]) - exact).abs();
        assert!(error <= 0.1 * size, "seed {seed}, {rows} x {cols}: {error}");
    }
}

#[test]
fn quantize_at_extremes_gives_the_same_bits() {
    for value in [0.0, 1e-42, 1e-38, 1e-30, 1.0, 1e30, 3.4e38] {
        let mut x = [0.25 * value; 40];
        (x[5], x[35]) = (-value, value);
        let run = |isa: Isa| {
            let (mut quants, mut scales) = ([1; 64], [1.0; 2]);
            isa.quantize(&mut quants, &mut scales, &x, 40);
            (quants, scales)
        };
        assert_eq!(run(Isa::detect()), run(Isa::Scalar), "{value}");
    }
}

#[test]
fn floats_agree_within_tolerance() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in SIZES {
        let w = random(&mut rng, rows * cols);
        let half: Vec<f16> = w.iter().map(|w| f16::from_f32(*w)).collect();
        let widened: Vec<f32> = half.iter().map(|w| w.to_f32()).collect();
        let x = random(&mut rng, n_tokens * cols);
        for isa in [Isa::Scalar, Isa::detect()] {
            let mut out = vec![0.0; n_tokens * rows];
            isa.matmul_f32(&mut out, &w, &x, cols);
            check(&out, &w, &x, cols, seed);
            isa.matmul_f16(&mut out, &half, &x, cols);
            check(&out, &widened, &x, cols, seed);
            let mut wide = vec![0.0; half.len()];
            isa.widen_f16(&mut wide, &half);
            assert_eq!(wide, widened);
        }
    }
}

/// Against the sum in `f64`.
fn check(out: &[f32], w: &[f32], x: &[f32], cols: usize, seed: u64) {
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
