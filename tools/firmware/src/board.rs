//! What differs between boards: constants of the board file, the entry point, the counter, the
//! memory of a session.
#![allow(unsafe_code, reason = "memory at fixed addresses")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use minigpt_runtime::Aligned;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// What time, or work, is counted by.
#[allow(dead_code, reason = "a board has one of them")]
pub(crate) enum Counter {
    /// Nothing.
    None,
    /// A register that counts upward at `COUNTER_HZ`.
    Register(*const u32),
    /// The instructions retired.
    Instret,
}

impl Counter {
    /// What it shows now.
    pub(crate) fn ticks(&self) -> u32 {
        match self {
            Self::None => 0,
            // SAFETY: the board file names a register that may be read at any time.
            Self::Register(address) => unsafe { address.read_volatile() },
            Self::Instret => instret(),
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

struct Arena(UnsafeCell<MaybeUninit<Aligned<[u8; ARENA_BYTES]>>>);

// SAFETY: `arena` hands it out once.
unsafe impl Sync for Arena {}

#[unsafe(link_section = ".uninit.arena")]
static ARENA: Arena = Arena(UnsafeCell::new(MaybeUninit::uninit()));

/// The memory of sessions; empty from the second call on.
pub(crate) fn arena() -> &'static mut [u8] {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.load(Ordering::Relaxed) {
        return &mut [];
    }
    TAKEN.store(true, Ordering::Relaxed);
    let bytes: *mut u8 = ARENA.0.get().cast();
    // SAFETY: inside the static.
    unsafe { bytes.write_bytes(0, ARENA_BYTES) };
    // SAFETY: all of it was written just now, and this is the only reference there will be.
    unsafe { core::slice::from_raw_parts_mut(bytes, ARENA_BYTES) }
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::entry]
fn main() -> ! {
    exit(crate::run())
}

#[cfg(target_arch = "riscv32")]
#[riscv_rt::entry]
fn main() -> ! {
    exit(crate::run())
}

/// Where faults end: the cause is a bug, never an input.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    crate::console::say!("error: hard fault");
    semihosting::process::exit(70)
}

fn exit(result: Result<(), i32>) -> ! {
    semihosting::process::exit(result.err().unwrap_or(0))
}
