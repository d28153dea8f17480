//! Training and export of small GPTs.
//!
//! # Guide
//! A run is data, a tokenizer, a model, and steps:
//!
//! - [`run`] and [`run_config`] describe a run and its directory; [`mod@train`] is its loop, with
//!   [`checkpoint`], [`metrics`] and [`loss_plot`] beside it; [`mod@forecast`] says what it will take.
//! - [`data`] reads texts, [`tokenizer`] and [`bpe`] turn them into tokens; [`stories`] writes a
//!   corpus where there is none; [`base`] is another model to begin with.
//! - [`model`] wires forward and backward of the layers, once for all devices: [`params`] and
//!   [`activations`] are its buffers, [`optimizer`], [`schedule`] and [`outliers`] the rules of a step.
//! - [`backend`] is the seam to a device; [`backend::cpu`] is the one with threads and vectors,
//!   [`backend::cuda`] an NVIDIA GPU; [`device`] chooses.
//! - [`export`] writes the model file, [`inference`] runs one on a host, [`evaluate`] measures it;
//!   [`mod@sample`] is what a model in training says.
//!
//! # Glossary
//! Shapes are written `[R, C]`, row-major, in these letters:
//!
//! | Letter | Means |
//! |---|---|
//! | `B` | sequences of a batch |
//! | `T` | tokens of a sequence, at most `n_ctx` |
//! | `R` | rows: tokens of a batch, `B T` |
//! | `C` | width of the residual stream, `n_embd` |
//! | `NH`, `HS` | heads, and the size of one: `C = NH HS` |
//! | `V` | tokens of the vocabulary, `n_vocab` |
//! | `L` | layers, `n_layer` |
//! | `n_qkv`, `n_fc`, `n_ff` | widths inside the branches: [`minigpt_runtime::config::Config`] |
//!
//! A buffer named `d_x` holds the gradient of the loss with respect to `x`.
//!
//! # Reproducibility
//! On the CPU, the same settings, data and seed give the same bits:
//!
//! - with any number of threads, because sums run over fixed chunks in a fixed order;
//! - with any vector width, because a product is one chain of fused multiply-adds in order, and
//!   all else is multiplied and added apart, in the order of [`minigpt_runtime::ops`];
//! - on any processor, because no function of the platform's takes part;
//! - after an interruption, because a checkpoint holds all that the next step depends on.
//!
//! On a GPU the same device repeats itself bit for bit; another one, and the CPU, round elsewhere.

pub mod activations;
pub mod aligned;
pub mod backend;
pub mod base;
pub mod bpe;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod durable;
pub mod evaluate;
pub mod export;
pub mod forecast;
pub mod inference;
pub mod loss_plot;
pub mod mapped;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod outliers;
pub mod params;
pub mod run;
pub mod run_config;
pub mod sample;
pub mod schedule;
pub mod stories;
pub mod tokenizer;
pub mod train;

pub use backend::{Backend, BackendError, Batch, Loss, Memory, cpu::Cpu};
pub use model::{Gpt, GptOptions, IGNORE, Part, PassOptions, PendingLoss};
pub use optimizer::{AdamW, Method, Muon, Optimizer};
