//! What the board file says: constants, the counter, the memory of a session, the model's partition.
#![allow(unsafe_code, reason = "memory at fixed addresses")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use minigpt_runtime::Aligned;

use crate::hardware::{Chip, Hardware};

#[allow(dead_code, reason = "not every board needs all of them")]
mod constants {
    use super::Counter;

    include!(concat!(env!("OUT_DIR"), "/board.rs"));
}
pub(crate) use constants::*;

/// What time, or work, is counted by.
#[allow(dead_code, reason = "a board has one of them")]
pub(crate) enum Counter {
    /// Nothing.
    None,
    /// A register that counts upward at `COUNTER_HZ`.
    Register(*const u32),
    /// The instructions retired.
    Instret,
    /// The timer that [`Hardware::start`] starts.
    Timer,
}

impl Counter {
    /// What it shows now.
    pub(crate) fn ticks(&self) -> u32 {
        match self {
            Self::None => 0,
            // SAFETY: the board file names a register that may be read at any time.
            Self::Register(address) => unsafe { address.read_volatile() },
            Self::Instret => instret(),
            Self::Timer => Chip::microseconds(),
        }
    }
}

#[cfg(target_arch = "riscv32")]
fn instret() -> u32 {
    let count: u32;
    // SAFETY: reads a counter and changes nothing.
    unsafe { core::arch::asm!("csrr {0}, minstret", out(reg) count, options(nomem, nostack)) };
    count
}

#[cfg(not(target_arch = "riscv32"))]
fn instret() -> u32 {
    0
}

/// The flash partition that models are written to.
pub(crate) fn model_partition() -> &'static [u8] {
    let (start, size) = MODEL;
    // SAFETY: the linker script keeps program and variables out of this memory, nothing writes to
    // it, and every pattern of bits is a byte.
    unsafe { core::slice::from_raw_parts(start as *const u8, size) }
}

struct Arena(UnsafeCell<Aligned<[u8; ARENA_BYTES]>>);

// SAFETY: `arena` hands it out once.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new(Aligned([0; ARENA_BYTES])));

/// The memory of sessions; empty from the second call on.
pub(crate) fn arena() -> &'static mut [u8] {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.load(Ordering::Relaxed) {
        return &mut [];
    }
    TAKEN.store(true, Ordering::Relaxed);
    // SAFETY: this is the only reference there will be.
    unsafe { &mut (*ARENA.0.get()).0 }
}
