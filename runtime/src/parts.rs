//! Parts of slices for code that never panics: what lies beyond the end is not there.
//!
//! Lengths are checked where a file is opened and an arena is carved, so nothing is ever missing;
//! the compiler cannot know, and would put a panic behind every index.

/// `len` elements from `start` on, or nothing.
// Once where kernels do the work, for they have no use of it in their loops.
#[cfg_attr(kernel_dsp, inline(never))]
#[cfg_attr(not(kernel_dsp), inline(always))]
pub(crate) fn part<T>(x: &[T], start: usize, len: usize) -> &[T] {
    // An end that wraps around lies before the start: nothing.
    x.get(start..start.wrapping_add(len)).unwrap_or_default()
}

/// [`part`], to be written to.
#[inline(always)]
pub(crate) fn part_mut<T>(x: &mut [T], start: usize, len: usize) -> &mut [T] {
    x.get_mut(start..start.wrapping_add(len))
        .unwrap_or_default()
}

/// `out[i] = x[i]` over the shorter of the two.
#[inline(always)]
pub(crate) fn copy<T: Copy>(out: &mut [T], x: &[T]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = *x;
    }
}
