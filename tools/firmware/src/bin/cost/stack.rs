//! How much of the stack was used.

use crate::bare::memory;

/// What unused memory is filled with.
const PAINT: u32 = 0xDEAD_BEEF;

/// Bytes below the frame of the function that paints which are left alone.
const MARGIN: usize = 128;

/// Paints the memory between the program's variables and the stack; says from where, aligned, to where.
#[inline(never)]
pub(crate) fn paint() -> (usize, usize) {
    let here = 0u8;
    let end = ((&raw const here).addr() - MARGIN) & !3;
    let start = memory::room().0.min(end);
    for address in (start..end).step_by(4) {
        // SAFETY: between the variables and well below the stack pointer lies memory that nothing
        // uses.
        unsafe { (address as *mut u32).write_volatile(PAINT) };
    }
    (start, end)
}

/// Most bytes of stack used since [`paint`]; the stack may grow down to `end`.
pub(crate) fn high_water(end: usize) -> Result<u32, &'static core::ffi::CStr> {
    let end = end.next_multiple_of(4);
    let top = memory::room().1;
    let used = (end..top).step_by(4).find(|address| {
        // SAFETY: memory above the arena, aligned.
        let word = unsafe { (*address as *const u32).read_volatile() };
        word != PAINT
    });
    let used = used.unwrap_or(top);
    if used == end {
        return Err(c"the stack reached the arena");
    }
    Ok((top - used) as u32)
}
