//! How much of the stack was ever used.
#![allow(unsafe_code, reason = "looks at the stack below the stack pointer")]

use crate::board::{STACK_BYTES, STACK_TOP};

/// What unused stack is filled with.
const PAINT: u32 = 0xDEAD_BEEF;

/// Room below this function's own frame that is left alone.
const MARGIN: usize = 128;

/// Fills the unused part of the stack.
#[inline(never)]
pub(crate) fn paint() {
    let here = 0u8;
    let end = (&raw const here).addr() - MARGIN;
    for address in (bottom()..end & !3).step_by(4) {
        // SAFETY: between the stack's lowest address and well below its pointer lies memory that
        // nothing uses.
        unsafe { (address as *mut u32).write_volatile(PAINT) };
    }
}

/// Most bytes of stack used since [`paint`].
pub(crate) fn high_water() -> usize {
    let used = (bottom()..STACK_TOP).step_by(4).find(|address| {
        // SAFETY: the stack's own memory, aligned.
        let word = unsafe { (*address as *const u32).read_volatile() };
        word != PAINT
    });
    STACK_TOP - used.unwrap_or(STACK_TOP)
}

fn bottom() -> usize {
    STACK_TOP - STACK_BYTES
}
