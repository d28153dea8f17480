//! The speed of one file on a number of threads.

use std::path::Path;
use std::time::Instant;

use minigpt_runtime::layout::{self, Tensor, TensorId};
use minigpt_runtime::{Isa, KvFormat, ModelFile, SessionError, SessionOptions, rng};
use minigpt_trainer::inference::{self, AnySession};
use serde::Serialize;

use crate::cmd::{on_threads, open_model};
use crate::failure::Failure;

/// How many tokens, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) prompt: usize,
    pub(super) decode: usize,
    pub(super) repeat: usize,
}

/// What was measured: medians, and the best.
#[derive(Debug, Default, Serialize)]
pub(super) struct Speed {
    /// From the file to a session that is ready, checksum included.
    pub(super) load_ms: f64,
    /// From the file to the first token.
    pub(super) first_token_ms: f64,
    pub(super) prefill_tokens_per_second: f64,
    pub(super) best_prefill: f64,
    pub(super) decode_tokens_per_second: f64,
    pub(super) best_decode: f64,
    /// Of the weights that one token reads.
    pub(super) bytes_per_token: u64,
    /// Of the keys and values that it reads, on average over the tokens that were made.
    pub(super) cache_bytes_per_token: u64,
}

impl Speed {
    /// Bytes of the weights that a second of decoding reads.
    pub(super) fn bytes_per_second(&self) -> f64 {
        self.bytes_per_token as f64 * self.decode_tokens_per_second
    }
}

/// Measures the file at `path`, which is `file`.
pub(super) fn measure(
    path: &Path,
    file: &ModelFile<'_>,
    (kv, isa): (KvFormat, Isa),
    threads: usize,
    lengths: Lengths,
) -> Result<Speed, Failure> {
    let options = SessionOptions {
        n_ctx: lengths.prompt + lengths.decode,
        n_chunk: inference::CHUNK,
        kv,
    };
    on_threads(threads, || {
        let (load_ms, first_token_ms) = starts(path, &options, isa, lengths.repeat)?;
        let mut memory = inference::arena(file, &options).map_err(Failure::failed)?;
        let mut session = AnySession::with_isa(file, memory.bytes_mut(), &options, isa)
            .map_err(Failure::failed)?;
        let (prefill, decode) =
            rates(&mut session, file.config().n_vocab(), lengths).map_err(Failure::failed)?;
        Ok(Speed {
            load_ms,
            first_token_ms,
            prefill_tokens_per_second: median(&prefill),
            best_prefill: prefill.into_iter().fold(0.0, f64::max),
            decode_tokens_per_second: median(&decode),
            best_decode: decode.into_iter().fold(0.0, f64::max),
            bytes_per_token: weight_bytes(file),
            cache_bytes_per_token: cache_bytes(file, kv, lengths),
        })
    })?
}

/// Milliseconds to a session and to its first token.
fn starts(
    path: &Path,
    options: &SessionOptions,
    isa: Isa,
    repeat: usize,
) -> Result<(f64, f64), Failure> {
    let (mut load, mut first) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        let start = Instant::now();
        let model = open_model(path)?;
        let file = model.file().map_err(|e| Failure::with(path, e))?;
        let mut memory = inference::arena(&file, options).map_err(Failure::failed)?;
        let mut session = AnySession::with_isa(&file, memory.bytes_mut(), options, isa)
            .map_err(Failure::failed)?;
        load.push(start.elapsed().as_secs_f64() * 1e3);
        likeliest(session.forward(&[0]).map_err(Failure::failed)?);
        first.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok((median(&load), median(&first)))
}

/// Tokens a second of prompts, and of what follows them.
fn rates(
    session: &mut AnySession<'_>,
    n_vocab: usize,
    lengths: Lengths,
) -> Result<(Vec<f64>, Vec<f64>), SessionError> {
    let token = |i| rng::below(rng::random(1, 0, i), n_vocab.min(256) as u64) as u32;
    let prompt: Vec<u32> = (0..lengths.prompt as u64).map(token).collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    // The first time is not counted: it fills the caches.
    for i in 0..=lengths.repeat {
        session.reset();
        let start = Instant::now();
        let mut token = likeliest(session.forward(&prompt)?);
        let middle = Instant::now();
        for _ in 0..lengths.decode {
            token = likeliest(session.forward(&[token])?);
        }
        if i > 0 {
            prefill.push(lengths.prompt as f64 / (middle - start).as_secs_f64());
            decode.push(lengths.decode as f64 / middle.elapsed().as_secs_f64());
        }
    }
    Ok((prefill, decode))
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (i, *logit);
        }
    }
    best.0 as u32
}

/// Bytes of the weights that one token reads: all but the tables of which it reads a row.
fn weight_bytes(file: &ModelFile<'_>) -> u64 {
    let (config, format) = (file.config(), file.format());
    let head = match config.tied_head() {
        true => Tensor::Wte,
        false => Tensor::LmHead,
    };
    let is_table = |id: TensorId| {
        matches!(id.tensor, Tensor::Wte | Tensor::Wpe | Tensor::LmHead) && id.tensor != head
    };
    let tensors = layout::tensors(config).filter(|spec| !is_table(spec.id));
    tensors.map(|spec| spec.stored_bytes(format)).sum()
}

/// Bytes of keys and values that a token reads, in the middle of those that are made.
fn cache_bytes(file: &ModelFile<'_>, kv: KvFormat, lengths: Lengths) -> u64 {
    let config = file.config();
    let position = (lengths.prompt + lengths.decode / 2) as u64;
    let value = match kv {
        KvFormat::F32 => 4,
        KvFormat::F16 => 2,
        _ => 1,
    };
    2 * value * position * config.n_kv() as u64 * config.n_layer() as u64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => sorted[middle - 1].midpoint(sorted[middle]),
        _ => sorted[middle],
    }
}
