//! The caller's memory: how much a session needs, and how it is divided.

use crate::bytes::cast_mut;
use crate::config::{Config, Positions};
use crate::kernels::BaseScale;
use crate::layout::ALIGNMENT;
use crate::parts::part_mut;
use crate::quant::Format;
use crate::session::{Cache, CacheShape, IntegerCache};
#[cfg(feature = "kv-float")]
use crate::session::{FloatCache, Floats};

/// Every part of the arena starts at a multiple of this many bytes, and so must the arena.
pub const ARENA_ALIGNMENT: usize = ALIGNMENT;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvFormat {
    /// Four bytes a value.
    F32,
    /// Two bytes a value; keys and values are rounded to 11 bits.
    F16,
    /// One byte a value, with heads filled up to fours, and one more for each head. Attention is integer
    /// arithmetic then: the least memory, and the fastest where floating point is slow.
    Q8,
}

impl KvFormat {
    /// Every format, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// As written on the command line: `f32`, `f16`, `q8`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }
}

/// What a session is to be able to do; decides its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers write all fields")]
pub struct SessionOptions {
    /// Longest context in tokens; at most the model's `n_ctx`, which 0 stands for.
    pub n_ctx: usize,
    /// Tokens of a prompt that go through the model together; at least 1. More is faster and
    /// takes more memory; the results are the same bits.
    pub n_chunk: usize,
    /// How keys and values are kept.
    pub kv: KvFormat,
}

impl SessionOptions {
    /// The whole context, one token at a time, an exact cache.
    pub const DEFAULT: Self = Self {
        n_ctx: 0,
        n_chunk: 1,
        kv: KvFormat::F32,
    };

    /// The context in tokens that a session of `config` gets.
    #[must_use]
    pub const fn context(&self, config: &Config) -> usize {
        if self.n_ctx == 0 || self.n_ctx > config.n_ctx() {
            config.n_ctx()
        } else {
            self.n_ctx
        }
    }

    /// These options with the longest context for which a session of `config` fits into `bytes`, or
    /// with a context of one token if none does.
    #[must_use]
    pub const fn fitted(&self, config: &Config, format: Format, bytes: u64) -> Self {
        let mut options = *self;
        // Between a context that fits (or 1) and one that does not.
        let (mut fits, mut exceeds) = (1, config.n_ctx() + 1);
        while exceeds - fits > 1 {
            options.n_ctx = fits.midpoint(exceeds);
            if MemoryPlan::new(config, format, &options).total() <= bytes {
                fits = options.n_ctx;
            } else {
                exceeds = options.n_ctx;
            }
        }
        options.n_ctx = fits;
        options
    }
}

/// Bytes of each part of a session's memory.
///
/// All of it is known when it is compiled: a `static` can be sized by it, see [`Aligned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Keys, and as much again values: `n_layer * context * n_kv` values each.
    pub kv_cache: u64,
    /// Activations of `n_chunk` tokens, in `f32`, and what their positions need.
    pub activations: u64,
    /// The same as integers, for integer weights.
    pub quants: u64,
    /// Attention scores of one head; with a cache of `f16` also one head's key or value in `f32`, with
    /// `q8` the queries of a token and a head's output as integers.
    pub scores: u64,
    /// Logits of one token.
    pub logits: u64,
}

impl MemoryPlan {
    /// Plans a session.
    #[must_use]
    pub const fn new(config: &Config, format: Format, options: &SessionOptions) -> Self {
        let parts = Parts::new(config, format, options);
        Self {
            kv_cache: parts.total(0, 4),
            scores: parts.total(4, 8),
            activations: parts.total(8, 13),
            quants: parts.total(13, 15),
            logits: parts.total(15, 16),
        }
    }

    /// Bytes in all: what the caller provides, exactly.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.kv_cache + self.activations + self.quants + self.scores + self.logits
    }
}

/// Bytes of each part of the arena, in the order in which they lie: that of [`Arena::carve`].
pub(crate) struct Parts([u64; 16]);

impl Parts {
    pub(crate) const fn new(config: &Config, format: Format, options: &SessionOptions) -> Self {
        let n_ctx = options.context(config) as u64;
        let n_chunk = if options.n_chunk == 0 {
            1
        } else {
            options.n_chunk
        } as u64;
        let n_chunk = if n_chunk > n_ctx { n_ctx } else { n_chunk };
        let (n_embd, n_ff) = (config.n_embd() as u64, config.n_ff() as u64);
        let (n_qkv, n_fc) = (config.n_qkv() as u64, config.n_fc() as u64);
        let widest_input = if n_embd > n_ff { n_embd } else { n_ff };
        let widest_output = if n_qkv > n_fc { n_qkv } else { n_fc };
        let blocks = format.blocks(widest_input as usize);
        let head_size = config.head_size() as u64;
        let (rope, frequencies) = match config.positions() {
            Positions::Learned => (0, 0),
            Positions::Sinusoidal => (0, n_embd / 2),
            Positions::Rope => (n_chunk * head_size, head_size / 2),
        };
        let integers = CacheShape::new(config, n_ctx as usize);
        let (width, n_head) = (integers.width as u64, config.n_head() as u64);
        let floats = config.n_layer() as u64 * n_ctx * config.n_kv() as u64;
        let (cache, exponents, scores, head, heads, head_exponents) = match options.kv {
            KvFormat::F32 => (floats * 4, 0, n_ctx, 0, 0, 0),
            KvFormat::F16 => (floats * 2, 0, n_ctx, head_size, 0, 0),
            KvFormat::Q8 => (
                integers.integers(),
                integers.exponents(),
                integers.n_ctx as u64,
                width,
                n_head * width,
                n_head,
            ),
        };
        Self([
            // Keys and values, and their exponents.
            cache,
            cache,
            exponents,
            exponents,
            // What attention works in.
            scores * 4,
            head * 4,
            heads * 2,
            head_exponents,
            // Activations: stream, branch, wide, angles and their frequencies.
            n_chunk * n_embd * 4,
            n_chunk * n_embd * 4,
            n_chunk * widest_output * 4,
            rope * 4,
            frequencies * 4,
            // Quants and their scales.
            n_chunk * blocks.quants as u64,
            n_chunk * blocks.n as u64 * 4,
            config.n_vocab() as u64 * 4,
        ])
    }

    /// Bytes of all, as [`MemoryPlan::total`] says.
    pub(crate) const fn bytes(&self) -> u64 {
        self.total(0, self.0.len())
    }

    /// Bytes of the parts from `start` up to `end`, with what aligns the next.
    const fn total(&self, start: usize, end: usize) -> u64 {
        let (mut total, mut i) = (0, start);
        while i < end {
            total += aligned(self.0[i]);
            i += 1;
        }
        total
    }
}

/// The arena, divided.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    pub(crate) cache: Cache<'a>,
    /// The residual stream `[T, C]`.
    pub(crate) x: &'a mut [f32],
    /// Input of a matrix, and what a branch adds to the stream `[T, C]`.
    pub(crate) branch: &'a mut [f32],
    /// Queries, keys and values `[T, n_qkv]`, or inside the MLP `[T, n_fc]`.
    pub(crate) wide: &'a mut [f32],
    /// Angles of each token `[T, HS]`; empty without rope.
    pub(crate) rope: &'a mut [f32],
    /// Angle per position of each pair: `[HS / 2]` with rope, `[C / 2]` with sinusoids.
    pub(crate) frequencies: &'a mut [f32],
    /// `[T, blocks * 32]`
    pub(crate) quants: &'a mut [i8],
    /// `[T, blocks]`
    pub(crate) quant_scales: &'a mut [f32],
    /// `[V]`
    pub(crate) logits: &'a mut [f32],
}

impl<'a> Arena<'a> {
    /// Divides `memory`, which is aligned and at least as long as `parts`.
    pub(crate) fn carve(
        memory: &'a mut [u8],
        parts: &Parts,
        config: &Config,
        options: &SessionOptions,
    ) -> Self {
        let mut rest = memory;
        let [
            keys,
            values,
            key_exponents,
            value_exponents,
            scores,
            head,
            heads,
            head_exponents,
            x,
            branch,
            wide,
            rope,
            frequencies,
            quants,
            quant_scales,
            logits,
        ] = core::array::from_fn(|i| take(&mut rest, parts.0[i]));
        let n_ctx = options.context(config);
        let cache = match options.kv {
            #[cfg(feature = "kv-float")]
            KvFormat::F32 | KvFormat::F16 => {
                let kept = |bytes| match options.kv {
                    KvFormat::F32 => Floats::F32(floats(bytes)),
                    _ => Floats::F16(cast_mut(bytes)),
                };
                Cache::Float(FloatCache {
                    keys: kept(keys),
                    values: kept(values),
                    scores: floats(scores),
                    head: floats(head),
                    n_ctx,
                })
            }
            _ => Cache::Integer(IntegerCache {
                shape: CacheShape::new(config, n_ctx),
                keys: cast_mut(keys),
                values: cast_mut(values),
                key_exponents: cast_mut(key_exponents),
                value_exponents: cast_mut(value_exponents),
                scores: cast_mut(scores),
                sums: cast_mut(head),
                heads: cast_mut(heads),
                head_exponents: cast_mut(head_exponents),
                scale: BaseScale::new(config.head_size()),
            }),
        };
        Self {
            cache,
            x: floats(x),
            branch: floats(branch),
            wide: floats(wide),
            rope: floats(rope),
            frequencies: floats(frequencies),
            quants: cast_mut(quants),
            quant_scales: floats(quant_scales),
            logits: floats(logits),
        }
    }
}

/// [`cast_mut`], in programs once.
#[inline(never)]
fn floats(bytes: &mut [u8]) -> &mut [f32] {
    cast_mut(bytes)
}

/// The first `bytes` of `rest`, which goes on at the next boundary.
fn take<'a>(rest: &mut &'a mut [u8], bytes: u64) -> &'a mut [u8] {
    let split = core::mem::take(rest).split_at_mut_checked(aligned(bytes) as usize);
    let (part, later) = split.unwrap_or_default();
    *rest = later;
    part_mut(part, 0, bytes as usize)
}

/// Bytes up to the next boundary.
const fn aligned(bytes: u64) -> u64 {
    let last = ARENA_ALIGNMENT as u64 - 1;
    (bytes + last) & !last
}

/// Bytes on a 16-byte boundary, for a `static` arena or a model compiled in.
///
/// ```
/// use std::sync::Mutex;
///
/// use minigpt_runtime::{Aligned, Config, Format, Hyperparameters, MemoryPlan, ModelFile, Q8};
/// use minigpt_runtime::{Mlp, Norm, Positions, Session, SessionOptions};
///
/// const CONFIG: Config = match Config::new(Hyperparameters {
///     n_vocab: 267, n_ctx: 32, n_embd: 40, n_head: 4, n_head_kv: 2, n_layer: 2, n_ff: 41,
///     positions: Positions::Rope, rope_theta: 10000.0, norm: Norm::RmsNorm, mlp: Mlp::Swiglu,
///     bias: false, tied_head: true,
/// }) {
///     Ok(config) => config,
///     Err(_) => panic!("not a model"),
/// };
/// const OPTIONS: SessionOptions = SessionOptions { n_ctx: 16, ..SessionOptions::DEFAULT };
/// const BYTES: usize = MemoryPlan::new(&CONFIG, Format::Q8, &OPTIONS).total() as usize;
///
/// // Firmware has the mutex of its own crates, or a cell that is taken once.
/// static ARENA: Mutex<Aligned<[u8; BYTES]>> = Mutex::new(Aligned([0; BYTES]));
/// static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
///     env!("CARGO_MANIFEST_DIR"),
///     "/../tests/data/format/v1-q8-bpe.mgpt"
/// )));
///
/// let file = ModelFile::open(&MODEL.0).unwrap();
/// assert_eq!(file.config(), &CONFIG);
/// let mut arena = ARENA.lock().unwrap();
/// let mut session = Session::new(file.model::<Q8>().unwrap(), &mut arena.0, &OPTIONS).unwrap();
/// session.forward(&[1, 2, 3]).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
#[allow(clippy::exhaustive_structs, reason = "a wrapper")]
pub struct Aligned<T: ?Sized>(pub T);

const _: () = assert!(align_of::<Aligned<u8>>() == ARENA_ALIGNMENT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::SMALL;

    #[test]
    fn a_session_is_fitted_into_any_memory() {
        let config = Config::new(SMALL).unwrap();
        let options = SessionOptions::DEFAULT;
        let total = |n_ctx| {
            let options = SessionOptions { n_ctx, ..options };
            MemoryPlan::new(&config, Format::Q8, &options).total()
        };
        for n_ctx in 1..=config.n_ctx() {
            for bytes in [total(n_ctx), total(n_ctx + 1) - 1] {
                let fitted = options.fitted(&config, Format::Q8, bytes);
                let longest = (1..=config.n_ctx()).rev().find(|n| total(*n) <= bytes);
                assert_eq!(Some(fitted.n_ctx), longest);
            }
        }
        assert_eq!(options.fitted(&config, Format::Q8, 0).n_ctx, 1);
    }
}
