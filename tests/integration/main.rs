//! One binary, one module per subject.

mod command_line;
mod tokenizer;
mod training;
