//! One binary, one module per subject.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backends;
mod cuda;
mod cuda_corpus;
mod cuda_draw;
mod cuda_lt;
mod cuda_plans;
mod cuda_runs;
mod firmware;
mod gradients;
mod muon;
mod parity;
mod recipes;
mod rounded;
mod samples;
mod steps;
mod tokenizer;
mod training;
