//! Point-wise loops compiled for several vector widths, one of them chosen at run time.

use pulp::{Arch, NullaryFnOnce};

/// Runs `work` compiled for the widest vectors that this machine has.
///
/// That holds for what is inlined into `work`, and the closure itself: write
/// `wide(#[inline(always)] || ...)`. The result does not depend on the width: Rust neither fuses
/// nor reorders floating-point operations.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Work(work))
}

/// `FnMut` and not `FnOnce`, whose call goes through a function that is not inlined.
struct Work<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Work<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}
