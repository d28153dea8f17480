//! Sums of outer products: the gradient of a weight over a chunk of rows.
//!
//! Operands are copied out of the chunk in the order of use: outputs in groups of [`TALL`], inputs
//! in panels as wide as those of [`panels`]. A tile of gradients, one group by one panel, stays in
//! registers over the whole chunk. Each sum is one chain in the order of the rows, so it does not
//! depend on the vector width.

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
    scratch(
        [n * m.next_multiple_of(TALL), n * width()],
        |[groups, panel]| {
            arch().dispatch(Add {
                d_weight,
                d_out,
                x,
                groups,
                panel,
                first,
                outputs,
            });
        },
    );
}

struct Add<'a> {
    d_weight: &'a mut [f32],
    d_out: &'a [f32],
    x: Rows<'a>,
    groups: &'a mut [f32],
    panel: &'a mut [f32],
    first: usize,
    outputs: usize,
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            d_weight,
            d_out,
            x,
            groups,
            panel,
            first,
            outputs,
        } = self;
        let inputs = x.size();
        let (n, m) = (d_out.len() / outputs, d_weight.len() / inputs);
        for (k, row) in d_out.chunks_exact(outputs).enumerate() {
            copy_groups(groups, k, n, &row[first..first + m]);
        }
        let whole = panels::vectors(S::F32_LANES) * S::F32_LANES;
        for left in (0..inputs).step_by(whole) {
            let columns = left..inputs.min(left + whole);
            let vectors = columns.len().div_ceil(S::F32_LANES);
            let panel = &mut panel[..n * vectors * S::F32_LANES];
            copy_columns(panel, vectors * S::F32_LANES, x, columns.clone());
            let place = (inputs, columns);
            match vectors {
                1 => all_groups::<S, 1>(simd, d_weight, groups, panel, place),
                2 => all_groups::<S, 2>(simd, d_weight, groups, panel, place),
                3 => all_groups::<S, 3>(simd, d_weight, groups, panel, place),
                _ => all_groups::<S, 4>(simd, d_weight, groups, panel, place),
            }
        }
    }
}

/// Puts `row` number `k` of `n` into its groups, zeros behind its end.
#[inline(always)]
fn copy_groups(groups: &mut [f32], k: usize, n: usize, row: &[f32]) {
    let (whole, rest) = row.as_chunks::<TALL>();
    let mut places = groups.chunks_exact_mut(n * TALL);
    for (values, group) in whole.iter().zip(places.by_ref()) {
        group[k * TALL..(k + 1) * TALL].copy_from_slice(values);
    }
    if let (Some(group), false) = (places.next(), rest.is_empty()) {
        let place = &mut group[k * TALL..(k + 1) * TALL];
        place.fill(0.0);
        place[..rest.len()].copy_from_slice(rest);
    }
}

/// Copies `columns` of each row, zeros behind them up to `size`.
#[inline(always)]
fn copy_columns(out: &mut [f32], size: usize, rows: Rows<'_>, columns: Range<usize>) {
    for (i, out) in out.chunks_exact_mut(size).enumerate() {
        let (out, rest) = out.split_at_mut(columns.len());
        out.copy_from_slice(&rows.row(i)[columns.clone()]);
        rest.fill(0.0);
    }
}

/// All outputs by one panel of `V` vectors that holds `columns` of the `inputs`.
#[inline(always)]
fn all_groups<S: Simd, const V: usize>(
    simd: S,
    d_weight: &mut [f32],
    groups: &[f32],
    panel: &[f32],
    (inputs, columns): (usize, Range<usize>),
) {
    let (vectors, _) = S::as_simd_f32s(panel);
    let (panel, _) = vectors.as_chunks::<V>();
    let groups = groups.chunks_exact(panel.len() * TALL);
    for (d_weight, group) in d_weight.chunks_mut(TALL * inputs).zip(groups) {
        let mut sums = [[simd.splat_f32s(0.0); V]; TALL];
        let (group, _) = group.as_chunks::<TALL>();
        for (outputs, step) in group.iter().zip(panel) {
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
