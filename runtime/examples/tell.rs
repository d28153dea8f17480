//! Continues a text on a chosen instruction set.
//!
//! ```sh
//! cargo run --release -p minigpt-runtime --example tell                  # the sets of this machine
//! cargo run --release -p minigpt-runtime --example tell -- model.mgpt --isa=scalar --prompt="Once upon a time"
//! ```
//!
//! Options are `--name=value`: `isa`, `kv`, `prompt`, `temperature`, `top-k`, `top-p`, `seed`, `max-tokens`. The text goes
//! to standard output when it is whole.

use core::error::Error;
use core::str::FromStr;
use std::process::ExitCode;
use std::{env, fs};

use minigpt_runtime::{
    ARENA_ALIGNMENT, F16, F32, Format, Isa, KvFormat, MemoryPlan, ModelFile, Q4, Q8, Q8Dsp,
    Sampler, SamplerOptions, Session, SessionOptions, StreamDecoder, WeightFormat,
};

/// What the command line asks for.
struct Request {
    isa: Isa,
    kv: KvFormat,
    sampling: SamplerOptions,
    prompt: String,
    max_tokens: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(model) = args.iter().find(|arg| !arg.starts_with("--")) else {
        for isa in Isa::available() {
            println!("{}", isa.name());
        }
        return ExitCode::SUCCESS;
    };
    let told = Request::parse(&args).and_then(|request| tell(model, &request));
    match told {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {model}: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Request {
    fn parse(args: &[String]) -> Result<Self, Box<dyn Error>> {
        let isa = option(args, "isa", Isa::detect().name().to_owned())?;
        let kv = option(args, "kv", KvFormat::F32.name().to_owned())?;
        Ok(Self {
            isa: Isa::available()
                .find(|known| known.name() == isa)
                .ok_or_else(|| {
                    format!("there is no instruction set {isa} here; without a model it lists them")
                })?,
            kv: KvFormat::ALL
                .into_iter()
                .find(|known| known.name() == kv)
                .ok_or_else(|| format!("there is no cache of {kv}; there are f32, f16 and q8"))?,
            sampling: SamplerOptions {
                temperature: option(args, "temperature", 0.8)?,
                top_k: Some(option(args, "top-k", 0)?).filter(|k| *k > 0),
                top_p: option(args, "top-p", 1.0)?,
                seed: option(args, "seed", 0)?,
            },
            prompt: option(args, "prompt", String::new())?,
            max_tokens: option(args, "max-tokens", 256)?,
        })
    }
}

/// The value of `--name=value`.
fn option<T: FromStr>(args: &[String], name: &str, default: T) -> Result<T, String> {
    let mut values = args.iter().filter_map(|arg| {
        arg.strip_prefix("--")?
            .strip_prefix(name)?
            .strip_prefix('=')
    });
    match values.next_back() {
        Some(value) => value
            .parse()
            .map_err(|_| format!("--{name} is {value}, which is no value of it")),
        None => Ok(default),
    }
}

/// The text that the model at `path` makes of the prompt.
fn tell(path: &str, request: &Request) -> Result<String, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let mut room = vec![0; bytes.len() + ARENA_ALIGNMENT];
    let memory = aligned(&mut room, bytes.len());
    memory.copy_from_slice(&bytes);
    let file = ModelFile::open(memory)?;
    match file.format() {
        Format::F32 => tell_as::<F32>(&file, request),
        Format::F16 => tell_as::<F16>(&file, request),
        Format::Q8 => tell_as::<Q8>(&file, request),
        Format::Q8Dsp => tell_as::<Q8Dsp>(&file, request),
        Format::Q4 => tell_as::<Q4>(&file, request),
        other => Err(format!("this program does not know weights as {}", other.name()).into()),
    }
}

fn tell_as<W: WeightFormat>(
    file: &ModelFile<'_>,
    request: &Request,
) -> Result<String, Box<dyn Error>> {
    let options = SessionOptions {
        kv: request.kv,
        ..SessionOptions::DEFAULT
    };
    let needed = MemoryPlan::new(file.config(), file.format(), &options).total() as usize;
    let mut room = vec![0; needed + ARENA_ALIGNMENT];
    let memory = aligned(&mut room, needed);
    let mut session = Session::with_isa(file.model::<W>()?, memory, &options, request.isa)?;
    let mut sampler = <Sampler>::new(request.sampling)?;
    let tokenizer = file.tokenizer();
    let prompt = request.prompt.as_bytes();
    let mut tokens = vec![0; prompt.len() + 2];
    let n = tokenizer.encode_prompt(prompt, &mut tokens)?;
    tokens.truncate(n);
    let mut told = String::new();
    let mut decoder = StreamDecoder::new();
    decoder.push_bytes(prompt, &mut |part| told.push_str(part));
    for _ in 0..request.max_tokens {
        let logits = session.forward(&tokens)?;
        let token = sampler.sample(&mut logits[..tokenizer.n_vocab()]);
        if tokenizer.specials().is_end(token) {
            break;
        }
        tokens = vec![token];
        decoder.push(tokenizer, token, &mut |part| told.push_str(part))?;
    }
    decoder.finish(&mut |part| told.push_str(part));
    Ok(told)
}

/// `len` bytes of `room` on the boundary that models and arenas lie on.
fn aligned(room: &mut [u8], len: usize) -> &mut [u8] {
    let at = room.as_ptr().addr().wrapping_neg() % ARENA_ALIGNMENT;
    &mut room[at..][..len]
}
