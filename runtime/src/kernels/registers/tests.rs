//! The kernels on registers that are arrays, wherever tests run and under Miri.

use core::array;
use std::vec;
use std::vec::Vec;

use half::f16;

use super::*;
use crate::bytes::Buffer;
use crate::kernels::tests::{bits, check, fresh_seed, random, sizes, whole};
use crate::kernels::{Isa, Output, scalar};
use crate::quant::{Activations, Q4, Q8, Q8Activations, WeightFormat, q4_integers};
use crate::rng::Rng;

/// Registers that are arrays.
#[derive(Clone, Copy)]
struct Arrays;

impl Registers for Arrays {
    type Floats = [f32; 4];
    type Integers = [i32; 4];
    type Block = [i8; BLOCK];

    fn splat(self, x: f32) -> [f32; 4] {
        [x; 4]
    }

    fn load(self, x: &[f32; LANES]) -> [[f32; 4]; 2] {
        [0, 4].map(|start| array::from_fn(|i| x[start + i]))
    }

    fn load_f16(self, x: &[f16; LANES]) -> [[f32; 4]; 2] {
        self.load(&x.map(f16::to_f32))
    }

    fn store(self, out: &mut [f32; 4], x: [f32; 4]) {
        *out = x;
    }

    fn widen(self, x: [f16; 4]) -> [f32; 4] {
        x.map(f16::to_f32)
    }

    #[cfg(feature = "kv-float")]
    fn narrow(self, x: [[f32; 4]; 2]) -> [f16; LANES] {
        let mut out = [f16::ZERO; LANES];
        scalar::narrow_f16(&mut out, x.as_flattened());
        out
    }

    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array::from_fn(|i| a[i] + b[i])
    }

    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array::from_fn(|i| a[i] * b[i])
    }

    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        array::from_fn(|i| a[i] * b[i] + c[i])
    }

    fn transpose(self, x: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        array::from_fn(|i| x.map(|x| x[i]))
    }

    fn block(self, x: &[i8; BLOCK]) -> [i8; BLOCK] {
        *x
    }

    fn block_q4(self, x: &[i8; Q4_BYTES]) -> [i8; BLOCK] {
        q4_integers(x).map(|q| 16 * q)
    }

    fn dots(self, w: [[i8; BLOCK]; ROWS], x: [i8; BLOCK]) -> [i32; 4] {
        w.map(|w| {
            w.iter()
                .zip(x)
                .map(|(w, x)| i32::from(*w) * i32::from(x))
                .sum()
        })
    }

    fn exact(self, x: [i32; 4]) -> [f32; 4] {
        x.map(|x| x as f32)
    }

    fn exact_q4(self, x: [i32; 4]) -> [f32; 4] {
        x.map(|x| (x / 16) as f32)
    }

    fn quantize_block(self, quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32 {
        scalar::quantize_block(quants, x)
    }
}

#[test]
fn tiles_of_q8_give_the_same_bits() {
    tiles_agree::<Q8>(|out, w, x| matmul_q8(Arrays, out, w, x));
}

#[test]
fn tiles_of_q4_give_the_same_bits() {
    tiles_agree::<Q4>(|out, w, x| matmul_q4(Arrays, out, w, x));
}

fn tiles_agree<W: WeightFormat>(matmul: impl Fn(Output<'_>, W::Matrix<'_>, Q8Activations<'_>)) {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in sizes() {
        let blocks = W::FORMAT.blocks(cols);
        let mut buffer = Buffer::new(W::FORMAT.matrix_bytes(rows, cols) as usize);
        W::FORMAT.encode(buffer.bytes(), &random(&mut rng, rows * cols), cols);
        let w = W::matrix(buffer.bytes(), rows, cols);
        let values = random(&mut rng, n_tokens * cols);
        let mut quants = vec![99; n_tokens * blocks.quants];
        let mut scales = vec![9.0; n_tokens * blocks.n];
        quantize(Arrays, &mut quants, &mut scales, &values, cols);
        let q8 = Q8Activations {
            quants: &quants,
            scales: &scales,
            blocks,
        };
        let (mut out, mut expected) = (vec![0.0; n_tokens * rows], vec![0.0; n_tokens * rows]);
        matmul(whole(&mut out, rows), w, q8);
        let x = Activations {
            values: &values,
            q8,
        };
        W::matmul(Isa::Scalar, whole(&mut expected, rows), w, 0..rows, x);
        assert_eq!(bits(&out), bits(&expected), "seed {seed}, {rows} x {cols}");
    }
}

#[test]
fn tiles_of_floats_agree_within_tolerance() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    for (rows, cols, n_tokens) in sizes() {
        let half: Vec<f16> = random(&mut rng, rows * cols)
            .iter()
            .map(|w| f16::from_f32(*w))
            .collect();
        let mut w = vec![0.0; half.len()];
        widen_f16(Arrays, &mut w, &half);
        let x = random(&mut rng, n_tokens * cols);
        let mut out = vec![0.0; n_tokens * rows];
        matmul_f32(Arrays, whole(&mut out, rows), &w, &x, cols);
        check(&out, &w, &x, cols, seed);
        out.fill(0.0);
        matmul_f16(Arrays, whole(&mut out, rows), &half, &x, cols);
        check(&out, &w, &x, cols, seed);
    }
}

#[cfg(feature = "kv-float")]
#[test]
fn attention_on_arrays_gives_the_same_bits() {
    crate::kernels::tests::attention_agrees(
        |out, scores, query, keys, values| {
            attend(Arrays, out, scores, query, keys, values, |x| Arrays.load(x));
        },
        |out, scores, query, keys, values| {
            attend(Arrays, out, scores, query, keys, values, |x| {
                Arrays.load_f16(x)
            });
        },
    );
}

#[cfg(feature = "kv-float")]
#[test]
fn narrowing_ends_anywhere() {
    let x = random(&mut Rng::new(1, 0), 33);
    let (mut out, mut expected) = ([f16::ONE; 33], [f16::ONE; 33]);
    narrow_f16(Arrays, &mut out, &x);
    scalar::narrow_f16(&mut expected, &x);
    assert_eq!(out, expected);
}
