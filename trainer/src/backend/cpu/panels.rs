//! Products of many rows with one weight: `out = x weight^T` and `d_x = d_out weight`.
//!
//! The weight is packed once per step into panels of two vectors' width, along which the products
//! run, and every chunk of rows uses them. A tile of up to [`TALL`] rows by one panel stays in
//! registers over the whole inner size: each output is one chain of fused multiply-adds in order,
//! so it does not depend on how rows are cut into chunks, nor on the vector width.

use core::array;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;

/// Rows of the tallest tile: with two vectors each they fill half of 32 registers, enough to hide
/// the latency of multiply-add.
const TALL: usize = 8;

/// Rows of the tallest tile where there are 16 registers of 8 lanes.
const TALL_AVX2: usize = 6;

/// Columns of a panel on this machine.
pub(super) fn width() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    2 * Arch::new().dispatch(Lanes)
}

/// Numbers that a packed weight takes.
pub(super) fn packed_len(inner: usize, outputs: usize) -> usize {
    outputs.next_multiple_of(width()) * inner
}

/// Packs a weight for `x weight^T`.
///
/// # Shapes
/// `packed` from [`packed_len`]`(I, O)`, `weight` `[O, I]`.
pub(super) fn pack_transposed(packed: &mut [f32], weight: &Buffer, inputs: usize) {
    let width = width();
    let panels = packed.par_chunks_mut(inputs * width);
    let weights = weight.par_chunks(inputs * width);
    panels.zip(weights).for_each(|(panel, weight)| {
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
    let (width, outputs) = (width(), weight.len() / inputs);
    let panels = packed.par_chunks_mut(outputs * width).enumerate();
    panels.for_each(|(i, panel)| {
        let first = i * width;
        let n = width.min(inputs - first);
        for (out, row) in panel
            .chunks_exact_mut(width)
            .zip(weight.chunks_exact(inputs))
        {
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
        let width = 2 * S::F32_LANES;
        for (i, panel) in packed.chunks_exact(inner * width).enumerate() {
            let first = i * width;
            let columns = first..outputs.min(first + width);
            let (mut out, mut x) = (&mut *out, x);
            let mut rows = x.len() / inner;
            while rows > 0 {
                let n = match rows {
                    TALL.. if S::F32_LANES != 8 => TALL,
                    TALL_AVX2.. if S::F32_LANES == 8 => TALL_AVX2,
                    4.. => 4,
                    2.. => 2,
                    _ => 1,
                };
                let (x_here, x_rest) = x.split_at(n * inner);
                let (out_here, out_rest) = out.split_at_mut(n * outputs);
                let here = (out_here, x_here, columns.clone());
                match n {
                    TALL => tile::<S, TALL>(simd, here, panel, inner, outputs),
                    TALL_AVX2 => tile::<S, TALL_AVX2>(simd, here, panel, inner, outputs),
                    4 => tile::<S, 4>(simd, here, panel, inner, outputs),
                    2 => tile::<S, 2>(simd, here, panel, inner, outputs),
                    _ => tile::<S, 1>(simd, here, panel, inner, outputs),
                }
                (x, out, rows) = (x_rest, out_rest, rows - n);
            }
        }
    }
}

type Here<'a> = (&'a mut [f32], &'a [f32], core::ops::Range<usize>);

/// `N` rows by one panel.
#[inline(always)]
fn tile<S: Simd, const N: usize>(
    simd: S,
    (out, x, columns): Here<'_>,
    panel: &[f32],
    inner: usize,
    outputs: usize,
) {
    let rows: [&[f32]; N] = array::from_fn(|i| &x[i * inner..(i + 1) * inner]);
    let zero = simd.splat_f32s(0.0);
    let mut sums = [[zero; 2]; N];
    let (vectors, _) = S::as_simd_f32s(panel);
    let (pairs, _) = vectors.as_chunks::<2>();
    for (k, [left, right]) in pairs[..inner].iter().enumerate() {
        for i in 0..N {
            let value = simd.splat_f32s(rows[i][k]);
            sums[i][0] = simd.mul_add_f32s(value, *left, sums[i][0]);
            sums[i][1] = simd.mul_add_f32s(value, *right, sums[i][1]);
        }
    }
    for (i, [left, right]) in sums.into_iter().enumerate() {
        let out = &mut out[i * outputs..][columns.clone()];
        let (out_left, out_right) = out.split_at_mut(out.len().min(S::F32_LANES));
        simd.partial_store_f32s(out_left, left);
        simd.partial_store_f32s(out_right, right);
    }
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
