//! Rust values in the caller's memory, behind a mark that says what they are.
//!
//! The mark is a word made of the kind of object, its address and its state. A pointer to anything
//! else, to an object of another kind, to a copy, or to one that is closed does not have it.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::pointers;
use crate::status::Status;

/// Alignment of all memory that callers give.
pub(crate) const ALIGNMENT: usize = minigpt_runtime::ARENA_ALIGNMENT;

/// A value and its mark.
#[repr(C, align(16))]
pub(crate) struct Object<T> {
    mark: AtomicU32,
    value: T,
}

/// A kind of object.
pub(crate) trait Kind: Sized {
    /// What C sees of it.
    type Handle;
    /// Different for each kind; the lowest four bits are 0.
    const KIND: u32;
}

/// The lowest bits of a mark; addresses have zeros there.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Live = 1,
    Busy = 2,
    Closed = 3,
}

const fn mark(kind: u32, address: usize, state: State) -> u32 {
    (kind ^ address as u32) | state as u32
}

/// Makes an object of `value` in `memory`.
///
/// # Safety
/// `memory`, where it passes the checks, is `bytes` that nobody else uses while the object lives.
pub(crate) unsafe fn place<T: Kind>(
    memory: *mut u8,
    bytes: usize,
    value: T,
) -> Result<*mut T::Handle, Status> {
    check_room::<T>(memory, bytes)?;
    let object = memory.cast::<Object<T>>();
    let mark = AtomicU32::new(mark(T::KIND, memory.addr(), State::Live));
    // SAFETY: `check_room` saw alignment and size; the rest the caller promises.
    unsafe { object.write(Object { mark, value }) };
    Ok(memory.cast())
}

/// Whether an object fits into `memory`.
pub(crate) fn check_room<T>(memory: *mut u8, bytes: usize) -> Result<(), Status> {
    pointers::check(memory.cast::<Object<T>>())?;
    pointers::check_array(memory, bytes)?;
    if bytes < size_of::<Object<T>>() {
        return Err(Status::MemoryTooSmall);
    }
    Ok(())
}

/// The object's mark, whatever it says.
///
/// # Safety
/// `handle`, where it passes the checks, points to memory that holds an object, or anything of its size.
unsafe fn mark_of<'a, T: Kind>(handle: *const T::Handle) -> Result<&'a AtomicU32, Status> {
    let object = handle.cast::<Object<T>>();
    pointers::check(object)?;
    // SAFETY: the caller promises as much memory.
    let mark = unsafe { &raw const (*object).mark };
    // SAFETY: aligned, and any bytes are a word.
    Ok(unsafe { &*mark })
}

fn expect_live<T: Kind>(word: &AtomicU32, address: usize) -> Result<(), Status> {
    let found = word.load(Ordering::Acquire);
    let is = |state| found == mark(T::KIND, address, state);
    if is(State::Live) {
        Ok(())
    } else if is(State::Busy) {
        Err(Status::Busy)
    } else if is(State::Closed) {
        Err(Status::Closed)
    } else {
        Err(Status::NotReady)
    }
}

/// The value of a live object, to be read.
///
/// # Safety
/// As the crate says; nobody writes to the value during `'a`.
pub(crate) unsafe fn get<'a, T: Kind>(handle: *const T::Handle) -> Result<&'a T, Status> {
    // SAFETY: the caller promises it.
    let mark = unsafe { mark_of::<T>(handle) }?;
    expect_live::<T>(mark, handle.addr())?;
    // SAFETY: the mark says that a `T` was placed here.
    let value = unsafe { &raw const (*handle.cast::<Object<T>>()).value };
    // SAFETY: the same.
    Ok(unsafe { &*value })
}

/// The value of a live object, to be changed.
///
/// # Safety
/// As the crate says; nobody else uses the value during `'a`.
pub(crate) unsafe fn get_mut<'a, T: Kind>(handle: *mut T::Handle) -> Result<&'a mut T, Status> {
    // SAFETY: the caller promises it.
    let mark = unsafe { mark_of::<T>(handle) }?;
    expect_live::<T>(mark, handle.addr())?;
    // SAFETY: the mark says that a `T` was placed here.
    let value = unsafe { &raw mut (*handle.cast::<Object<T>>()).value };
    // SAFETY: the same; the mark, which others may read, is not part of it.
    Ok(unsafe { &mut *value })
}

/// Ends the use of a live object.
///
/// # Safety
/// As the crate says.
pub(crate) unsafe fn close<T: Kind>(handle: *mut T::Handle) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let word = unsafe { mark_of::<T>(handle) }?;
    expect_live::<T>(word, handle.addr())?;
    let closed = mark(T::KIND, handle.addr(), State::Closed);
    word.store(closed, Ordering::Release);
    Ok(())
}

/// Keeps everyone else out of an object until it is dropped.
pub(crate) struct Busy<'a> {
    mark: &'a AtomicU32,
    live: u32,
}

impl<'a> Busy<'a> {
    /// Of a live object.
    ///
    /// # Safety
    /// As the crate says.
    pub(crate) unsafe fn new<T: Kind>(handle: *mut T::Handle) -> Result<Self, Status> {
        // SAFETY: the caller promises it.
        let word: &'a AtomicU32 = unsafe { mark_of::<T>(handle) }?;
        expect_live::<T>(word, handle.addr())?;
        let busy = mark(T::KIND, handle.addr(), State::Busy);
        word.store(busy, Ordering::Release);
        let live = mark(T::KIND, handle.addr(), State::Live);
        Ok(Self { mark: word, live })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.mark.store(self.live, Ordering::Release);
    }
}
