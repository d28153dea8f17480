//! One binary, one module per subject.

mod gradients;
mod parity;
mod steps;
mod tokenizer;
mod training;
