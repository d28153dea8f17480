//! Matrix products: a safe face of the `gemm` crate.
//!
//! Always on the calling thread: phases are parallel, products are not. So the order of additions
//! depends on sizes and strides alone.

use gemm::Parallelism;

/// A matrix that lies in a slice in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` of `cols` numbers; neighbouring rows are `stride` numbers apart.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows > 0 && cols > 0 && data.len() > (rows - 1) * stride + cols - 1);
        Self {
            data,
            rows,
            cols,
            row_stride: stride,
            col_stride: 1,
        }
    }

    /// Rows become columns.
    pub(super) const fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Whether a product replaces what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Over,
    Add,
}

/// `out = scale * a b`, or that added to `out`.
///
/// # Shapes
/// `out` `[a.rows, b.cols]`, neighbouring rows `stride` numbers apart.
#[allow(unsafe_code, reason = "the gemm crate takes pointers and strides")]
pub(super) fn gemm(
    out: &mut [f32],
    stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    write: Write,
) {
    assert_eq!(a.cols, b.rows, "inner sizes");
    assert!(b.cols <= stride && out.len() > (a.rows - 1) * stride + b.cols - 1);
    // SAFETY: `Matrix::new` checked that every element of `a` and of `b` lies inside its slice, and
    // the line above that every element of `out` does. `out` is borrowed exclusively, so it
    // overlaps neither.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::rng::Rng;

    #[test]
    fn any_size_stride_and_order() {
        let mut rng = Rng::new(1, 0);
        for size in [1, 2, 5, 16, 33, 65, 130] {
            let (m, n, k) = (size, size + 3, 1 + 200 / size);
            let mut random =
                |len: usize| -> Vec<f32> { (0..len).map(|_| rng.next_unit() - 0.5).collect() };
            let (a, b) = (random(m * (k + 2)), random(n * (k + 1)));
            let before = random(m * (n + 5));
            let (left, right) = (Matrix::new(&a, m, k, k + 2), Matrix::new(&b, n, k, k + 1));
            for write in [Write::Over, Write::Add] {
                let mut out = before.clone();
                gemm(&mut out, n + 5, left, right.transposed(), 0.5, write);
                for (i, value) in out.iter().enumerate() {
                    let (row, col) = (i / (n + 5), i % (n + 5));
                    let exact: f32 = (0..k)
                        .map(|j| {
                            0.5 * a[row * (k + 2) + j] * b.get(col * (k + 1) + j).unwrap_or(&0.0)
                        })
                        .sum();
                    let expected = match (col < n, write) {
                        (true, Write::Over) => exact,
                        (true, Write::Add) => exact + before[i],
                        (false, _) => before[i],
                    };
                    assert!((value - expected).abs() < 1e-5, "{size} {row} {col}");
                }
            }
        }
    }
}
