//! What can be wrong with hyper-parameters.

use core::fmt;

use crate::features::absent;

/// Why hyper-parameters are not a model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero.
    Zero {
        /// Name of the field.
        field: &'static str,
    },
    /// A size is beyond its limit.
    TooLarge {
        /// Name of the field.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The largest allowed.
        max: u32,
    },
    /// This program was built without what the model needs.
    Absent {
        /// The feature of this crate that has it.
        feature: &'static str,
    },
    /// `n_head` does not divide `n_embd`.
    HeadSize {
        /// Width of the residual stream.
        n_embd: u32,
        /// Number of heads.
        n_head: u32,
    },
    /// `n_head_kv` does not divide `n_head`.
    KvHeads {
        /// Number of heads.
        n_head: u32,
        /// Number of key and value heads.
        n_head_kv: u32,
    },
    /// Rotation and sinusoids work on pairs, and the width they work on is odd.
    OddWidth {
        /// `n_embd / n_head` for rope, `n_embd` for sinusoids.
        field: &'static str,
        /// The odd width.
        value: u32,
    },
    /// `rope_theta` is not a finite number above zero.
    RopeTheta {
        /// What was given.
        value: f32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Zero { field } => write!(f, "{field} is 0; it must be at least 1"),
            Self::TooLarge { field, value, max } => {
                write!(f, "{field} is {value}; the largest allowed is {max}")
            }
            Self::Absent { feature } => absent(f, feature),
            Self::HeadSize { n_embd, n_head } => {
                write!(f, "n_embd {n_embd} is not a multiple of n_head {n_head}")
            }
            Self::KvHeads { n_head, n_head_kv } => {
                write!(
                    f,
                    "n_head {n_head} is not a multiple of n_head_kv {n_head_kv}"
                )
            }
            Self::OddWidth { field, value } => write!(
                f,
                "{field} is {value}; these positions work on pairs and need it even"
            ),
            Self::RopeTheta { value } => {
                write!(f, "rope_theta is {value}; it must be finite and above 0")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
