//! Measures what a token costs: opens a model, encodes, runs and samples as firmware does.
//!
//! `cargo xtask cost` builds it with the addresses of the board and reads what it writes: lines of a
//! name and a number. It writes no text but that, so that it needs no formatting.
#![no_std]
#![no_main]

#[path = "../bare/mod.rs"]
mod bare;
mod counter;
mod stack;

use minigpt_runtime::{
    KvFormat, MemoryPlan, ModelFile, Sampler, SamplerOptions, Session, SessionOptions,
    StreamDecoder,
};
use semihosting::sys::arm_compat::{sys_write0, sys_writec};

use self::bare::{Weights, memory};

/// How keys and values are kept.
const KV: KvFormat = KvFormat::Q8;

/// Positions that are measured, from the first on.
const POSITIONS: usize = 64;

/// Bytes that the arena leaves below the stack of the first function.
const STACK_RESERVE: usize = 2048;

const PROMPT: &str = "Once upon";

/// Multiply-adds of a step where a token is taken in steps.
const STEP: usize = 2000;

fn run() -> Result<(), &'static core::ffi::CStr> {
    counter::calibrate();
    let (start, end) = stack::paint();
    let file =
        ModelFile::open_at(memory::partition()).map_err(|_| c"the model cannot be opened")?;
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
    let arena = memory::arena(start, plan);
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
    say(c"stack", stack::high_water(start + plan)?);
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
