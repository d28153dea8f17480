//! One binary, one module per subject.

mod gradients;
mod steps;
