//! Sums of outer products: the gradient of a weight over a chunk of rows.
//!
//! A tile of gradients, [`TALL`] outputs by a panel of inputs as wide as those of [`panels`], stays in
//! registers over the whole chunk. Both operands are read where they lie; only columns that fill no
//! tile are copied. Each sum is one chain in the order of the rows, so it does not depend on the
//! vector width.

use core::ops::Range;

use pulp::{Simd, WithSimd};

use super::buffer::scratch;
use super::panels::{self, TALL, width};
use super::rows::Rows;
use super::wide::arch;

/// `d_weight[o, i] += sum over rows of d_out[row, first + o] * x[row, i]`
///
/// Each sum is one chain of fused multiply-adds over the rows in order, then added.
///
/// # Shapes
/// `d_weight` `[m, I]`, `d_out` `[n, O]`, `x` `[n, I]`.
pub(super) fn add(d_weight: &mut [f32], d_out: &[f32], x: Rows<'_>, first: usize, outputs: usize) {
    let (n, m) = (d_out.len() / outputs, d_weight.len() / x.size());
    assert_eq!((d_weight.len(), d_out.len()), (m * x.size(), n * outputs));
    assert!(first + m <= outputs);
    let d_out = Rows::new(d_out, first, m, outputs);
    scratch([n * TALL, n * width()], |[group, panel]| {
        arch().dispatch(Add {
            d_weight,
            d_out,
            x,
            group,
            panel,
        });
    });
}

struct Add<'a> {
    d_weight: &'a mut [f32],
    d_out: Rows<'a>,
    x: Rows<'a>,
    /// Room for `[n, TALL]`.
    group: &'a mut [f32],
    /// Room for a panel of `n` rows.
    panel: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            d_weight,
            d_out,
            x,
            group,
            panel,
        } = self;
        let whole = panels::vectors(S::F32_LANES) * S::F32_LANES;
        for left in (0..x.size()).step_by(whole) {
            let columns = left..x.size().min(left + whole);
            let vectors = columns.len().div_ceil(S::F32_LANES);
            let size = vectors * S::F32_LANES;
            let n = panel.len() / width();
            let panel = filled(&mut panel[..n * size], x, columns.clone(), size);
            let place = (x.size(), columns);
            match vectors {
                1 => all_groups::<S, 1>(simd, d_weight, d_out, panel, group, place),
                2 => all_groups::<S, 2>(simd, d_weight, d_out, panel, group, place),
                3 => all_groups::<S, 3>(simd, d_weight, d_out, panel, group, place),
                _ => all_groups::<S, 4>(simd, d_weight, d_out, panel, group, place),
            }
        }
    }
}

/// `columns` of `rows`: where they lie if there are `size` of them, or else in `copy`, with zeros behind.
///
/// # Shapes
/// `copy` `[n, size]`
#[inline(always)]
fn filled<'a>(copy: &'a mut [f32], rows: Rows<'a>, columns: Range<usize>, size: usize) -> Rows<'a> {
    let rows = rows.columns(columns);
    if rows.size() == size {
        return rows;
    }
    for (i, out) in copy.chunks_exact_mut(size).enumerate() {
        let (out, rest) = out.split_at_mut(rows.size());
        out.copy_from_slice(rows.row(i));
        rest.fill(0.0);
    }
    Rows::whole(copy, size)
}

/// All outputs by one panel, rows of `V` vectors that are `columns` of the `inputs`.
#[inline(always)]
fn all_groups<S: Simd, const V: usize>(
    simd: S,
    d_weight: &mut [f32],
    d_out: Rows<'_>,
    panel: Rows<'_>,
    copy: &mut [f32],
    (inputs, columns): (usize, Range<usize>),
) {
    for (i, d_weight) in d_weight.chunks_mut(TALL * inputs).enumerate() {
        let outputs = i * TALL..d_out.size().min((i + 1) * TALL);
        let n = copy.len() / TALL;
        let group = filled(copy, d_out, outputs, TALL);
        let mut sums = [[simd.splat_f32s(0.0); V]; TALL];
        for k in 0..n {
            let (step, _) = S::as_simd_f32s(panel.row(k));
            let (Some(outputs), Some(step)) = (group.row(k).first_chunk(), step.first_chunk())
            else {
                unreachable!("rows are as wide as a tile");
            };
            let (outputs, step): (&[f32; TALL], &[_; V]) = (outputs, step);
            for i in 0..TALL {
                let value = simd.splat_f32s(outputs[i]);
                for j in 0..V {
                    sums[i][j] = simd.mul_add_f32s(value, step[j], sums[i][j]);
                }
            }
        }
        for (row, sums) in d_weight.chunks_exact_mut(inputs).zip(sums) {
            let row = &mut row[columns.clone()];
            let (whole, rest) = S::as_mut_simd_f32s(row);
            for (out, sum) in whole.iter_mut().zip(sums) {
                *out = simd.add_f32s(*out, sum);
            }
            if !rest.is_empty() {
                let before = simd.partial_load_f32s(rest);
                simd.partial_store_f32s(rest, simd.add_f32s(before, sums[V - 1]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::wide::tests::on_each;
    use minigpt_runtime::rng::Rng;

    #[test]
    fn every_size_and_width_against_the_sum() {
        let sizes = [
            (1, 1, 1),
            (5, 7, 33),
            (9, 16, 32),
            (17, 65, 100),
            (40, 23, 48),
            (33, 33, 7),
            (7, 1, 129),
        ];
        for (n, outputs, inputs) in sizes {
            let mut rng = Rng::new(n as u64, 0);
            let mut random =
                |len| -> Vec<f32> { (0..len).map(|_| rng.next_unit() - 0.5).collect() };
            let (d_out, data) = (random(n * outputs), random(n * (inputs + 3)));
            let x = Rows::new(&data, 2, inputs, inputs + 3);
            let first = outputs / 3;
            let before = random((outputs - first) * inputs);
            let results = on_each(|| {
                let mut d_weight = before.clone();
                add(&mut d_weight, &d_out, x, first, outputs);
                d_weight
            });
            for (at, value) in results[0].iter().enumerate() {
                let (o, i) = (first + at / inputs, at % inputs);
                let product = |row| d_out[row * outputs + o] * x.row(row)[i];
                let exact = before[at] + (0..n).map(product).sum::<f32>();
                assert!((value - exact).abs() < 1e-5, "{n} {outputs} {inputs}");
            }
            assert!(
                results.iter().all(|result| *result == results[0]),
                "{n} {outputs} {inputs}"
            );
        }
    }
}
