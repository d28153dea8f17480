//! What models say through the functions of the header, and through the runtime.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::fs;
use std::path::PathBuf;

use minigpt_runtime::{
    Aligned, F16, F32, Format, MemoryPlan, ModelFile, Q4, Q8, Q8Dsp, Sampler, Session, WeightFormat,
};

use crate::*;

/// Zeros on a 16-byte boundary.
struct Memory(Vec<Aligned<[u8; 16]>>);

impl Memory {
    fn new(bytes: usize) -> Self {
        Self(vec![Aligned([0; 16]); bytes.div_ceil(16)])
    }

    fn of(content: &[u8]) -> Self {
        let blocks = content.chunks(16).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            Aligned(block)
        });
        Self(blocks.collect())
    }

    fn at(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    fn bytes(&self) -> usize {
        self.0.len() * 16
    }

    fn slice(&mut self) -> &mut [u8] {
        let bytes = self.bytes();
        // SAFETY: as many bytes as there are, borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.at().cast(), bytes) }
    }
}

/// Calls a function of the library that returns a status, and expects that all is well.
macro_rules! ok {
    ($call:expr) => {
        // SAFETY: the pointers are to what the function asks for.
        let status = unsafe { $call };
        assert_eq!(status, 0, "{}", stringify!($call));
    };
}

/// Prompt and tokens of a text, and options of sessions: `kv` and `n_chunk`. Miri is slow.
const PROMPT: &str = if cfg!(miri) { "t" } else { "the theatre" };
const TOKENS: u32 = if cfg!(miri) { 1 } else { 60 };
const OPTIONS: &[(u32, u32)] = if cfg!(miri) {
    &[(1, 5)]
} else {
    &[(0, 1), (1, 5), (2, 3)]
};

/// The golden models, with their names.
fn models() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/format");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let models = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "mgpt"));
    let mut models: Vec<_> = models
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    assert!(models.len() >= 4);
    models.truncate(if cfg!(miri) { 1 } else { models.len() });
    models
}

/// What a model says: logits after the prompt, and a text.
#[derive(Debug, PartialEq)]
struct Answer {
    logits: Vec<u32>,
    text: String,
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The answer of the Rust session.
fn rust_answer<W: WeightFormat>(
    file: &ModelFile<'_>,
    options: &minigpt_runtime::SessionOptions,
) -> Answer {
    let plan = MemoryPlan::new(file.config(), file.format(), options);
    let mut arena = Memory::new(plan.total() as usize);
    let model = file.model::<W>().unwrap();
    let mut session = Session::new(model, arena.slice(), options).unwrap();
    let mut sampler: Sampler = Sampler::new(minigpt_runtime::SamplerOptions {
        temperature: 0.9,
        top_k: Some(40),
        top_p: 0.9,
        seed: 11,
    })
    .unwrap();
    let tokenizer = file.tokenizer();
    let mut history = [0; 64];
    let n = tokenizer
        .encode_prompt(PROMPT.as_bytes(), &mut history)
        .unwrap();
    let mut history = history[..n].to_vec();
    let logits = bits(session.forward(&history).unwrap());
    session.reset();
    let mut decoder = minigpt_runtime::StreamDecoder::new();
    let mut text = String::new();
    decoder.push_bytes(PROMPT.as_bytes(), &mut |part| text.push_str(part));
    for _ in 0..TOKENS {
        let logits = if session.position() == session.n_ctx() {
            let n_keep = usize::from(tokenizer.specials().bos.is_some());
            let (kept, logits) = session.slide(&mut history, n_keep).unwrap();
            history.truncate(kept);
            logits
        } else {
            session.forward(&history[session.position()..]).unwrap()
        };
        let token = sampler.sample(&mut logits[..tokenizer.n_vocab()]);
        if [tokenizer.specials().eos, tokenizer.specials().bos].contains(&Some(token)) {
            break;
        }
        history.push(token);
        let mut sink = |part: &str| text.push_str(part);
        decoder.push(tokenizer, token, &mut sink).unwrap();
    }
    decoder.finish(&mut |part| text.push_str(part));
    Answer { logits, text }
}

unsafe extern "C" fn collect(user: *mut c_void, text: *const c_char, bytes: usize) -> i32 {
    // SAFETY: the library says so.
    let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), bytes) };
    // SAFETY: `c_answer` passes this.
    let all = unsafe { &mut *user.cast::<String>() };
    all.push_str(core::str::from_utf8(text).unwrap());
    0
}

/// Logits after the prompt, through the functions of the header.
fn c_logits(model: *const ModelHandle, session: *mut SessionHandle) -> Vec<u32> {
    let (mut tokens, mut n, mut logits) = ([0; 64], 0, ptr::null_mut());
    let (text, text_bytes) = (PROMPT.as_ptr().cast(), PROMPT.len());
    ok!(minigpt_encode_prompt(
        model,
        text,
        text_bytes,
        tokens.as_mut_ptr(),
        64,
        &mut n
    ));
    ok!(minigpt_session_forward(
        session,
        tokens.as_ptr(),
        n,
        &mut logits
    ));
    let size = size_of::<ModelFacts>() as u32;
    let mut facts = ModelFacts {
        size,
        ..options::zero()
    };
    ok!(minigpt_model_facts_of(model, &mut facts));
    // SAFETY: as the header says.
    bits(unsafe { core::slice::from_raw_parts(logits, facts.n_vocab as usize) })
}

/// The text, through the functions of the header.
fn c_text(session: *mut SessionHandle) -> String {
    let sampling = SamplerOptions {
        size: size_of::<SamplerOptions>() as u32,
        temperature: 0.9,
        top_k: 40,
        top_p: 0.9,
        seed: 11,
    };
    let mut memory = Memory::new(SAMPLER_BYTES);
    let (at, room, mut sampler) = (memory.at(), memory.bytes(), ptr::null_mut());
    ok!(minigpt_sampler_init(&sampling, at, room, &mut sampler));
    let asked = GenerateOptions {
        size: size_of::<GenerateOptions>() as u32,
        max_tokens: TOKENS,
        echo: 1,
    };
    let (mut told, mut history) = (String::new(), [0; 64]);
    ok!(minigpt_generate(
        session,
        sampler,
        &asked,
        PROMPT.as_ptr().cast(),
        PROMPT.len(),
        history.as_mut_ptr(),
        64,
        Some(collect),
        (&raw mut told).cast(),
        ptr::null_mut(),
    ));
    told
}

/// The answer through the functions of the header.
fn c_answer(file: &mut Memory, file_bytes: usize, options: &SessionOptions) -> Answer {
    let (mut memory, mut model) = (Memory::new(MODEL_BYTES), ptr::null_mut());
    let room = memory.bytes();
    ok!(minigpt_model_open(
        file.at(),
        file_bytes,
        memory.at(),
        room,
        &mut model
    ));
    ok!(minigpt_model_verify(model));
    let (mut bytes, mut session) = (0, ptr::null_mut());
    ok!(minigpt_session_bytes(model, options, &mut bytes));
    let mut arena = Memory::new(bytes);
    ok!(minigpt_session_init(
        model,
        options,
        arena.at(),
        bytes,
        &mut session
    ));
    let logits = c_logits(model, session);
    let text = c_text(session);
    Answer { logits, text }
}

#[test]
fn answers_are_those_of_the_rust_session() {
    for (name, bytes) in models() {
        let mut memory = Memory::of(&bytes);
        for &(kv, n_chunk) in OPTIONS {
            let asked = SessionOptions {
                size: size_of::<SessionOptions>() as u32,
                n_ctx: 20,
                n_chunk,
                kv,
            };
            let options = asked.checked().unwrap();
            let rust = {
                let file = ModelFile::open(&memory.slice()[..bytes.len()]).unwrap();
                match file.format() {
                    Format::F32 => rust_answer::<F32>(&file, &options),
                    Format::F16 => rust_answer::<F16>(&file, &options),
                    Format::Q8 => rust_answer::<Q8>(&file, &options),
                    Format::Q8Dsp => rust_answer::<Q8Dsp>(&file, &options),
                    Format::Q4 => rust_answer::<Q4>(&file, &options),
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(c_answer(&mut memory, bytes.len(), &asked), rust, "{name}");
        }
    }
}
