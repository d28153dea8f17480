//! Work divided among threads.
//!
//! One token's product is divided by rows, that of several by tokens: every number is computed whole by
//! one thread, in the order that it always has, so the number of threads changes no bit.

use core::ops::Range;

use crate::kernels::{Isa, Output};
use crate::quant::{Activations, WeightFormat};

/// How many threads work may be divided among.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    #[cfg(feature = "rayon")]
    n: usize,
}

impl Threads {
    /// The caller's thread alone.
    pub(crate) const ONE: Self = Self {
        #[cfg(feature = "rayon")]
        n: 1,
    };

    /// Calls `each` with all `n` of `rows`, or on several threads with some of them; together they are `work`
    /// multiply-adds.
    #[cfg(feature = "rayon")]
    pub(crate) fn divide<R: Rows>(self, n: usize, work: usize, rows: R, each: impl Fn(R) + Sync) {
        divided::rows(self.parts(work).min(n), n, rows, &each);
    }

    /// Calls `each` with all rows.
    #[cfg(not(feature = "rayon"))]
    #[inline(always)]
    pub(crate) fn divide<R>(self, _n: usize, _work: usize, rows: R, each: impl Fn(R)) {
        each(rows);
    }
}

/// A product of rows of a matrix with tokens that is to be computed.
///
/// # Shapes
/// `x` `[T, cols]`; the output's `values` `[T, stride]`.
pub(crate) struct Product<'a, 'w, W: WeightFormat> {
    pub(crate) out: Output<'a>,
    pub(crate) matrix: W::Matrix<'w>,
    pub(crate) rows: Range<usize>,
    pub(crate) x: Activations<'a>,
    pub(crate) cols: usize,
}

impl<W: WeightFormat> Product<'_, '_, W> {
    /// Computes it on up to `threads` threads.
    pub(crate) fn compute(self, isa: Isa, threads: Threads) {
        #[cfg(feature = "rayon")]
        if threads.n > 1 {
            let parts = threads.parts(self.rows.len() * self.x.values.len());
            return divided::rows(parts, parts, self, &|part: Self| {
                W::matmul(isa, part.out, part.matrix, part.rows, part.x);
            });
        }
        let _ = (threads, self.cols);
        W::matmul(isa, self.out, self.matrix, self.rows, self.x);
    }
}

#[cfg(feature = "rayon")]
pub(crate) use self::divided::{Rows, for_each_chunk};

#[cfg(feature = "rayon")]
mod divided {
    use core::cell::RefCell;

    use rayon::prelude::*;

    use super::*;
    use crate::session::Room;

    std::thread_local! {
        static ROOM: RefCell<Room> = RefCell::default();
    }

    /// Calls `each` for each chunk of up to `len` values of `out`, with its index and room of the thread; on `several`
    /// threads or this one.
    pub(crate) fn for_each_chunk(
        several: bool,
        out: &mut [f32],
        len: usize,
        each: impl Fn(usize, &mut [f32], &mut Room) + Sync,
    ) {
        let each = |(i, out): (usize, &mut [f32])| {
            ROOM.with_borrow_mut(|room| each(i, out, room));
        };
        if several {
            out.par_chunks_mut(len).enumerate().for_each(each);
        } else {
            out.chunks_mut(len).enumerate().for_each(each);
        }
    }

    /// Rows that can be divided among threads.
    pub(crate) trait Rows: Send + Sized {
        /// The first `share` of `n` rows, or of `n` equal parts, and the others.
        fn split(self, share: usize, n: usize) -> (Self, Self);
    }

    impl<T: Sync> Rows for &[T] {
        fn split(self, share: usize, n: usize) -> (Self, Self) {
            self.split_at(self.len() / n * share)
        }
    }

    impl<T: Send> Rows for &mut [T] {
        fn split(self, share: usize, n: usize) -> (Self, Self) {
            let len = self.len() / n * share;
            self.split_at_mut(len)
        }
    }

    impl<A: Rows, B: Rows> Rows for (A, B) {
        fn split(self, share: usize, n: usize) -> (Self, Self) {
            let ((a, later_a), (b, later_b)) = (self.0.split(share, n), self.1.split(share, n));
            ((a, b), (later_a, later_b))
        }
    }

    /// Calls `each` with `parts` parts of `n` rows.
    pub(super) fn rows<R: Rows>(parts: usize, n: usize, rows: R, each: &(impl Fn(R) + Sync)) {
        if parts < 2 {
            return each(rows);
        }
        let share = n * (parts / 2) / parts;
        let (lower, upper) = rows.split(share, n);
        rayon::join(
            || self::rows(parts / 2, share, lower, each),
            || self::rows(parts - parts / 2, n - share, upper, each),
        );
    }

    /// Multiply-adds that a thread gets at least: handing over fewer takes longer than doing them.
    const LEAST: usize = 1 << 15;

    /// Rows of one token's product are divided between groups of so many.
    const ROW_GROUP: usize = 16;

    impl Threads {
        pub(crate) const fn new(n: usize) -> Self {
            Self {
                n: if n > 1 { n } else { 1 },
            }
        }

        /// Parts that `work` multiply-adds are divided into.
        pub(crate) fn parts(self, work: usize) -> usize {
            self.n.min(work / LEAST).max(1)
        }
    }

    impl<W: WeightFormat> Rows for Product<'_, '_, W> {
        fn split(self, share: usize, parts: usize) -> (Self, Self) {
            let Self {
                out, rows, x, cols, ..
            } = self;
            let n_tokens = x.values.len() / cols.max(1);
            let (stride, first) = (out.stride, out.first);
            let part = |values, first, rows, x| Self {
                out: Output {
                    values,
                    stride,
                    first,
                },
                rows,
                x,
                ..self
            };
            if n_tokens > 1 {
                let n = (n_tokens * share / parts).max(1);
                let (lower, upper) = out.values.split_at_mut(n * stride);
                let (lower_x, upper_x) = x.split_at(n, cols);
                return (
                    part(lower, first, rows.clone(), lower_x),
                    part(upper, first, rows, upper_x),
                );
            }
            let n = (rows.len() * share / parts).next_multiple_of(ROW_GROUP);
            let n = n.min(rows.len());
            let middle = rows.start + n;
            let (lower, upper) = out.values.split_at_mut(first + n);
            (
                part(lower, first, rows.start..middle, x),
                part(upper, 0, middle..rows.end, x),
            )
        }
    }
}
