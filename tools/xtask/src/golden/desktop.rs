//! Texts from the runtime itself, on a chosen instruction set.

use std::fs;
use std::path::Path;

use minigpt_runtime::{
    ARENA_ALIGNMENT, Format, Isa, KvFormat, MemoryPlan, ModelFile, Q4, Q8, Sampler, SamplerOptions,
    Session, SessionOptions, StreamDecoder, WeightFormat,
};

use super::Text;

/// How the matrices of `model` are stored.
pub(super) fn format(model: &Path) -> Result<Format, String> {
    with_file(model, |file| Ok(file.format()))
}

/// What `model` says with `isa` when it is asked for `text`, its keys and values kept as `kv`.
pub(super) fn tell(isa: Isa, text: &Text, model: &Path, kv: &str) -> Result<String, String> {
    with_file(model, |file| match file.format() {
        Format::Q4 => tell_as::<Q4>(isa, text, file, kv),
        _ => tell_as::<Q8>(isa, text, file, kv),
    })
}

/// Does `work` with the model at `path`.
fn with_file<R>(
    path: &Path,
    work: impl FnOnce(&ModelFile<'_>) -> Result<R, String>,
) -> Result<R, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let mut copy = vec![0; bytes.len() + ARENA_ALIGNMENT];
    let copy = aligned(&mut copy, bytes.len());
    copy.copy_from_slice(&bytes);
    work(&ModelFile::open(copy).map_err(|error| error.to_string())?)
}

fn tell_as<W: WeightFormat>(
    isa: Isa,
    text: &Text,
    file: &ModelFile<'_>,
    kv: &str,
) -> Result<String, String> {
    let options = SessionOptions {
        kv: kv_format(kv)?,
        ..SessionOptions::DEFAULT
    };
    let needed = MemoryPlan::new(file.config(), file.format(), &options).total() as usize;
    let mut memory = vec![0; needed + ARENA_ALIGNMENT];
    let weights = file.model::<W>().map_err(|error| error.to_string())?;
    let memory = aligned(&mut memory, needed);
    let session = Session::with_isa(weights, memory, &options, isa);
    write(file, session.map_err(|error| error.to_string())?, text)
}

fn write<W: WeightFormat>(
    file: &ModelFile<'_>,
    mut session: Session<'_, W>,
    text: &Text,
) -> Result<String, String> {
    let options = SamplerOptions {
        temperature: text.temperature,
        top_k: text.top_k,
        top_p: text.top_p,
        seed: text.seed,
    };
    let mut sampler = <Sampler>::new(options).map_err(|error| error.to_string())?;
    let (tokenizer, specials) = (file.tokenizer(), file.tokenizer().specials());
    let mut tokens = vec![0; text.prompt.len() + 1];
    let encoded = tokenizer.encode(text.prompt.as_bytes(), &mut tokens);
    tokens.truncate(encoded.map_err(|error| error.to_string())?);
    tokens.splice(0..0, specials.bos);
    let mut told = String::new();
    let mut decoder = StreamDecoder::new();
    decoder.push_bytes(text.prompt.as_bytes(), &mut |part| told.push_str(part));
    for _ in 0..text.max_tokens {
        let logits = session
            .forward(&tokens)
            .map_err(|error| error.to_string())?;
        let token = sampler.sample(&mut logits[..tokenizer.n_vocab()]);
        if specials.eos == Some(token) || specials.bos == Some(token) {
            break;
        }
        tokens = vec![token];
        decoder
            .push(tokenizer, token, &mut |part| told.push_str(part))
            .map_err(|error| error.to_string())?;
    }
    decoder.finish(&mut |part| told.push_str(part));
    Ok(told)
}

fn kv_format(name: &str) -> Result<KvFormat, String> {
    let mut named = KvFormat::ALL.into_iter().filter(|kv| kv.name() == name);
    named
        .next()
        .ok_or_else(|| format!("there is no cache of {name}"))
}

/// `len` bytes of `memory` on a 16-byte boundary.
fn aligned(memory: &mut [u8], len: usize) -> &mut [u8] {
    let at = memory.as_ptr().addr().wrapping_neg() % ARENA_ALIGNMENT;
    &mut memory[at..][..len]
}
