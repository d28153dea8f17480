//! The step of [`Muon`] on one matrix, by the products of [`panels`].
//!
//! A matrix is computed by one thread from beginning to end; several are computed at once. `x x^T`
//! and its square are symmetric to the bit, as products commute: half of them is computed.

use core::mem;

use minigpt_runtime::ops;

use super::buffer::{Buffer, scratch};
use super::panels;
use super::rows::Rows;
use super::wide::wide;
use crate::optimizer::Muon;

/// Rows of a symmetric product that are computed at once.
const BLOCK: usize = 32;

/// One matrix with all that its step changes, each `[rows, cols]`.
pub(super) struct Matrix<'a> {
    param: &'a mut [f32],
    gradient: &'a mut [f32],
    momentum: &'a mut [f32],
    cols: usize,
}

/// The matrices of `rows` rows each that lie one below the other in a tensor.
pub(super) fn matrices<'a>(
    [param, gradient, momentum]: [&'a mut Buffer; 3],
    rows: &[usize],
    cols: usize,
) -> Vec<Matrix<'a>> {
    let mut rest: [&mut [f32]; 3] = [param, gradient, momentum];
    let matrix = |rows: &usize| {
        let [param, gradient, momentum] = rest.each_mut().map(|rest| {
            let (part, behind) = mem::take(rest).split_at_mut(rows * cols);
            *rest = behind;
            part
        });
        Matrix {
            param,
            gradient,
            momentum,
            cols,
        }
    };
    rows.iter().map(matrix).collect()
}

/// The formula of [`Muon`] on gradients times `clip`; clears the gradients.
pub(super) fn update(matrix: &mut Matrix<'_>, muon: &Muon, clip: f32) {
    let Matrix {
        param,
        gradient,
        momentum,
        cols,
    } = matrix;
    let (cols, rows) = (*cols, param.len() / *cols);
    let upright = rows > cols;
    scratch([param.len(), param.len()], |[u, x]| {
        wide(
            #[inline(always)]
            || {
                let values = gradient.iter_mut().zip(momentum.iter_mut());
                for (u, (gradient, momentum)) in u.iter_mut().zip(values) {
                    let fresh = (1.0 - muon.momentum) * (*gradient * clip);
                    *momentum = muon.momentum * *momentum + fresh;
                    *u = muon.momentum * *momentum + fresh;
                    *gradient = 0.0;
                }
            },
        );
        // The short side becomes the rows.
        if upright {
            transpose(x, u, cols);
            orthogonalize(x, u, rows);
            transpose(u, x, rows);
        } else {
            orthogonalize(u, x, cols);
        }
        let keep = 1.0 - muon.learning_rate * muon.weight_decay;
        let rate = muon.learning_rate * Muon::scale(rows, cols);
        wide(
            #[inline(always)]
            || {
                for (param, u) in param.iter_mut().zip(&*u) {
                    *param = keep * *param - rate * u;
                }
            },
        );
    });
}

/// `out[j, i] = from[i, j]`, `from` of `cols` columns.
fn transpose(out: &mut [f32], from: &[f32], cols: usize) {
    let rows = from.len() / cols;
    for (i, row) in from.chunks_exact(cols).enumerate() {
        for (out, value) in out[i..].iter_mut().step_by(rows).zip(row) {
            *out = *value;
        }
    }
}

/// Replaces `x`, which has no more rows than its `cols` columns, by what [`Muon`] calls
/// `orthogonal(x)`; `other` is as long and of any value.
fn orthogonalize(x: &mut [f32], other: &mut [f32], cols: usize) {
    let n = x.len() / cols;
    let squares = x.chunks(1 << 14).map(|part| {
        wide(
            #[inline(always)]
            || f64::from(ops::dot(part, part)),
        )
    });
    let length = squares.sum::<f64>().sqrt() as f32;
    let scale = 1.0 / (length + Muon::EPS);
    x.iter_mut().for_each(|value| *value *= scale);
    let lens = [(cols, n), (n, n), (n, cols)].map(|(inner, out)| panels::packed_len(inner, out));
    let [across, square, along] = lens;
    let packed = across.max(square).max(along);
    let sizes = [packed, n * n, n * n, BLOCK.min(n) * n];
    scratch(sizes, |[packed, s, polynomial, block]| {
        for _ in 0..Muon::ITERATIONS {
            panels::pack_rows_transposed(&mut packed[..across], Rows::whole(x, cols), n);
            symmetric(s, block, Rows::whole(x, cols), &packed[..across], n);
            panels::pack_rows(&mut packed[..square], Rows::whole(s, n), n);
            symmetric(polynomial, block, Rows::whole(s, n), &packed[..square], n);
            complete(polynomial, s, n);
            panels::pack_rows(&mut packed[..along], Rows::whole(x, cols), n);
            panels::multiply_rows(other, Rows::whole(polynomial, n), &packed[..along], n, cols);
            x.copy_from_slice(other);
        }
    });
}

/// `out = x packed`, which is known to be symmetric, by its lower half.
///
/// # Shapes
/// `out` `[n, n]`, `x` `[n, I]`, `packed` of `[I, n]`, `block` `[>= min(BLOCK, n), n]` of any value.
fn symmetric(out: &mut [f32], block: &mut [f32], x: Rows<'_>, packed: &[f32], n: usize) {
    for first in (0..n).step_by(BLOCK) {
        let last = n.min(first + BLOCK);
        let block = &mut block[..(last - first) * last];
        panels::multiply_rows(block, x.skip(first), packed, x.size(), last);
        for (i, row) in (first..last).zip(block.chunks_exact(last)) {
            out[i * n..i * n + last].copy_from_slice(row);
            for (j, value) in row[..first].iter().enumerate() {
                out[j * n + i] = *value;
            }
        }
    }
}

/// From `s s` to `a + b s + c s s`.
fn complete(square: &mut [f32], s: &[f32], n: usize) {
    let [a, b, c] = Muon::COEFFICIENTS;
    wide(
        #[inline(always)]
        || {
            for (square, s) in square.iter_mut().zip(s) {
                *square = b * s + c * *square;
            }
        },
    );
    for value in square.iter_mut().step_by(n + 1) {
        *value += a;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::wide::tests::on_each;
    use minigpt_runtime::math;
    use minigpt_runtime::rng::Rng;

    /// Rows and columns: wide, tall, square, odd, and across the edges of blocks and panels.
    const SIZES: [(usize, usize); 12] = [
        (1, 1),
        (1, 7),
        (7, 1),
        (2, 3),
        (33, 7),
        (7, 33),
        (16, 16),
        (65, 130),
        (130, 65),
        (48, 48),
        (32, 100),
        (97, 33),
    ];

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, 0);
        (0..len).map(|_| rng.next_unit() - 0.5).collect()
    }

    /// What [`update`] makes of `param` and `momentum`.
    fn updated(
        (rows, cols): (usize, usize),
        gradient: &[f32],
        muon: &Muon,
        clip: f32,
    ) -> [Vec<f32>; 3] {
        let mut param = random(rows * cols, 5);
        let mut momentum = random(rows * cols, 6);
        let mut gradient = gradient.to_vec();
        let mut matrix = Matrix {
            param: &mut param,
            gradient: &mut gradient,
            momentum: &mut momentum,
            cols,
        };
        update(&mut matrix, muon, clip);
        [param, momentum, gradient]
    }

    #[test]
    fn every_shape_is_the_same_bits_at_every_width() {
        let muon = Muon {
            learning_rate: 0.05,
            momentum: 0.9,
            weight_decay: 0.2,
        };
        for shape in SIZES {
            let gradient = random(shape.0 * shape.1, 7);
            let results = on_each(|| updated(shape, &gradient, &muon, 0.5));
            assert!(results[0][0].iter().all(|p| p.is_finite()), "{shape:?}");
            assert!(results[0][2].iter().all(|g| *g == 0.0), "{shape:?}");
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }

    #[test]
    fn updates_stretch_everything_alike() {
        for (rows, cols) in [(40, 120), (120, 40)] {
            let mut u = random(rows * cols, 1);
            // Of very different sizes in its directions before.
            for (i, row) in u.chunks_exact_mut(cols).enumerate() {
                row.iter_mut().for_each(|u| *u /= 1.0 + i as f32);
            }
            let mut other = u.clone();
            let n = rows.min(cols);
            if rows > cols {
                transpose(&mut other, &u, cols);
                mem::swap(&mut u, &mut other);
            }
            orthogonalize(&mut u, &mut other, rows.max(cols));
            for seed in 0..20 {
                let direction = random(n, 10 + seed);
                let mut image = vec![0.0; rows.max(cols)];
                for (row, along) in u.chunks_exact(image.len()).zip(&direction) {
                    ops::axpy(&mut image, *along, row);
                }
                let length = |v: &[f32]| math::sqrt(ops::dot(v, v));
                let stretch = length(&image) / length(&direction);
                assert!((0.6..1.25).contains(&stretch), "{rows} {cols}: {stretch}");
            }
        }
    }

    #[test]
    fn no_gradient_is_no_step() {
        let muon = Muon {
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
        };
        let [param, ..] = updated((5, 9), &[0.0; 45], &muon, 1.0);
        assert_eq!(param, random(45, 5));
    }
}
