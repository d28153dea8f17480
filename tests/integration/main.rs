//! One binary, one module per subject.

mod command_line;
mod gradients;
mod inference;
mod parity;
mod steps;
mod tokenizer;
mod training;
