//! Training and export of small GPTs.

pub mod activations;
pub mod aligned;
pub mod backend;
pub mod bpe;
pub mod checkpoint;
pub mod data;
pub mod durable;
pub mod evaluate;
pub mod export;
pub mod inference;
pub mod loss_plot;
pub mod mapped;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod params;
pub mod run;
pub mod run_config;
pub mod schedule;
pub mod stories;
pub mod tokenizer;
pub mod train;

pub use backend::{Backend, Batch, Loss, cpu::Cpu};
pub use model::{Gpt, IGNORE, PassOptions};
pub use optimizer::AdamW;
