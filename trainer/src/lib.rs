//! Training and export of small GPTs.

pub mod aligned;
pub mod bpe;
pub mod data;
pub mod durable;
pub mod evaluate;
pub mod export;
pub mod inference;
pub mod mapped;
pub mod run_config;
pub mod schedule;
pub mod tokenizer;
