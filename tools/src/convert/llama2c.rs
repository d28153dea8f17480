//! llama2.c's `.bin` files with `f32` weights.
//!
//! Two layouts exist. The first has a bare header of seven integers, and a negative vocabulary size
//! tells that the head is not the embedding. The second (`ak42`, version 1) has a header of 256
//! bytes, and puts the norms first. Either way each kind of tensor comes for all layers at once.
//!
//! # Source
//! llama2.c, `export.py`: `legacy_export`, `version1_export`; `run.c`: `memory_map_weights`.

use core::fmt;
use core::ops::Range;

use minigpt_runtime::layout::{self, Tensor, TensorSpec};
use minigpt_runtime::{Config, ConfigError, Hyperparameters, Mlp, Norm, Positions};

use super::Foreign;

/// `ak42`, the magic of versions 1 and 2.
const MAGIC: u32 = 0x616b_3432;
const HEADER_V1: usize = 256;
const HEADER_LEGACY: usize = 7 * 4;

/// Why bytes are not such a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Llama2cError {
    /// Shorter than the header.
    NoHeader { bytes: usize },
    /// A version that has no `f32` weights.
    Version { version: u32 },
    /// A number of the header makes no sense.
    Header { field: &'static str, value: i32 },
    /// The shape is not a model.
    Config(ConfigError),
    /// Not as long as the header asks for.
    Length { needed: u64, given: usize },
}

impl fmt::Display for Llama2cError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoHeader { bytes } => write!(
                f,
                "not a llama2.c model: {bytes} bytes are shorter than its header"
            ),
            Self::Version { version } => write!(
                f,
                "version {version} of llama2.c's format is quantised; export the model as version 0 or 1 (f32) and import that"
            ),
            Self::Header { field, value } => {
                write!(f, "not a llama2.c model: its header says {field} {value}")
            }
            Self::Config(error) => write!(f, "not a llama2.c model: {error}"),
            Self::Length { needed, given } => write!(
                f,
                "the header asks for {needed} bytes and the file has {given}; it is cut short or not a llama2.c model"
            ),
        }
    }
}

impl core::error::Error for Llama2cError {}

/// Reads a model.
pub(crate) fn read(bytes: &[u8]) -> Result<Foreign, Llama2cError> {
    let (hyperparameters, version_1, start) = header(bytes)?;
    let config = Config::new(hyperparameters).map_err(Llama2cError::Config)?;
    let sections = Sections::new(&config, version_1);
    let needed = start as u64 + 4 * sections.end;
    if needed != bytes.len() as u64 {
        let given = bytes.len();
        return Err(Llama2cError::Length { needed, given });
    }
    let values: Vec<f32> = bytes[start..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let parameters = layout::tensors(&config)
        .map(|spec| {
            let parts = sections.parts(&spec);
            let values = parts.into_iter().map(|part| &values[part]);
            values.collect::<Vec<_>>().concat()
        })
        .collect();
    Ok(Foreign {
        hyperparameters,
        parameters,
    })
}

/// The shape, whether the layout is that of version 1, and where the weights begin.
fn header(bytes: &[u8]) -> Result<(Hyperparameters, bool, usize), Llama2cError> {
    let word = |i: usize| -> Result<i32, Llama2cError> {
        let word = bytes.as_chunks::<4>().0.get(i);
        let word = word.ok_or(Llama2cError::NoHeader { bytes: bytes.len() })?;
        Ok(i32::from_le_bytes(*word))
    };
    let version_1 = word(0)?.cast_unsigned() == MAGIC;
    let first = if version_1 { 2 } else { 0 };
    if version_1 {
        let version = word(1)?.cast_unsigned();
        if version != 1 {
            return Err(Llama2cError::Version { version });
        }
        word(HEADER_V1 / 4 - 1)?;
    }
    let positive = |i: usize, field| match word(first + i)? {
        value @ 1.. => Ok(value.cast_unsigned()),
        value => Err(Llama2cError::Header { field, value }),
    };
    let n_vocab = word(first + 5)?;
    let tied_head = if version_1 {
        // One byte after the seven numbers.
        word(first + 7)? & 0xFF != 0
    } else {
        n_vocab > 0
    };
    let hyperparameters = Hyperparameters {
        n_embd: positive(0, "dim")?,
        n_ff: positive(1, "hidden_dim")?,
        n_layer: positive(2, "n_layers")?,
        n_head: positive(3, "n_heads")?,
        n_head_kv: positive(4, "n_kv_heads")?,
        n_vocab: n_vocab.unsigned_abs(),
        n_ctx: positive(6, "seq_len")?,
        positions: Positions::Rope,
        rope_theta: 10_000.0,
        norm: Norm::RmsNorm,
        mlp: Mlp::Swiglu,
        bias: false,
        tied_head,
    };
    let start = if version_1 { HEADER_V1 } else { HEADER_LEGACY };
    Ok((hyperparameters, version_1, start))
}

/// Where each kind of tensor begins, in values from the start of the weights. Matrices of a kind
/// follow each other layer by layer.
struct Sections {
    n_embd: usize,
    wte: u64,
    rms_att: u64,
    wq: u64,
    wk: u64,
    wv: u64,
    wo: u64,
    rms_ffn: u64,
    w1: u64,
    w2: u64,
    w3: u64,
    rms_final: u64,
    head: u64,
    end: u64,
    n_kv: usize,
    n_ff: usize,
}

impl Sections {
    fn new(config: &Config, version_1: bool) -> Self {
        let (n_embd, n_kv, n_ff) = (config.n_embd(), config.n_kv(), config.n_ff());
        let layers = |rows: usize| (config.n_layer() * rows) as u64 * n_embd as u64;
        let table = config.n_vocab() as u64 * n_embd as u64;
        let mut at = 0;
        let mut take = |len: u64| {
            at += len;
            at - len
        };
        let early = version_1.then(|| (take(layers(1)), take(layers(1)), take(n_embd as u64)));
        let wte = take(table);
        let rms_att = early.map_or_else(|| take(layers(1)), |early| early.0);
        let (wq, wk) = (take(layers(n_embd)), take(layers(n_kv)));
        let (wv, wo) = (take(layers(n_kv)), take(layers(n_embd)));
        let rms_ffn = early.map_or_else(|| take(layers(1)), |early| early.1);
        let (w1, w2, w3) = (take(layers(n_ff)), take(layers(n_ff)), take(layers(n_ff)));
        let rms_final = early.map_or_else(|| take(n_embd as u64), |early| early.2);
        if !version_1 {
            // Tables of cosines and sines that nothing reads any more.
            take((config.n_ctx() * (config.head_size() / 2)) as u64 * 2);
        }
        let head = take(if config.tied_head() { 0 } else { table });
        Self {
            n_embd,
            wte,
            rms_att,
            wq,
            wk,
            wv,
            wo,
            rms_ffn,
            w1,
            w2,
            w3,
            rms_final,
            head,
            end: head + if config.tied_head() { 0 } else { table },
            n_kv,
            n_ff,
        }
    }

    /// The parts of the file that make up a tensor, one behind the other.
    fn parts(&self, spec: &TensorSpec) -> Vec<Range<usize>> {
        let part = |section: u64, rows: usize| {
            let len = rows * self.n_embd;
            let start = section as usize + spec.id.layer * len;
            start..start + len
        };
        match spec.id.tensor {
            Tensor::Wte => vec![part(self.wte, spec.rows)],
            Tensor::LmHead => vec![part(self.head, spec.rows)],
            Tensor::Ln1Weight => vec![part(self.rms_att, 1)],
            Tensor::CAttnWeight => vec![
                part(self.wq, self.n_embd),
                part(self.wk, self.n_kv),
                part(self.wv, self.n_kv),
            ],
            Tensor::AttnProjWeight => vec![part(self.wo, self.n_embd)],
            Tensor::Ln2Weight => vec![part(self.rms_ffn, 1)],
            Tensor::CFcWeight => vec![part(self.w1, self.n_ff), part(self.w3, self.n_ff)],
            Tensor::MlpProjWeight => vec![part(self.w2, self.n_ff)],
            Tensor::LnFWeight => vec![part(self.rms_final, 1)],
            // No biases and no learned positions in such a model.
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
