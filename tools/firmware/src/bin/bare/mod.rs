//! What the programs share that are measured: how they start and end, their memory and their weights.

#[cfg(target_arch = "arm")]
mod copies;
pub(crate) mod memory;

use minigpt_runtime::WeightFormat;
use semihosting::sys::arm_compat::sys_write0;

/// The format of the weights: one, as in firmware.
pub(crate) type Weights = <Chosen<{ number(env!("MINIGPT_FORMAT")) }> as Choice>::Weights;

pub(crate) struct Chosen<const INDEX: usize>;

pub(crate) trait Choice {
    type Weights: WeightFormat;
}

impl Choice for Chosen<0> {
    type Weights = minigpt_runtime::F32;
}

impl Choice for Chosen<1> {
    type Weights = minigpt_runtime::F16;
}

impl Choice for Chosen<2> {
    type Weights = minigpt_runtime::Q8;
}

impl Choice for Chosen<3> {
    type Weights = minigpt_runtime::Q8Dsp;
}

impl Choice for Chosen<4> {
    type Weights = minigpt_runtime::Q4;
}

/// The number that `text` is, decimal.
pub(crate) const fn number(text: &str) -> usize {
    let (bytes, mut value, mut i) = (text.as_bytes(), 0, 0);
    while i < bytes.len() {
        value = 10 * value + (bytes[i] - b'0') as usize;
        i += 1;
    }
    value
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::entry]
fn main() -> ! {
    end(crate::run())
}

#[cfg(target_arch = "riscv32")]
#[unsafe(no_mangle)]
fn main() -> ! {
    end(crate::run())
}

/// The interrupt vectors: one, because there must be one. The program uses no interrupt.
#[cfg(target_arch = "arm")]
#[unsafe(export_name = "__INTERRUPTS")]
#[unsafe(link_section = ".vector_table.interrupts")]
static INTERRUPTS: [extern "C" fn() -> !; 1] = [fault];

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

extern "C" fn fault() -> ! {
    end(Err(c"a fault of the processor"))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(Err(c"a panic"))
}

fn end(result: Result<(), &'static core::ffi::CStr>) -> ! {
    let Err(message) = result else {
        semihosting::process::exit(0)
    };
    sys_write0(c"error: ");
    sys_write0(message);
    sys_write0(c"\n");
    semihosting::process::exit(1)
}
