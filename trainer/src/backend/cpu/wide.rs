//! Loops compiled for several vector widths, one of them chosen at run time.

use pulp::{Arch, NullaryFnOnce};

#[cfg(target_arch = "x86_64")]
use super::buffer::LINE;

/// The widest vectors of this machine; in tests, those that were chosen.
#[inline(always)]
pub(super) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(arch) = tests::CHOSEN.get() {
        return arch;
    }
    Arch::new()
}

/// Runs `work` compiled for the widest vectors that this machine has.
///
/// That holds for what is inlined into `work`, and the closure itself: write
/// `wide(#[inline(always)] || ...)`. The result does not depend on the width: Rust neither fuses
/// nor reorders floating-point operations.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnMut() -> R) -> R {
    arch().dispatch(Work(work))
}

/// Asks for the cache lines of `row` before they are read. Changes nothing but time.
#[inline(always)]
pub(super) fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse) = pulp::core_arch::x86::Sse::try_new() {
        use core::arch::x86_64::_MM_HINT_T0;
        for line in row.chunks(LINE) {
            sse._mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
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

#[cfg(test)]
pub(super) mod tests {
    use core::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    /// Every width that this machine has, one number at a time first.
    pub(in super::super) fn widths() -> Vec<Arch> {
        let mut widths = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        widths.extend(pulp::x86::V3::try_new().map(Arch::V3));
        widths.push(Arch::new());
        widths
    }

    /// Has the kernels of this thread use `arch`.
    pub(in super::super) fn choose(arch: Arch) {
        CHOSEN.set(Some(arch));
    }

    /// What `work` returns on each of [`widths`].
    pub(in super::super) fn on_each<R>(mut work: impl FnMut() -> R) -> Vec<R> {
        let results = widths().into_iter().map(|arch| {
            choose(arch);
            work()
        });
        let results = results.collect();
        CHOSEN.set(None);
        results
    }
}
