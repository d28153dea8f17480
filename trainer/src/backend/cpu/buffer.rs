//! Memory: numbers that start on a cache line, and scratch that is kept between steps.

use core::cell::RefCell;
use core::mem;
use core::ops::{Deref, DerefMut};

/// Numbers in a cache line; arrays start on one, so that wide loads touch one line and not two.
const LINE: usize = 16;

/// Numbers that start on a cache line.
#[derive(Debug, Default)]
pub struct Buffer {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let values = vec![0.0; len + LINE];
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>());
        Self {
            start: start.min(LINE),
            values,
            len,
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        (self.values.len() * size_of::<f32>()) as u64
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
        &self.values[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
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

    pub(super) const fn bytes(&self) -> u64 {
        self.buffer.bytes()
    }
}

/// Runs `work` with scratch slices of the lengths asked for, of any value, kept by this thread.
pub(super) fn scratch<const N: usize, R>(
    lens: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    thread_local! {
        static SCRATCH: RefCell<Buffer> = RefCell::default();
    }
    let mut buffer = SCRATCH.with(RefCell::take);
    let result = work(split(&mut buffer, lens));
    SCRATCH.with(|slot| *slot.borrow_mut() = mem::take(&mut buffer));
    result
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
