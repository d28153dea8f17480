//! The model's partition, the arena and the stack.

use minigpt_runtime::ARENA_ALIGNMENT;

use crate::number;

/// Where the model lies, and the bytes of its partition.
const MODEL: (usize, usize) = (
    number(env!("MINIGPT_MODEL_START")),
    number(env!("MINIGPT_MODEL_SIZE")),
);

/// What unused memory is filled with.
const PAINT: u32 = 0xDEAD_BEEF;

/// Bytes below the frame of the function that paints which are left alone.
const MARGIN: usize = 128;

/// The flash partition of the model.
pub(crate) fn partition() -> &'static [u8] {
    let (start, size) = MODEL;
    // SAFETY: the linker script keeps program and variables out of this memory, nothing writes to
    // it, and every pattern of bits is a byte.
    unsafe { core::slice::from_raw_parts(start as *const u8, size) }
}

unsafe extern "C" {
    /// Where the program's variables end.
    #[cfg_attr(target_arch = "arm", link_name = "__ebss")]
    #[cfg_attr(target_arch = "riscv32", link_name = "_ebss")]
    static end_of_variables: u8;
    /// Where the stack begins, which grows downward.
    static _stack_start: u8;
}

/// Paints the memory between the program's variables and the stack; says from where, aligned, to where.
#[inline(never)]
pub(crate) fn paint() -> (usize, usize) {
    let here = 0u8;
    let end = ((&raw const here).addr() - MARGIN) & !3;
    let start = (&raw const end_of_variables).addr();
    let start = start.next_multiple_of(ARENA_ALIGNMENT).min(end);
    for address in (start..end).step_by(4) {
        // SAFETY: between the variables and well below the stack pointer lies memory that nothing
        // uses.
        unsafe { (address as *mut u32).write_volatile(PAINT) };
    }
    (start, end)
}

/// The `len` bytes from `start` on, which were painted.
pub(crate) fn arena(start: usize, len: usize) -> &'static mut [u8] {
    // SAFETY: initialised, well below the stack, and this function is called once.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, len) }
}

/// Most bytes of stack used since [`paint`]; the stack may grow down to `end`.
pub(crate) fn high_water(end: usize) -> Result<u32, &'static core::ffi::CStr> {
    let end = end.next_multiple_of(4);
    let top = (&raw const _stack_start).addr();
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
