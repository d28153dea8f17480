//! GPT inference without an allocator.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod config;
pub mod layout;
pub mod quant;
pub mod tokenizer;

pub use config::{Config, ConfigError, Hyperparameters, Mlp, Norm, Positions};
pub use quant::Format;
pub use tokenizer::{Specials, StreamDecoder, Tokenizer};
