//! Products of many rows with one matrix: `out = x weight^T` and `d_x = d_out weight`, and those of
//! attention with keys and values.
//!
//! The matrix is packed once into panels of a few vectors' width, along which the products run, and
//! all rows use them. A tile of up to [`TALL`] rows by one panel stays in
//! registers over the whole inner size: each output is one chain of fused multiply-adds in order,
//! so it depends neither on how rows are cut into chunks nor on the vector width.

use core::array;
use core::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::rows::Rows;
use super::wide::{arch, prefetch};

/// Rows of the tallest tile: with the vectors of a panel, the operands fit the registers.
pub(super) const TALL: usize = 6;

/// Vectors of a panel: 24 sums where there are 32 registers, 12 where there are 16 of 8 lanes.
#[inline(always)]
pub(super) const fn vectors(lanes: usize) -> usize {
    if lanes == 8 { 2 } else { 4 }
}

/// Numbers in a vector of this machine.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch().dispatch(Lanes)
}

/// Columns of a panel on this machine; the last may have fewer, by whole vectors.
pub(super) fn width() -> usize {
    let lanes = lanes();
    vectors(lanes) * lanes
}

/// Numbers that a packed weight takes.
pub(super) fn packed_len(inner: usize, outputs: usize) -> usize {
    outputs.next_multiple_of(lanes()) * inner
}

/// Packs a weight for `x weight^T`.
///
/// # Shapes
/// `packed` from [`packed_len`]`(I, O)`, `weight` `[O, I]`.
pub(super) fn pack_transposed(packed: &mut [f32], weight: &Buffer, inputs: usize) {
    let (whole, outputs) = (width(), weight.len() / inputs);
    let panels = packed.par_chunks_mut(inputs * whole).enumerate();
    panels.for_each(|(i, panel)| {
        fill_transposed(panel, Rows::whole(weight, inputs), i * whole, outputs);
    });
}

/// [`pack_transposed`] of `n` rows, on the calling thread.
///
/// # Shapes
/// `packed` from [`packed_len`]`(size, n)`, `rows` `[n, size]`.
pub(super) fn pack_rows_transposed(packed: &mut [f32], rows: Rows<'_>, n: usize) {
    let whole = width();
    for (i, panel) in packed.chunks_mut(rows.size() * whole).enumerate() {
        fill_transposed(panel, rows, i * whole, n);
    }
}

/// A panel of columns that are `rows` from `first` on, of `n`.
fn fill_transposed(panel: &mut [f32], rows: Rows<'_>, first: usize, n: usize) {
    /// Rows that are read side by side, so that writes lie together.
    const ROWS: usize = 8;
    let (size, width) = (rows.size(), panel.len() / rows.size());
    let n = n.min(first + width) - first;
    if n < width {
        panel.fill(0.0);
    }
    let whole = n - n % ROWS;
    for j in (0..whole).step_by(ROWS) {
        let sources: [&[f32]; ROWS] = array::from_fn(|i| &rows.row(first + j + i)[..size]);
        let mut places = panel.chunks_exact_mut(width);
        for k in 0..size {
            if let Some(place) = places.next() {
                let values: [f32; ROWS] = array::from_fn(|i| sources[i][k]);
                place[j..j + ROWS].copy_from_slice(&values);
            }
        }
    }
    for j in whole..n {
        let places = panel[j..].iter_mut().step_by(width);
        for (out, value) in places.zip(rows.row(first + j)) {
            *out = *value;
        }
    }
}

/// Packs a weight for `d_out weight`.
///
/// # Shapes
/// `packed` from [`packed_len`]`(O, I)`, `weight` `[O, I]`.
pub(super) fn pack(packed: &mut [f32], weight: &Buffer, inputs: usize) {
    let (whole, outputs) = (width(), weight.len() / inputs);
    let panels = packed.par_chunks_mut(outputs * whole).enumerate();
    panels.for_each(|(i, panel)| {
        fill(panel, Rows::whole(weight, inputs), i * whole, outputs);
    });
}

/// [`pack`] of `n` rows, on the calling thread.
///
/// # Shapes
/// `packed` from [`packed_len`]`(n, size)`, `rows` `[n, size]`.
pub(super) fn pack_rows(packed: &mut [f32], rows: Rows<'_>, n: usize) {
    let whole = width();
    for (i, panel) in packed.chunks_mut(n * whole).enumerate() {
        fill(panel, rows, i * whole, n);
    }
}

/// A panel of columns of `n` rows from `first` on.
fn fill(panel: &mut [f32], rows: Rows<'_>, first: usize, n: usize) {
    let width = panel.len() / n;
    let here = first..rows.size().min(first + width);
    for (i, out) in panel.chunks_exact_mut(width).enumerate() {
        let (out, rest) = out.split_at_mut(here.len());
        out.copy_from_slice(&rows.row(i)[here.clone()]);
        rest.fill(0.0);
    }
}

/// `out = x packed`
///
/// # Shapes
/// `out` `[n, outputs]`, `x` `[n, inner]`, `packed` from [`pack`] or [`pack_transposed`].
pub(super) fn multiply(out: &mut [f32], x: &[f32], packed: &[f32], inner: usize, outputs: usize) {
    assert_eq!(out.len() * inner, x.len() * outputs);
    multiply_rows(out, Rows::whole(x, inner), packed, inner, outputs);
}

/// `out = x packed`, where `packed` may have more rows and columns than take part: `depth` rows, of
/// which the first `inner` do, and the first `outputs` columns.
///
/// # Shapes
/// `out` `[n, outputs]`, `x` `[n, inner]`, `packed` `[>= inner, >= outputs]`.
pub(super) fn multiply_rows(
    out: &mut [f32],
    x: Rows<'_>,
    packed: &[f32],
    depth: usize,
    outputs: usize,
) {
    assert!(out.len().is_multiple_of(outputs) && x.size() <= depth);
    assert!(packed.len() >= outputs * depth);
    arch().dispatch(Multiply {
        out,
        x,
        packed,
        depth,
        outputs,
    });
}

struct Multiply<'a> {
    out: &'a mut [f32],
    x: Rows<'a>,
    packed: &'a [f32],
    depth: usize,
    outputs: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            x,
            packed,
            depth,
            outputs,
        } = self;
        let whole = vectors(S::F32_LANES) * S::F32_LANES;
        let panels = packed.chunks(depth * whole).take(outputs.div_ceil(whole));
        for (i, panel) in panels.enumerate() {
            let columns = i * whole..outputs.min((i + 1) * whole);
            let n_vectors = columns.len().div_ceil(S::F32_LANES);
            let place = Place {
                outputs,
                columns,
                stride: panel.len() / (depth * S::F32_LANES),
            };
            match n_vectors {
                1 => all_rows::<S, 1>(simd, out, x, panel, &place),
                2 => all_rows::<S, 2>(simd, out, x, panel, &place),
                3 => all_rows::<S, 3>(simd, out, x, panel, &place),
                _ => all_rows::<S, 4>(simd, out, x, panel, &place),
            }
        }
    }
}

/// Which part of the product a panel gives.
struct Place {
    outputs: usize,
    columns: Range<usize>,
    /// Vectors of a row of the panel.
    stride: usize,
}

/// All rows by the first `V` vectors of a panel.
#[inline(always)]
fn all_rows<S: Simd, const V: usize>(
    simd: S,
    mut out: &mut [f32],
    x: Rows<'_>,
    panel: &[f32],
    place: &Place,
) {
    let mut first = 0;
    loop {
        let n = match out.len() / place.outputs {
            0 => return,
            1 => tile::<S, 1, V>(simd, out, x, first, panel, place),
            2..4 => tile::<S, 2, V>(simd, out, x, first, panel, place),
            // Low tiles wait for memory: eight are two of four, and not six and two.
            4..TALL | 8 => tile::<S, 4, V>(simd, out, x, first, panel, place),
            _ => tile::<S, TALL, V>(simd, out, x, first, panel, place),
        };
        first += n;
        out = &mut out[n * place.outputs..];
    }
}

/// The first `N` rows of `out`, rows of `x` from `first` on, by the first `V` vectors of a
/// panel. Returns `N`.
#[inline(always)]
fn tile<S: Simd, const N: usize, const V: usize>(
    simd: S,
    out: &mut [f32],
    x: Rows<'_>,
    first: usize,
    panel: &[f32],
    place: &Place,
) -> usize {
    let inner = x.size();
    let rows: [&[f32]; N] = array::from_fn(|i| x.row(first + i));
    for row in out.chunks_exact(place.outputs).take(N) {
        prefetch(&row[place.columns.clone()]);
    }
    let mut sums = [[simd.splat_f32s(0.0); V]; N];
    let (vectors, _) = S::as_simd_f32s(panel);
    let mut steps = vectors.chunks_exact(place.stride);
    for k in 0..inner {
        let Some(step) = steps.next().and_then(<[_]>::first_chunk::<V>) else {
            unreachable!("a panel has as many rows as there are inner sizes");
        };
        for i in 0..N {
            let value = simd.splat_f32s(rows[i][k]);
            for j in 0..V {
                sums[i][j] = simd.mul_add_f32s(value, step[j], sums[i][j]);
            }
        }
    }
    for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(place.outputs)) {
        let (whole, rest) = S::as_mut_simd_f32s(&mut out[place.columns.clone()]);
        for (out, sum) in whole.iter_mut().zip(sums) {
            *out = sum;
        }
        if !rest.is_empty() {
            simd.partial_store_f32s(rest, sums[V - 1]);
        }
    }
    N
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::wide::tests::on_each;
    use minigpt_runtime::rng::Rng;

    fn random(len: usize, seed: u64) -> Buffer {
        let (mut buffer, mut rng) = (Buffer::new(len), Rng::new(seed, 0));
        buffer.fill_with(|| rng.next_unit() - 0.5);
        buffer
    }

    /// `[1, 7, 33 ...]` rows, inputs, outputs.
    const SIZES: [(usize, usize, usize); 7] = [
        (1, 1, 1),
        (3, 7, 33),
        (8, 16, 32),
        (23, 65, 100),
        (14, 5, 2),
        (33, 33, 7),
        (7, 130, 129),
    ];

    #[test]
    fn both_packings_at_every_size_and_width() {
        for (n, inputs, outputs) in SIZES {
            let (weight, x) = (random(inputs * outputs, 1), random(n * inputs, 2));
            let results = on_each(|| {
                let mut packed = random(packed_len(inputs, outputs), 3);
                pack_transposed(&mut packed, &weight, inputs);
                let mut out = vec![0.0; n * outputs];
                multiply(&mut out, &x, &packed, inputs, outputs);
                let mut packed = random(packed_len(outputs, inputs), 3);
                pack(&mut packed, &weight, inputs);
                let mut back = vec![0.0; n * inputs];
                multiply(&mut back, &out, &packed, outputs, inputs);
                (out, back)
            });
            let (out, back) = &results[0];
            for (at, value) in out.iter().enumerate() {
                let (row, column) = (at / outputs, at % outputs);
                let product = |k| x[row * inputs + k] * weight[column * inputs + k];
                let exact: f32 = (0..inputs).map(product).sum();
                assert!((value - exact).abs() < 1e-5, "{n} {inputs} {outputs}");
            }
            for (at, value) in back.iter().enumerate() {
                let (row, column) = (at / inputs, at % inputs);
                let product = |k| out[row * outputs + k] * weight[k * inputs + column];
                let exact: f32 = (0..outputs).map(product).sum();
                assert!((value - exact).abs() < 1e-4, "{n} {inputs} {outputs}");
            }
            assert!(
                results.iter().all(|result| *result == results[0]),
                "{n} {inputs} {outputs}"
            );
        }
    }

    #[test]
    fn parts_of_packed_rows_at_every_width() {
        let (size, n_time, stride) = (13, 75, 20);
        let data = random(n_time * stride, 1);
        let rows = Rows::new(&data, 4, size, stride);
        for part in [1, 7, 33, 64, 70, 75] {
            let x = random(9 * part, 2);
            let results = on_each(|| {
                let mut packed = random(packed_len(size, n_time), 3);
                pack_rows_transposed(&mut packed, rows, n_time);
                let mut scores = vec![0.0; 5 * part];
                multiply_rows(&mut scores, rows.skip(2), &packed, size, part);
                let mut packed = random(packed_len(n_time, size), 3);
                pack_rows(&mut packed, rows, n_time);
                let mut out = vec![0.0; 9 * size];
                multiply_rows(&mut out, Rows::whole(&x, part), &packed, n_time, size);
                (scores, out)
            });
            let (scores, out) = &results[0];
            for (at, value) in scores.iter().enumerate() {
                let (a, b) = (rows.row(2 + at / part), rows.row(at % part));
                let exact: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((value - exact).abs() < 1e-5, "{part}");
            }
            for (at, value) in out.iter().enumerate() {
                let product = |k| x[at / size * part + k] * rows.row(k)[at % size];
                let exact: f32 = (0..part).map(product).sum();
                assert!((value - exact).abs() < 1e-5, "{part}");
            }
            assert!(results.iter().all(|result| *result == results[0]), "{part}");
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_neighbours() {
        let (n, inputs, outputs) = (21, 40, 70);
        let (weight, x) = (random(inputs * outputs, 1), random(n * inputs, 2));
        let mut packed = random(packed_len(inputs, outputs), 3);
        pack_transposed(&mut packed, &weight, inputs);
        let mut whole = vec![0.0; n * outputs];
        multiply(&mut whole, &x, &packed, inputs, outputs);
        for (x, expected) in x.chunks(inputs).zip(whole.chunks(outputs)) {
            let mut out = vec![0.0; outputs];
            multiply(&mut out, x, &packed, inputs, outputs);
            assert_eq!(out, expected);
        }
    }
}
