//! How matrices are stored.

use serde::{Deserialize, Serialize};

/// Values of a block that share one scale, in [`Format::Q8`].
pub const BLOCK: usize = 32;

/// How the matrices of a file are stored. Vectors (norms, biases) are always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 `i8` with an `f16` scale. All blocks of a matrix come first, row by row (the
    /// last block of a row is filled up with zeros), then all scales.
    Q8,
}

impl Format {
    /// Every format, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// As written on the command line: `f32`, `f16`, `q8`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }

    /// Bytes of a `[rows, cols]` matrix.
    #[must_use]
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> u64 {
        let (rows, cols) = (rows as u64, cols as u64);
        match self {
            Self::F32 => 4 * rows * cols,
            Self::F16 => 2 * rows * cols,
            Self::Q8 => rows * cols.div_ceil(BLOCK as u64) * (BLOCK as u64 + 2),
        }
    }
}
