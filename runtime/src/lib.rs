//! GPT inference without an allocator.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod arena;
mod bytes;
pub mod config;
pub mod format;
mod kernels;
pub mod layout;
pub mod math;
mod model;
pub mod ops;
pub mod quant;
pub mod rng;
pub mod sampler;
mod session;
pub mod tokenizer;

pub use arena::{ARENA_ALIGNMENT, Aligned, KvFormat, MemoryPlan, SessionOptions};
pub use config::{Config, ConfigError, Hyperparameters, Mlp, Norm, Positions};
pub use format::{HeaderError, LoadError, ModelFile};
pub use kernels::Isa;
pub use model::{Model, ReadError};
pub use quant::{F16, F32, Format, Q8, WeightFormat};
pub use sampler::{Sampler, SamplerError, SamplerOptions};
pub use session::{Session, SessionError};
pub use tokenizer::{Specials, StreamDecoder, Tokenizer};
