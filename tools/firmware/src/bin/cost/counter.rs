//! Time, or instructions, by what the board has to count them.

#[cfg(target_arch = "arm")]
pub(crate) use self::arm::{start, ticks};
#[cfg(target_arch = "riscv32")]
pub(crate) use self::riscv::{start, ticks};

#[cfg(target_arch = "arm")]
mod arm {
    /// Address of a register that counts upward, or 0 for the SysTick timer.
    const COUNTER: usize = crate::bare::number(env!("MINIGPT_COUNTER"));

    /// The SysTick timer of a Cortex-M: 24 bits, counting downward.
    const SYSTICK: usize = 0xE000_E010;
    const LARGEST: u32 = 0x00FF_FFFF;
    /// Set when the count went through 0 since it was last asked.
    const WRAPPED: u32 = 1 << 16;

    fn write(address: usize, value: u32) {
        // SAFETY: a register of the timer, which nothing else uses.
        unsafe { (address as *mut u32).write_volatile(value) };
    }

    fn read(address: usize) -> u32 {
        // SAFETY: a register that may be read at any time.
        unsafe { (address as *const u32).read_volatile() }
    }

    /// Starts to count; what this gives, [`ticks`] takes.
    pub(crate) fn start() -> u32 {
        if COUNTER != 0 {
            return read(COUNTER);
        }
        write(SYSTICK + 4, LARGEST);
        write(SYSTICK + 8, 0);
        write(SYSTICK, 0b101); // the core's clock, no interrupt
        LARGEST
    }

    /// Ticks since [`start`], or 0 if they were more than the counter holds.
    pub(crate) fn ticks(start: u32) -> u32 {
        if COUNTER != 0 {
            return read(COUNTER).wrapping_sub(start);
        }
        let now = read(SYSTICK + 8);
        match read(SYSTICK) & WRAPPED {
            0 => start - now,
            _ => 0,
        }
    }
}

#[cfg(target_arch = "riscv32")]
mod riscv {
    /// The instructions retired.
    pub(crate) fn start() -> u32 {
        let count: u32;
        // SAFETY: reads a counter and changes nothing.
        unsafe { core::arch::asm!("csrr {0}, minstret", out(reg) count, options(nomem, nostack)) };
        count
    }

    /// Instructions since [`start`].
    pub(crate) fn ticks(before: u32) -> u32 {
        start().wrapping_sub(before)
    }
}

/// Says how many ticks two million instructions take.
pub(crate) fn calibrate() {
    let measure = |rounds| {
        let start = start();
        spin(core::hint::black_box(rounds));
        ticks(start)
    };
    let (short, long) = (measure(1), measure(1_000_001));
    crate::say(c"calibration", long.wrapping_sub(short));
}

/// Two instructions a round.
#[inline(never)]
fn spin(rounds: u32) {
    // SAFETY: changes a register of its own.
    #[cfg(target_arch = "arm")]
    unsafe {
        core::arch::asm!("2: subs {0}, {0}, #1", "bne 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    // SAFETY: changes a register of its own.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        core::arch::asm!("2: addi {0}, {0}, -1", "bnez {0}, 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
}
