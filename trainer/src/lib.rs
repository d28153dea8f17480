//! Training and export of small GPTs.

pub mod bpe;
pub mod tokenizer;
