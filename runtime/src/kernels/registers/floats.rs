//! Products of `f32` and `f16` weights, and conversions.
//!
//! The sums of a row and a token are one chain of additions for each of eight lanes, whatever else is computed beside
//! it.

use half::f16;

use super::{ROWS, Registers, all_have, at, tile};
use crate::kernels::Output;
#[cfg(feature = "kv-float")]
use crate::kernels::scalar;
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};

/// See [`crate::kernels::Isa::matmul_f32`].
#[inline(always)]
pub(in crate::kernels) fn matmul_f32<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: &[f32],
    x: &[f32],
    cols: usize,
) {
    matmul(isa, out, w, x, cols, |w| isa.load(w));
}

/// See [`crate::kernels::Isa::matmul_f16`].
#[inline(always)]
pub(in crate::kernels) fn matmul_f16<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: &[f16],
    x: &[f32],
    cols: usize,
) {
    matmul(isa, out, w, x, cols, |w| isa.load_f16(w));
}

/// Every row with every token, four rows with two tokens at a time.
#[inline(always)]
fn matmul<R: Registers, W: Copy + Default>(
    isa: R,
    out: Output<'_>,
    w: &[W],
    x: &[f32],
    cols: usize,
    widen: impl Fn(&[W; LANES]) -> [R::Floats; 2],
) {
    let cols = cols.max(1);
    for (i, w) in w.chunks(ROWS * cols).enumerate() {
        let rows = tile(w, cols);
        let mut put = |t: usize, sums| {
            let mut four = [0.0; ROWS];
            isa.store(&mut four, sums);
            let place = t * out.stride + out.first + i * ROWS;
            copy(part_mut(out.values, place, w.len() / cols), &four);
        };
        for (pair, x) in x.chunks(2 * cols).enumerate() {
            if x.len() == 2 * cols {
                let tokens = [part(x, 0, cols), part(x, cols, cols)];
                let [a, b] = sums(isa, rows, tokens, cols, &widen);
                put(2 * pair, a);
                put(2 * pair + 1, b);
            } else {
                let [a] = sums(isa, rows, [x], cols, &widen);
                put(2 * pair, a);
            }
        }
    }
}

/// The products of four rows with each token.
#[inline(always)]
fn sums<R: Registers, W: Copy + Default, const T: usize>(
    isa: R,
    rows: [&[W]; ROWS],
    tokens: [&[f32]; T],
    cols: usize,
    widen: impl Fn(&[W; LANES]) -> [R::Floats; 2],
) -> [R::Floats; T] {
    let zero = isa.splat(0.0);
    if !all_have(cols, &rows) || !all_have(cols, &tokens) {
        return [zero; T];
    }
    let mut sums = [[[zero; 2]; ROWS]; T];
    let mut add = |w: [[R::Floats; 2]; ROWS], x: [[R::Floats; 2]; T]| {
        for (x, sums) in x.iter().zip(&mut sums) {
            for (w, sum) in w.iter().zip(sums) {
                *sum = [0, 1].map(|i| isa.mul_add(w[i], x[i], sum[i]));
            }
        }
    };
    let row_chunks = rows.map(|row| row.as_chunks::<LANES>().0);
    let token_chunks = tokens.map(|x| x.as_chunks::<LANES>().0);
    for i in 0..cols / LANES {
        // SAFETY: all rows have `cols` values, and so as many chunks.
        let w = row_chunks.map(|chunks| widen(unsafe { at(chunks, i) }));
        // SAFETY: all tokens too.
        let x = token_chunks.map(|chunks| isa.load(unsafe { at(chunks, i) }));
        add(w, x);
    }
    if !cols.is_multiple_of(LANES) {
        let (w, x) = (rows.map(rest), tokens.map(rest));
        add(w.map(|w| widen(&w)), x.map(|x| isa.load(&x)));
    }
    sums.map(|rows| columns(isa, rows.map(|[low, high]| isa.add(low, high))))
}

/// The sum of each register, in the lane of its number: `(0 + 2) + (1 + 3)`.
#[inline(always)]
pub(super) fn columns<R: Registers>(isa: R, rows: [R::Floats; 4]) -> R::Floats {
    let [a, b, c, d] = isa.transpose(rows);
    isa.add(isa.add(a, c), isa.add(b, d))
}

/// What is left behind whole chunks, and zeros.
#[cold]
pub(super) fn rest<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    let mut filled = [T::default(); LANES];
    copy(&mut filled, x.as_chunks::<LANES>().1);
    filled
}

/// See [`crate::kernels::Isa::widen_f16`].
#[inline(always)]
pub(in crate::kernels) fn widen_f16<R: Registers>(isa: R, out: &mut [f32], x: &[f16]) {
    for (out, x) in out.chunks_mut(LANES).zip(x.chunks(LANES)) {
        let mut wide = [[0.0; 4]; 2];
        let filled = match x.as_array() {
            Some(x) => isa.load_f16(x),
            None => isa.load_f16(&rest(x)),
        };
        isa.store(&mut wide[0], filled[0]);
        isa.store(&mut wide[1], filled[1]);
        copy(out, wide.as_flattened());
    }
}

/// See [`crate::kernels::Isa::narrow_f16`].
#[cfg(feature = "kv-float")]
#[inline(always)]
pub(in crate::kernels) fn narrow_f16<R: Registers>(isa: R, out: &mut [f16], x: &[f32]) {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    for (out, x) in out.iter_mut().zip(x) {
        *out = isa.narrow(isa.load(x));
    }
    scalar::narrow_f16(out_rest, x_rest);
}
