//! GPT inference without an allocator.
//!
//! A model is one file, `.mgpt`, with its tokenizer inside. It is used where it lies: in flash, in a
//! mapped file, compiled in. All memory comes from the caller, and its size is known before it is
//! needed. No input makes anything here panic.
//!
//! # Guide
//!
//! [`ModelFile::open`] checks a file and borrows it. [`MemoryPlan::new`] says how much memory a
//! [`Session`] takes. [`Tokenizer::encode`] makes tokens of a prompt, [`Session::forward`] takes tokens
//! and returns the logits of the next one, a [`Sampler`] chooses it, a [`StreamDecoder`] makes text
//! of it:
//!
//! ```
//! use minigpt_runtime::{
//!     Aligned, MemoryPlan, ModelFile, Q8, Sampler, SamplerOptions, Session, SessionOptions, StreamDecoder,
//! };
//!
//! // Models lie on a 16-byte boundary, and so do arenas.
//! static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
//!     env!("CARGO_MANIFEST_DIR"),
//!     "/../tests/data/format/v1-q8-bpe.mgpt"
//! )));
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = ModelFile::open(&MODEL.0)?;
//! file.verify()?; // The checksum: firmware may do without.
//! let tokenizer = file.tokenizer();
//!
//! let options = SessionOptions { n_ctx: 32, ..SessionOptions::DEFAULT };
//! let needed = MemoryPlan::new(file.config(), file.format(), &options).total();
//! let mut arena = Aligned([0; 32 * 1024]);
//! assert!(needed <= 32 * 1024);
//! let mut session = Session::new(file.model::<Q8>()?, &mut arena.0, &options)?;
//!
//! let prompt = "the theatre";
//! let mut tokens = [0; 32];
//! let n = tokenizer.encode_prompt(prompt.as_bytes(), &mut tokens)?;
//!
//! let mut sampler: Sampler = Sampler::new(SamplerOptions {
//!     temperature: 0.8,
//!     top_k: Some(40),
//!     top_p: 0.95,
//!     seed: 1,
//! })?;
//! let mut decoder = StreamDecoder::new();
//! let mut text = String::new();
//! decoder.push_bytes(prompt.as_bytes(), &mut |part| text.push_str(part));
//!
//! let mut logits = session.forward(&tokens[..n])?;
//! for _ in 0..10 {
//!     // A model may have more rows than its tokenizer has tokens.
//!     let token = sampler.sample(&mut logits[..tokenizer.n_vocab()]);
//!     if tokenizer.specials().is_end(token) {
//!         break;
//!     }
//!     decoder.push(tokenizer, token, &mut |part| text.push_str(part))?;
//!     logits = session.forward(&[token])?;
//! }
//! decoder.finish(&mut |part| text.push_str(part));
//! assert!(text.starts_with(prompt));
//! # Ok(())
//! # }
//! ```
//!
//! A context that is full takes no more tokens: [`Session::slide`] makes room. For a `static` arena that
//! the plan sizes when it is compiled, see [`Aligned`].
//!
//! # Shapes
//!
//! Arrays are row-major; the last letter is the one that runs fastest.
//!
//! | Letter | Size | In [`Config`] |
//! |---|---|---|
//! | `B` | sequences of a batch (in training; a session is one sequence) | |
//! | `T` | tokens that go through together | |
//! | `C` | width of the residual stream | `n_embd` |
//! | `NH` | attention heads | `n_head` |
//! | `HS` | width of a head, `C / NH` | `head_size` |
//! | `V` | tokens of the vocabulary | `n_vocab` |
//! | `L` | layers | `n_layer` |
//!
//! # Features
//!
//! `std` (on by default) asks the processor for its instruction sets when a session begins; without it
//! those that the compiler's target has for certain are used. `rayon` adds `Session::set_threads`. Nothing
//! else changes.
//!
//! `any-model` (on by default) is every part that a model may need: tokenizers `char`, `bpe`, `sentencepiece`,
//! positions `sinusoidal`, `rope`, norms `layer-norm`, `rms-norm`, nonlinearities `gelu`, `swiglu`, `bias`,
//! heads by their width `narrow-heads`, `wide-heads`, `odd-heads`, and keys and values as floats, `kv-float`. A program
//! that knows its model names what that one has, [`format::Header::features`], and is smaller: the README says by how
//! much.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod arena;
mod bytes;
pub mod config;
mod features;
pub mod format;
mod kernels;
pub mod layout;
pub mod math;
mod model;
pub mod ops;
mod parts;
pub mod quant;
pub mod rng;
pub mod sampler;
pub mod self_test;
mod session;
mod threads;
pub mod tokenizer;

pub use arena::{ARENA_ALIGNMENT, Aligned, KvFormat, MemoryPlan, SessionOptions};
pub use config::{Config, ConfigError, Hyperparameters, Mlp, Norm, Positions};
pub use format::{HeaderError, LoadError, ModelFile};
pub use kernels::Isa;
pub use model::{Model, ReadError};
pub use quant::{F16, F32, Format, Q4, Q8, Q8Dsp, WeightFormat};
pub use sampler::logits::{Penalties, PenaltyError, PenaltyOptions};
pub use sampler::{EmptyStop, Sampler, SamplerError, SamplerOptions, StopStrings};
pub use session::{Session, SessionError};
pub use tokenizer::{Specials, StreamDecoder, Tokenizer};

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
