//! Products of `f32` and `f16` weights, and conversions.
//!
//! The sums of a row and a token are one chain of additions for each of eight lanes, whatever else is computed beside
//! it.

use half::f16;

use super::{ROWS, Registers, Tiles, each_tile};
#[cfg(feature = "kv-float")]
use crate::kernels::scalar;
use crate::kernels::{Output, chunk};
use crate::ops::LANES;
use crate::parts::{copy, part};

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

/// Every row with every token.
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
    let (n_rows, n_tokens) = (w.len() / cols, x.len() / cols);
    each_tile(
        isa,
        out,
        (n_rows, n_tokens, cols),
        Sums { w, x, cols, widen },
    );
}

/// # Shapes
/// `w` `[rows, cols]`, `x` `[T, cols]`.
struct Sums<'a, W, F> {
    w: &'a [W],
    x: &'a [f32],
    cols: usize,
    widen: F,
}

impl<R: Registers, W: Copy + Default, F: Fn(&[W; LANES]) -> [R::Floats; 2]> Tiles<R>
    for Sums<'_, W, F>
{
    #[inline(always)]
    unsafe fn sums<const T: usize>(
        &self,
        isa: R,
        rows: [usize; ROWS],
        tokens: [usize; T],
    ) -> [R::Floats; T] {
        let cols = self.cols;
        let mut sums = [[[isa.splat(0.0); 2]; ROWS]; T];
        let mut add = |w: [[R::Floats; 2]; ROWS], x: [[R::Floats; 2]; T]| {
            for t in 0..T {
                for r in 0..ROWS {
                    sums[t][r] = [0, 1].map(|i| isa.mul_add(w[r][i], x[t][i], sums[t][r][i]));
                }
            }
        };
        for i in (0..cols / LANES * LANES).step_by(LANES) {
            // SAFETY: there are eight more values of each row.
            let w = rows.map(|row| (self.widen)(unsafe { chunk(self.w, row + i) }));
            // SAFETY: and of each token.
            let x = tokens.map(|token| isa.load(unsafe { chunk(self.x, token + i) }));
            add(w, x);
        }
        if !cols.is_multiple_of(LANES) {
            let w = rows.map(|row| (self.widen)(&rest(part(self.w, row, cols))));
            let x = tokens.map(|token| isa.load(&rest(part(self.x, token, cols))));
            add(w, x);
        }
        sums.map(|rows| columns(isa, rows.map(|[low, high]| isa.add(low, high))))
    }
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
