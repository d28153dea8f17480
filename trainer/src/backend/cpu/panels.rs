//! Products of many rows with one weight: `out = x weight^T` and `d_x = d_out weight`.
//!
//! The weight is packed once per step into panels of a few vectors' width, along which the products
//! run, and every chunk of rows uses them. A tile of up to [`TALL`] rows by one panel stays in
//! registers over the whole inner size: each output is one chain of fused multiply-adds in order,
//! so it depends neither on how rows are cut into chunks nor on the vector width.

use core::array;
use core::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;

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
    Arch::new().dispatch(Lanes)
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
    let whole = width();
    let panels = packed.par_chunks_mut(inputs * whole);
    let weights = weight.par_chunks(inputs * whole);
    panels.zip(weights).for_each(|(panel, weight)| {
        let width = panel.len() / inputs;
        if weight.len() < panel.len() {
            panel.fill(0.0);
        }
        for (j, row) in weight.chunks_exact(inputs).enumerate() {
            for (out, value) in panel[j..].iter_mut().step_by(width).zip(row) {
                *out = *value;
            }
        }
    });
}

/// Packs a weight for `d_out weight`.
///
/// # Shapes
/// `packed` from [`packed_len`]`(O, I)`, `weight` `[O, I]`.
pub(super) fn pack(packed: &mut [f32], weight: &Buffer, inputs: usize) {
    let (whole, outputs) = (width(), weight.len() / inputs);
    let panels = packed.par_chunks_mut(outputs * whole).enumerate();
    panels.for_each(|(i, panel)| {
        let (first, width) = (i * whole, panel.len() / outputs);
        let n = width.min(inputs - first);
        let rows = weight.chunks_exact(inputs);
        for (out, row) in panel.chunks_exact_mut(width).zip(rows) {
            out[..n].copy_from_slice(&row[first..first + n]);
            out[n..].fill(0.0);
        }
    });
}

/// `out = x packed`
///
/// # Shapes
/// `out` `[n, outputs]`, `x` `[n, inner]`, `packed` from [`pack`] or [`pack_transposed`].
pub(super) fn multiply(out: &mut [f32], x: &[f32], packed: &[f32], inner: usize, outputs: usize) {
    assert_eq!(out.len() * inner, x.len() * outputs);
    assert!(packed.len() >= outputs * inner);
    Arch::new().dispatch(Multiply {
        out,
        x,
        packed,
        inner,
        outputs,
    });
}

struct Multiply<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    packed: &'a [f32],
    inner: usize,
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
            inner,
            outputs,
        } = self;
        let whole = vectors(S::F32_LANES) * S::F32_LANES;
        for (i, panel) in packed.chunks(inner * whole).enumerate() {
            let columns = i * whole..outputs.min((i + 1) * whole);
            let place = Place {
                inner,
                outputs,
                columns,
            };
            match panel.len() / (inner * S::F32_LANES) {
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
    inner: usize,
    outputs: usize,
    columns: Range<usize>,
}

/// All rows by one panel of `V` vectors.
#[inline(always)]
fn all_rows<S: Simd, const V: usize>(
    simd: S,
    mut out: &mut [f32],
    mut x: &[f32],
    panel: &[f32],
    place: &Place,
) {
    loop {
        let n = match x.len() / place.inner {
            0 => return,
            1 => tile::<S, 1, V>(simd, out, x, panel, place),
            2..4 => tile::<S, 2, V>(simd, out, x, panel, place),
            4..TALL => tile::<S, 4, V>(simd, out, x, panel, place),
            _ => tile::<S, TALL, V>(simd, out, x, panel, place),
        };
        x = &x[n * place.inner..];
        out = &mut out[n * place.outputs..];
    }
}

/// The first `N` rows by one panel of `V` vectors. Returns `N`.
#[inline(always)]
fn tile<S: Simd, const N: usize, const V: usize>(
    simd: S,
    out: &mut [f32],
    x: &[f32],
    panel: &[f32],
    place: &Place,
) -> usize {
    let inner = place.inner;
    let rows: [&[f32]; N] = array::from_fn(|i| &x[i * inner..(i + 1) * inner]);
    let mut sums = [[simd.splat_f32s(0.0); V]; N];
    let (vectors, _) = S::as_simd_f32s(panel);
    let (steps, _) = vectors.as_chunks::<V>();
    for (k, step) in steps[..inner].iter().enumerate() {
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
    use minigpt_runtime::rng::Rng;

    fn random(len: usize, seed: u64) -> Buffer {
        let (mut buffer, mut rng) = (Buffer::new(len), Rng::new(seed, 0));
        buffer.fill_with(|| rng.next_unit() - 0.5);
        buffer
    }

    #[test]
    fn both_packings_at_every_size() {
        for (n, inputs, outputs) in [
            (1, 1, 1),
            (3, 7, 33),
            (8, 16, 32),
            (23, 65, 100),
            (14, 5, 2),
        ] {
            let (weight, x) = (random(inputs * outputs, 1), random(n * inputs, 2));
            let mut packed = random(packed_len(inputs, outputs), 3);
            pack_transposed(&mut packed, &weight, inputs);
            let mut out = vec![0.0; n * outputs];
            multiply(&mut out, &x, &packed, inputs, outputs);
            for (at, value) in out.iter().enumerate() {
                let (row, column) = (at / outputs, at % outputs);
                let product = |k| x[row * inputs + k] * weight[column * inputs + k];
                let exact: f32 = (0..inputs).map(product).sum();
                assert!((value - exact).abs() < 1e-5, "{n} {inputs} {outputs}");
            }
            let mut packed = random(packed_len(outputs, inputs), 3);
            pack(&mut packed, &weight, inputs);
            let mut back = vec![0.0; n * inputs];
            multiply(&mut back, &out, &packed, outputs, inputs);
            for (at, value) in back.iter().enumerate() {
                let (row, column) = (at / inputs, at % inputs);
                let product = |k| out[row * outputs + k] * weight[k * inputs + column];
                let exact: f32 = (0..outputs).map(product).sum();
                assert!((value - exact).abs() < 1e-4, "{n} {inputs} {outputs}");
            }
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
