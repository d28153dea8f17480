//! Measures what a token costs: opens a model, encodes, runs and samples as firmware does, and holds
//! nothing else, so that its size is the size of the library.
//!
//! `cargo xtask cost` builds it with the addresses of the board and reads what it writes: lines of a
//! name and a number. It writes no text but that, so that it needs no formatting.
#![no_std]
#![no_main]

use minigpt_runtime::{
    ARENA_ALIGNMENT, KvFormat, MemoryPlan, ModelFile, Sampler, SamplerOptions, Session,
    SessionOptions, StreamDecoder, WeightFormat,
};
use semihosting::sys::arm_compat::{sys_write0, sys_writec};

/// Where the model lies, and the bytes of its partition.
const MODEL: (usize, usize) = (
    number(env!("MINIGPT_MODEL_START")),
    number(env!("MINIGPT_MODEL_SIZE")),
);

/// Address of a register that counts upward, or 0 for the SysTick timer; RISC-V counts its
/// instructions without one.
#[cfg(target_arch = "arm")]
const COUNTER: usize = number(env!("MINIGPT_COUNTER"));

/// The format of the weights: one, as in firmware.
type Weights = <Chosen<{ number(env!("MINIGPT_FORMAT")) }> as Choice>::Weights;

struct Chosen<const INDEX: usize>;

trait Choice {
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

/// How keys and values are kept.
const KV: KvFormat = KvFormat::Q8;

/// Positions that are measured, from the first on.
const POSITIONS: usize = 64;

/// Bytes that the arena leaves below the stack of the first function.
const STACK_RESERVE: usize = 2048;

/// What unused memory is filled with.
const PAINT: u32 = 0xDEAD_BEEF;

/// Bytes below the frame of the function that paints which are left alone.
const MARGIN: usize = 128;

const PROMPT: &str = "Once upon";

/// Multiply-adds of a step where a token is taken in steps.
const STEP: usize = 2000;

fn run() -> Result<(), &'static core::ffi::CStr> {
    calibrate();
    let (start, end) = paint();
    let file = ModelFile::open_at(partition()).map_err(|_| c"the model cannot be opened")?;
    let model = file
        .model::<Weights>()
        .map_err(|_| c"the model has another format")?;
    let room = (end - start).saturating_sub(STACK_RESERVE);
    let options = SessionOptions {
        n_ctx: 0,
        n_chunk: 1,
        kv: KV,
    };
    let options = options.fitted(file.config(), file.format(), room as u64);
    let plan = MemoryPlan::new(file.config(), file.format(), &options).total() as usize;
    if plan > room {
        return Err(c"the arena does not fit into RAM");
    }
    let arena = arena(start, plan);
    say(c"context", options.n_ctx as u32);
    say(c"planned", plan as u32);
    say(c"arena", arena.len() as u32);
    let less = arena.get_mut(..plan - 1).unwrap_or_default();
    if Session::new(model, less, &options).is_ok() {
        return Err(c"a session runs in less memory than planned");
    }
    let mut session =
        Session::new(model, arena, &options).map_err(|_| c"the planned arena is too small")?;
    tell(&file, &mut session)?;
    slice(&mut session)?;
    say(c"stack", high_water(start + plan)?);
    Ok(())
}

/// Continues the prompt up to the last measured position and says what each token costs.
fn tell(
    file: &ModelFile<'_>,
    session: &mut Session<'_, Weights>,
) -> Result<(), &'static core::ffi::CStr> {
    let tokenizer = file.tokenizer();
    let mut prompt = [0; PROMPT.len() + 1];
    let n = tokenizer.encode(PROMPT.as_bytes(), &mut prompt);
    let mut prompt = prompt
        .iter()
        .take(n.map_err(|_| c"the prompt cannot be encoded")?);
    let mut sampler = <Sampler>::new(SamplerOptions {
        temperature: 0.8,
        top_k: Some(16),
        top_p: 0.95,
        seed: 1,
    })
    .map_err(|_| c"the sampler refuses its options")?;
    let mut decoder = StreamDecoder::new();
    let (mut sampled, mut told) = (0, 0);
    for _ in 0..POSITIONS.min(session.n_ctx()) {
        let token = *prompt.next().unwrap_or(&sampled);
        let start = counter::start();
        let logits = session.forward(&[token]);
        say(c"token", counter::ticks(start));
        let logits = logits.map_err(|_| c"a token is refused")?;
        sampled = sampler.sample(logits.get_mut(..tokenizer.n_vocab()).unwrap_or_default());
        let pushed = decoder.push(tokenizer, sampled, &mut |text| told += text.len());
        pushed.map_err(|_| c"a token has no text")?;
    }
    decoder.finish(&mut |text| told += text.len());
    say(c"text", told as u32);
    Ok(())
}

/// Takes the same tokens at once and in steps, which must give the same logits; says how long the longest
/// step took.
fn slice(session: &mut Session<'_, Weights>) -> Result<(), &'static core::ffi::CStr> {
    const REFUSED: &core::ffi::CStr = c"a step is refused";
    let n = POSITIONS.min(session.n_ctx());
    session.reset();
    let mut whole = 0;
    for token in 0..n as u32 {
        let logits = session.forward(&[token]).map_err(|_| REFUSED)?;
        whole = mixed(whole, logits);
    }
    session.reset();
    let (mut sliced, mut longest) = (0, 0);
    for token in 0..n as u32 {
        session.begin(&[token]).map_err(|_| REFUSED)?;
        let mut done = false;
        while !done {
            let start = counter::start();
            let logits = session.step(STEP);
            longest = longest.max(counter::ticks(start));
            if let Some(logits) = logits.map_err(|_| REFUSED)? {
                sliced = mixed(sliced, logits);
                done = true;
            }
        }
    }
    if whole != sliced {
        return Err(c"steps give other logits");
    }
    say(c"logits", whole);
    say(c"step", longest);
    Ok(())
}

/// A number that depends on every bit of `logits` and on `seed`.
fn mixed(seed: u32, logits: &[f32]) -> u32 {
    let mix = |sum: u32, logit: &f32| sum.rotate_left(5).wrapping_mul(31) ^ logit.to_bits();
    logits.iter().fold(seed, mix)
}

/// Says how many ticks two million instructions take.
fn calibrate() {
    let measure = |rounds| {
        let start = counter::start();
        spin(core::hint::black_box(rounds));
        counter::ticks(start)
    };
    let (short, long) = (measure(1), measure(1_000_001));
    say(c"calibration", long.wrapping_sub(short));
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

#[cfg(target_arch = "arm")]
mod counter {
    use super::COUNTER;

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
mod counter {
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

/// The flash partition of the model.
fn partition() -> &'static [u8] {
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
fn paint() -> (usize, usize) {
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
fn arena(start: usize, len: usize) -> &'static mut [u8] {
    // SAFETY: initialised, well below the stack, and this function is called once.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, len) }
}

/// Most bytes of stack used since [`paint`]; the stack may grow down to `end`.
fn high_water(end: usize) -> Result<u32, &'static core::ffi::CStr> {
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

/// Writes a line of a name and a number.
fn say(name: &core::ffi::CStr, value: u32) {
    sys_write0(name);
    sys_write0(c" ");
    let mut power = 1_000_000_000;
    while power > 1 && value / power == 0 {
        power /= 10;
    }
    while power > 0 {
        sys_writec(b'0' + (value / power % 10) as u8);
        power /= 10;
    }
    sys_write0(c"\n");
}

/// The number that `text` is, decimal.
const fn number(text: &str) -> usize {
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
    end(run())
}

#[cfg(target_arch = "riscv32")]
#[unsafe(no_mangle)]
fn main() -> ! {
    end(run())
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
