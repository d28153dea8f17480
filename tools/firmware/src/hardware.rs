//! What differs between boards in code: start-up, the serial line, the timer.
#![allow(unsafe_code, reason = "registers")]

#[cfg_attr(hal = "semihosting", path = "hardware/semihosted.rs")]
#[cfg_attr(hal = "rp2040", path = "hardware/rp2040.rs")]
#[cfg_attr(hal = "rp235x", path = "hardware/rp235x.rs")]
#[cfg_attr(hal = "stm32f4", path = "hardware/stm32f4.rs")]
#[cfg_attr(any(hal = "nrf51", hal = "nrf52840"), path = "hardware/nrf.rs")]
mod chip;
#[cfg(not(hal = "semihosting"))]
mod uart;

pub(crate) use chip::Chip;

/// Where a piece of output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The texts that are asked for.
    Text,
    /// Figures and errors.
    Figures,
}

/// A board as the program sees it. It has one, so nothing here takes `self`: what stops the program
/// can still say so.
pub(crate) trait Hardware {
    /// Whether both streams are one line with a person's terminal at its end: it wants its typing
    /// echoed, a prompt, and to see which lines are figures.
    const TERMINAL: bool;

    /// Sets up clocks, the serial line and the timer.
    fn start();

    /// Sends bytes.
    fn write(stream: Stream, bytes: &[u8]);

    /// Waits for a byte; `None` if none will come any more.
    fn read() -> Option<u8>;

    /// A byte that has come already, where the line can tell.
    fn poll() -> Option<u8>;

    /// The timer of boards whose counter is one: microseconds, modulo 2^32.
    fn microseconds() -> u32;

    /// The end: 0 if all went well.
    fn end(code: i32) -> !;
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::entry]
fn main() -> ! {
    run()
}

#[cfg(target_arch = "riscv32")]
#[unsafe(no_mangle)]
fn main() -> ! {
    run()
}

/// The interrupt vectors: one, because there must be one. The program uses no interrupt.
#[cfg(all(target_arch = "arm", not(hal_vectors)))]
#[unsafe(export_name = "__INTERRUPTS")]
#[unsafe(link_section = ".vector_table.interrupts")]
static INTERRUPTS: [extern "C" fn() -> !; 1] = [interrupt];

#[cfg(all(target_arch = "arm", not(hal_vectors)))]
extern "C" fn interrupt() -> ! {
    fault()
}

fn run() -> ! {
    Chip::start();
    Chip::end(crate::run().err().unwrap_or(0))
}

/// Where faults of the processor end: the cause is a bug or broken hardware, never an input.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    fault()
}

#[cfg(target_arch = "riscv32")]
#[unsafe(no_mangle)]
extern "C" fn ExceptionHandler(_: &riscv_rt::TrapFrame) -> ! {
    fault()
}

fn fault() -> ! {
    crate::console::say!("error: the processor stopped the program with a fault; reset the board");
    Chip::end(70)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    crate::console::say!("error: the program stopped at a bug of its own; reset the board");
    Chip::end(71)
}
