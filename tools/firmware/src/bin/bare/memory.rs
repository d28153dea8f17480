//! The model's partition and the arena.

use minigpt_runtime::ARENA_ALIGNMENT;

use super::number;

/// Where the model lies, and the bytes of its partition.
const MODEL: (usize, usize) = (
    number(env!("MINIGPT_MODEL_START")),
    number(env!("MINIGPT_MODEL_SIZE")),
);

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

/// Where the program's variables end, aligned as arenas are, and where the stack begins.
pub(crate) fn room() -> (usize, usize) {
    let start = (&raw const end_of_variables).addr();
    let end = (&raw const _stack_start).addr();
    (start.next_multiple_of(ARENA_ALIGNMENT), end)
}

/// The `len` bytes from `start` on, which lie below the stack.
pub(crate) fn arena(start: usize, len: usize) -> &'static mut [u8] {
    // SAFETY: memory that nothing else uses, of which any bytes are bytes, and this function is called once.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, len) }
}
