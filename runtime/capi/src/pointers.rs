//! C's pointers, checked as far as they can be.

use core::mem::MaybeUninit;

use crate::status::Status;

/// Neither NULL nor misaligned.
pub(crate) fn check<T>(pointer: *const T) -> Result<(), Status> {
    if pointer.is_null() {
        Err(Status::Null)
    } else if pointer.is_aligned() {
        Ok(())
    } else {
        Err(Status::Misaligned)
    }
}

/// [`check`], and that `n` values from there on are within what this machine can address.
pub(crate) fn check_array<T>(pointer: *const T, n: usize) -> Result<(), Status> {
    check(pointer)?;
    let bytes = n.checked_mul(size_of::<T>()).ok_or(Status::TooLarge)?;
    let end = pointer.addr().checked_add(bytes);
    if bytes > isize::MAX as usize || end.is_none() {
        return Err(Status::TooLarge);
    }
    Ok(())
}

/// An array that is read. NULL is an array of nothing.
///
/// # Safety
/// `pointer`, where it passes the checks, is `n` values that nobody writes to during `'a`.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, n: usize) -> Result<&'a [T], Status> {
    if n == 0 {
        return Ok(&[]);
    }
    check_array(pointer, n)?;
    // SAFETY: aligned and of a size that a slice may have; the rest the caller promises.
    Ok(unsafe { core::slice::from_raw_parts(pointer, n) })
}

/// An array that is written. NULL is an array of nothing.
///
/// # Safety
/// `pointer`, where it passes the checks, is `n` values that nobody else uses during `'a`.
pub(crate) unsafe fn array_mut<'a, T>(pointer: *mut T, n: usize) -> Result<&'a mut [T], Status> {
    if n == 0 {
        return Ok(&mut []);
    }
    check_array(pointer, n)?;
    // SAFETY: aligned and of a size that a slice may have; the rest the caller promises.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, n) })
}

/// An out-parameter, to be written when all went well.
///
/// # Safety
/// `pointer`, where it passes the checks, is room for a value that nobody else uses during `'a`.
pub(crate) unsafe fn out<'a, T>(pointer: *mut T) -> Result<&'a mut MaybeUninit<T>, Status> {
    check(pointer)?;
    // SAFETY: aligned; the rest the caller promises.
    Ok(unsafe { &mut *pointer.cast::<MaybeUninit<T>>() })
}

/// Whether two pieces of memory share a byte.
pub(crate) fn overlap(a: *const u8, a_bytes: usize, b: *const u8, b_bytes: usize) -> bool {
    let (a, b) = (a.addr(), b.addr());
    a < b.saturating_add(b_bytes) && b < a.saturating_add(a_bytes)
}
