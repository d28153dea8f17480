//! The least program that tells a text on a microcontroller: the model in flash, all memory static, no heap.
#![no_std]
#![no_main]

use core::slice;

use cortex_m_rt::entry;
use minigpt_runtime::{
    Aligned, KvFormat, ModelFile, Q8Dsp, Sampler, SamplerOptions, Session, SessionOptions,
    StreamDecoder,
};
use semihosting::io::{self, Write};
use semihosting::process;

/// Address and bytes of the model's partition, as in memory.x.
const MODEL: (usize, usize) = (0x0002_0000, 896 * 1024);

/// RAM for the session; the context is the longest that it holds.
const ARENA_BYTES: usize = 64 * 1024;

const PROMPT: &str = "Once upon a time";
const MAX_TOKENS: usize = 60;

#[entry]
fn main() -> ! {
    static mut ARENA: Aligned<[u8; ARENA_BYTES]> = Aligned([0; ARENA_BYTES]);
    match tell(&mut ARENA.0) {
        Ok(()) => process::exit(0),
        Err(message) => fail(message),
    }
}

/// Continues the prompt until the text is at its end.
fn tell(arena: &mut [u8]) -> Result<(), &'static str> {
    // SAFETY: flash that nothing writes to, and any bytes are bytes. What follows the model does not matter.
    let partition = unsafe { slice::from_raw_parts(MODEL.0 as *const u8, MODEL.1) };
    let file =
        ModelFile::open_at(partition).map_err(|_| "at MODEL lies no model, or not all of one")?;
    file.verify()
        .map_err(|_| "the model is damaged: write it again")?;
    let model = file.model::<Q8Dsp>();
    let model = model.map_err(|_| "the model is not q8-dsp: minigpt export --format q8-dsp")?;

    let options = SessionOptions {
        n_ctx: 0,
        n_chunk: 1,
        kv: KvFormat::Q8,
    };
    let options = options.fitted(file.config(), file.format(), arena.len() as u64);
    let session = Session::new(model, arena, &options);
    let mut session = session.map_err(|_| "ARENA_BYTES is too small for one token of context")?;
    let sampling = SamplerOptions {
        temperature: 0.8,
        top_k: None,
        top_p: 0.95,
        seed: 7,
    };
    let mut sampler = <Sampler>::new(sampling).map_err(|_| "the sampling options are wrong")?;

    let tokenizer = file.tokenizer();
    let mut tokens = [0; PROMPT.len() + 2];
    let n = tokenizer.encode_prompt(PROMPT.as_bytes(), &mut tokens);
    let n = n.map_err(|_| "the model's alphabet lacks a character of PROMPT")?;
    if n > session.n_ctx() {
        return Err("the context is shorter than PROMPT: raise ARENA_BYTES");
    }
    write(PROMPT);
    let mut decoder = StreamDecoder::continuing();
    let mut input = tokens.get(..n).unwrap_or_default();
    let mut next;
    for _ in 0..MAX_TOKENS {
        let Ok(logits) = session.forward(input) else {
            break; // the context is full
        };
        let token = sampler.sample(logits.get_mut(..tokenizer.n_vocab()).unwrap_or_default());
        if tokenizer.specials().is_end(token) {
            break;
        }
        decoder
            .push(tokenizer, token, &mut write)
            .map_err(|_| "a token has no text")?;
        next = [token];
        input = &next;
    }
    decoder.finish(&mut write);
    write("\n");
    Ok(())
}

/// Semihosting here; on a board a serial port.
fn write(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = io::stdout().and_then(|mut out| out.write_all(text.as_bytes()));
}

fn fail(message: &str) -> ! {
    write("error: ");
    write(message);
    write("\n");
    process::exit(1)
}

/// No input leads here: the runtime does not panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("a panic")
}
