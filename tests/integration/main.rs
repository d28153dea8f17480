//! One binary, one module per subject.

mod tokenizer;
