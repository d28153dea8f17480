//! The least that tells a story: opens a model, encodes a prompt, runs, samples, and writes the text. Its size is the
//! size of the library.
//!
//! `cargo xtask cost` builds it with the addresses of the board.
#![no_std]
#![no_main]

#[path = "../bare/mod.rs"]
mod bare;

use core::ffi::CStr;
use core::hint::black_box;

use minigpt_runtime::{
    KvFormat, ModelFile, Sampler, SamplerOptions, Session, SessionOptions, StreamDecoder,
};
use semihosting::sys::arm_compat::sys_writec;

use self::bare::{Weights, memory};

/// The session, of the context that figures are given for.
const OPTIONS: SessionOptions = SessionOptions {
    n_ctx: 256,
    n_chunk: 1,
    kv: KvFormat::Q8,
};

/// Bytes that the arena leaves to the stack.
const STACK: usize = 4096;

const PROMPT: &str = "Once upon";

/// Tokens that are told.
const TOKENS: usize = 50;

fn run() -> Result<(), &'static CStr> {
    tell().ok_or(c"the model and this program, or this board, do not fit")
}

fn tell() -> Option<()> {
    let file = ModelFile::open_at(memory::partition()).ok()?;
    let (start, end) = memory::room();
    let arena = memory::arena(start, end - STACK - start);
    let mut session = Session::new(file.model::<Weights>().ok()?, arena, &OPTIONS).ok()?;
    let tokenizer = file.tokenizer();
    let mut prompt = [0; PROMPT.len() + 1];
    let n = tokenizer.encode(PROMPT.as_bytes(), &mut prompt).ok()?;
    // As if they came from outside, so that all of the sampler is there.
    let options = black_box(SamplerOptions {
        temperature: 0.8,
        top_k: Some(16),
        top_p: 0.95,
        seed: 1,
    });
    let mut sampler = <Sampler>::new(options).ok()?;
    let mut decoder = StreamDecoder::continuing();
    let mut write = |text: &str| text.bytes().for_each(sys_writec);
    let mut logits = session.forward(prompt.get(..n)?).ok()?;
    for _ in 0..TOKENS {
        let token = sampler.sample(logits.get_mut(..tokenizer.n_vocab())?);
        decoder.push(tokenizer, token, &mut write).ok()?;
        logits = session.forward(&[token]).ok()?;
    }
    decoder.finish(&mut write);
    Some(())
}
