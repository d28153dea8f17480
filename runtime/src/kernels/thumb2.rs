//! Armv7-M and Armv8-M main without floating point (Cortex-M3): products of 64 bits that add up, and floats
//! taken apart.
//!
//! Everything gives the bits of `scalar`. What is not plain (numbers that are not normal, scales far from 1)
//! goes through `scalar` itself.

#[macro_use]
mod rows;

mod attention;
mod float;
mod gate;
mod integers;
mod matrix;
mod q4;
mod vector;

/// Proof that the instructions are present, which the target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thumb2(());

impl Thumb2 {
    pub(super) const fn detect() -> Option<Self> {
        Some(Self(()))
    }
}
