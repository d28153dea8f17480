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
use super::wide::{arch, prefetch};

/// What is summed over: rows of gradients of outputs and rows of inputs.
///
/// # Shapes
/// `d_out` `[n, O]`, `x` `[n, I]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairs<'a> {
    pub(super) d_out: &'a [f32],
    pub(super) x: Rows<'a>,
}

/// `d_weight[o, i] += sum over rows of d_out[row, first + o] * x[row, i]`
///
/// Each sum is one chain of fused multiply-adds over the rows in order, then added. Memory that the
/// call behind this one reads, for the same outputs of `next`, is asked for meanwhile.
///
/// # Shapes
/// `d_weight` `[m, I]`, rows of `outputs` numbers in `d_out`.
pub(super) fn add(
    d_weight: &mut [f32],
    Pairs { d_out, x }: Pairs<'_>,
    first: usize,
    outputs: usize,
    next: Option<Pairs<'_>>,
) {
    let (n, m) = (d_out.len() / outputs, d_weight.len() / x.size());
    assert_eq!((d_weight.len(), d_out.len()), (m * x.size(), n * outputs));
    assert!(first + m <= outputs);
    let part = |d_out| Rows::new(d_out, first, m, outputs);
    let next = next.map(|next| {
        let n = next.d_out.len() / outputs;
        (Ahead::new(part(next.d_out), n), Ahead::new(next.x, n))
    });
    scratch([n * TALL, n * width()], |[group, panel]| {
        arch().dispatch(Add {
            d_weight,
            d_out: part(d_out),
            x,
            group,
            panel,
            next,
        });
    });
}

/// Rows that are read soon.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    rows: Rows<'a>,
    n: usize,
}

impl<'a> Ahead<'a> {
    const fn new(rows: Rows<'a>, n: usize) -> Self {
        Self { rows, n }
    }

    /// Asks for part `i` of `parts` equal ones.
    #[inline(always)]
    fn ask(self, i: usize, parts: usize) {
        let share = self.n.div_ceil(parts);
        for k in i * share..self.n.min((i + 1) * share) {
            prefetch(self.rows.row(k));
        }
    }
}

struct Add<'a> {
    d_weight: &'a mut [f32],
    d_out: Rows<'a>,
    x: Rows<'a>,
    /// Room for `[n, TALL]`.
    group: &'a mut [f32],
    /// Room for a panel of `n` rows.
    panel: &'a mut [f32],
    /// `d_out` and `x` of the next call.
    next: Option<(Ahead<'a>, Ahead<'a>)>,
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
            next,
        } = self;
        let whole = panels::vectors(S::F32_LANES) * S::F32_LANES;
        let (n, n_panels) = (panel.len() / width(), x.size().div_ceil(whole));
        for i in 0..n_panels {
            let columns = |i: usize| i * whole..x.size().min((i + 1) * whole);
            let place = Place {
                inputs: x.size(),
                columns: columns(i),
                panel: (i, n_panels),
                next_d_out: next.map(|(d_out, _)| d_out),
                next_x: if i + 1 < n_panels {
                    Some(Ahead::new(x.columns(columns(i + 1)), n))
                } else {
                    next.map(|(_, x)| Ahead::new(x.rows.columns(columns(0)), x.n))
                },
            };
            let vectors = place.columns.len().div_ceil(S::F32_LANES);
            let size = vectors * S::F32_LANES;
            let panel = filled(&mut panel[..n * size], x, place.columns.clone(), size);
            match vectors {
                1 => all_groups::<S, 1>(simd, d_weight, d_out, panel, group, &place),
                2 => all_groups::<S, 2>(simd, d_weight, d_out, panel, group, &place),
                3 => all_groups::<S, 3>(simd, d_weight, d_out, panel, group, &place),
                _ => all_groups::<S, 4>(simd, d_weight, d_out, panel, group, &place),
            }
        }
    }
}

/// Which part of the gradient a panel gives, and what is read next.
struct Place<'a> {
    inputs: usize,
    columns: Range<usize>,
    /// Number of the panel, and of all.
    panel: (usize, usize),
    next_d_out: Option<Ahead<'a>>,
    next_x: Option<Ahead<'a>>,
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
    place: &Place<'_>,
) {
    let (inputs, columns, (number, n_panels)) = (place.inputs, &place.columns, place.panel);
    let n_groups = d_out.size().div_ceil(TALL);
    for (i, d_weight) in d_weight.chunks_mut(TALL * inputs).enumerate() {
        for row in d_weight.chunks_exact(inputs) {
            prefetch(&row[columns.clone()]);
        }
        if let Some(next) = place.next_x {
            next.ask(i, n_groups);
        }
        if let Some(next) = place.next_d_out {
            next.ask(number * n_groups + i, n_panels * n_groups);
        }
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
            let (first, pairs) = (outputs / 3, Pairs { d_out: &d_out, x });
            let before = random((outputs - first) * inputs);
            let results = on_each(|| {
                let mut d_weight = before.clone();
                add(&mut d_weight, pairs, first, outputs, Some(pairs));
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
