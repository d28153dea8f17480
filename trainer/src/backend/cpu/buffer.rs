//! Memory: numbers that start on a cache line, in large pages where they are many, and scratch that is
//! kept between steps.

use core::cell::RefCell;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;
use pulp::bytemuck;

/// Numbers in a cache line; arrays start on one, so that wide loads touch one line and not two.
pub(super) const LINE: usize = 16;

/// Bytes of a large page, on most machines: larger arrays have pages of their own.
const LARGE_PAGE: usize = 1 << 21;

/// Numbers that start on a cache line.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<f32>),
    Pages(MmapMut),
}

impl Memory {
    /// `len` zeros or more.
    fn zeros(len: usize) -> Self {
        let pages = (len * size_of::<f32>() > LARGE_PAGE)
            .then(|| MmapMut::map_anon(len * size_of::<f32>()).ok())
            .flatten();
        match pages {
            None => Self::Heap(vec![0.0; len + LINE]),
            Some(pages) => {
                // What the system refuses costs time and nothing else.
                #[cfg(target_os = "linux")]
                let _ = pages.advise(memmap2::Advice::HugePage);
                Self::Pages(pages)
            }
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::Heap(values) => values,
            Self::Pages(bytes) => bytemuck::cast_slice(bytes),
        }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Heap(values) => values,
            Self::Pages(bytes) => bytemuck::cast_slice_mut(bytes),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Buffer {
    /// `len` zeros; fewer and larger pages make up large ones, so that the processor finds them faster.
    pub(super) fn new(len: usize) -> Self {
        let memory = Memory::zeros(len);
        let start = memory.values().as_ptr();
        let start = start.align_offset(LINE * size_of::<f32>());
        Self {
            start: start.min(LINE),
            memory,
            len,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val(self.memory.values()) as u64
    }

    /// The first `len` numbers, of any value; more memory is taken if there are not enough.
    fn first(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::new(len);
        }
        &mut self[..len]
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory.values()[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory.values_mut()[self.start..self.start + self.len]
    }
}

/// Scratch of a whole step, shared by all threads; its contents mean nothing between steps.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    buffer: Buffer,
}

impl Workspace {
    /// Disjoint slices of the lengths asked for, of any value.
    pub(super) fn take<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        split(&mut self.buffer, lens)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.buffer.bytes()
    }
}

/// Bytes of [`scratch`] that all threads of the process keep.
static SCRATCH_BYTES: AtomicU64 = AtomicU64::new(0);

/// Scratch that a thread keeps: what is in use is not in the list.
#[derive(Default)]
struct Kept(Vec<Buffer>);

impl Drop for Kept {
    fn drop(&mut self) {
        let bytes = self.0.iter().map(Buffer::bytes).sum();
        SCRATCH_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Runs `work` with scratch slices of the lengths asked for, of any value, kept by this thread.
///
/// `work` may ask for scratch in its turn; each depth of the calls has memory of its own.
pub(super) fn scratch<const N: usize, R>(
    lens: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    thread_local! {
        static KEPT: RefCell<Kept> = RefCell::default();
    }
    let mut buffer = KEPT.with(|kept| kept.borrow_mut().0.pop().unwrap_or_default());
    let before = buffer.bytes();
    let slices = split(&mut buffer, lens);
    let result = work(slices);
    SCRATCH_BYTES.fetch_add(buffer.bytes() - before, Ordering::Relaxed);
    KEPT.with(|kept| kept.borrow_mut().0.push(buffer));
    result
}

/// Bytes of scratch that all threads of the process keep.
pub(super) fn scratch_bytes() -> u64 {
    SCRATCH_BYTES.load(Ordering::Relaxed)
}

fn split<const N: usize>(buffer: &mut Buffer, lens: [usize; N]) -> [&mut [f32]; N] {
    let total = lens.iter().map(|len| len.next_multiple_of(LINE)).sum();
    let mut rest = buffer.first(total);
    lens.map(|len| {
        let (head, tail) = mem::take(&mut rest).split_at_mut(len.next_multiple_of(LINE));
        rest = tail;
        &mut head[..len]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_zeros_on_a_line() {
        for len in [
            0,
            1,
            17,
            LARGE_PAGE / 4,
            LARGE_PAGE / 4 + 1,
            LARGE_PAGE + 33,
        ] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.bytes() >= 4 * len as u64);
            assert_eq!(buffer.as_ptr().addr() % 64, 0);
            assert!(buffer.iter().all(|value| *value == 0.0));
            buffer.fill(1.0);
            assert_eq!(buffer.last().copied().unwrap_or(1.0), 1.0);
        }
    }

    #[test]
    fn nested_scratch_is_kept_and_counted() {
        let work = || {
            scratch([1000], |[outer]| {
                scratch([500, 40], |[inner, more]| {
                    assert_eq!((outer.len(), inner.len(), more.len()), (1000, 500, 40));
                    [outer.as_ptr(), inner.as_ptr(), more.as_ptr()]
                })
            })
        };
        let places = work();
        assert!(scratch_bytes() >= 4 * 1540);
        assert_eq!(work(), places);
    }
}
