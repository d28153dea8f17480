//! What may be done to logits before a [`Sampler`](super::Sampler) chooses among them.
//!
//! None of it is linked into a program that does not call it. The order in which minigpt does it:
//!
//! 1. [`bias`], which also bans tokens;
//! 2. [`Penalties::apply`]: repetition, then frequency and presence;
//! 3. temperature, [`keep_min_p`], top-k, top-p and the draw.
//!
//! With a temperature of 0 the third step is the likeliest token of what the first two have left.
//!
//! # Source
//! The order of vLLM's sampler, `vllm/v1/sample/sampler.py`.

use core::fmt;

use crate::math;
use crate::ops;

/// Adds to the logits of single tokens; negative infinity bans one. Tokens that there are not, do not count.
///
/// # Shapes
/// `logits` `[V]`; `biases` any number of tokens with what is added.
pub fn bias(logits: &mut [f32], biases: &[(u32, f32)]) {
    for &(token, value) in biases {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += value;
        }
    }
}

/// Bans tokens that are less than `share` times as likely as the likeliest, at `temperature`.
///
/// A `share` of 0 bans none, and so does a temperature of 0, where only the likeliest counts anyway.
///
/// # Shapes
/// `logits` `[V]`.
/// # Source
/// Nguyen et al. 2024, "Turning up the heat: min-p sampling".
pub fn keep_min_p(logits: &mut [f32], share: f32, temperature: f32) {
    if share <= 0.0 || temperature <= 0.0 {
        return;
    }
    let least = ops::max(logits) + temperature * math::ln(share);
    for logit in logits.iter_mut().filter(|logit| **logit < least) {
        *logit = f32::NEG_INFINITY;
    }
}

/// How much less likely a token becomes by having been said.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "callers write all fields")]
pub struct PenaltyOptions {
    /// Divides the logit of a token that was said if it is positive, else multiplies it; 1 is none.
    pub repetition: f32,
    /// Subtracted once from the logit of a token that was said; 0 is none.
    pub presence: f32,
    /// Subtracted for each time that it was said; 0 is none.
    pub frequency: f32,
    /// How many tokens back count.
    pub window: usize,
}

impl PenaltyOptions {
    /// Nothing is penalised.
    pub const NONE: Self = Self {
        repetition: 1.0,
        presence: 0.0,
        frequency: 0.0,
        window: 64,
    };
}

/// Why options make no penalties.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PenaltyError {
    /// Not above 0, or not finite.
    Repetition {
        /// What was given.
        value: f32,
    },
    /// Not finite.
    Presence {
        /// What was given.
        value: f32,
    },
    /// Not finite.
    Frequency {
        /// What was given.
        value: f32,
    },
}

impl fmt::Display for PenaltyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = match *self {
            Self::Repetition { value } => {
                return write!(
                    f,
                    "the repetition penalty is {value}; it must be a number above 0, and 1 is none"
                );
            }
            Self::Presence { value } => ("presence", value),
            Self::Frequency { value } => ("frequency", value),
        };
        write!(
            f,
            "the {name} penalty is {value}; it must be a finite number, and 0 is none"
        )
    }
}

impl core::error::Error for PenaltyError {}

/// Penalties that were checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalties(PenaltyOptions);

impl Penalties {
    /// Checks `options`.
    ///
    /// # Errors
    /// A [`PenaltyError`] that names the option and its value.
    pub fn new(options: PenaltyOptions) -> Result<Self, PenaltyError> {
        let PenaltyOptions {
            repetition,
            presence,
            frequency,
            ..
        } = options;
        if !(repetition.is_finite() && repetition > 0.0) {
            return Err(PenaltyError::Repetition { value: repetition });
        }
        if !presence.is_finite() {
            return Err(PenaltyError::Presence { value: presence });
        }
        if !frequency.is_finite() {
            return Err(PenaltyError::Frequency { value: frequency });
        }
        Ok(Self(options))
    }

    /// Penalises each token among the last `window` of `history`.
    ///
    /// For a token said `n` times: `l = l / repetition` if `l > 0`, else `l * repetition`; then
    /// `l -= frequency * n + presence`. No memory is needed: time grows with the square of the window.
    ///
    /// # Shapes
    /// `logits` `[V]`; `history` all tokens before, prompt included.
    /// # Source
    /// Keskar et al. 2019, "CTRL", section 4.1, with Hugging Face's rule for negative logits; OpenAI's API
    /// reference for the other two.
    pub fn apply(&self, logits: &mut [f32], history: &[u32]) {
        let options = &self.0;
        let silent = PenaltyOptions {
            window: options.window,
            ..PenaltyOptions::NONE
        };
        if *options == silent {
            return;
        }
        let start = history.len().saturating_sub(options.window);
        let said = history.get(start..).unwrap_or_default();
        for (i, token) in said.iter().enumerate() {
            let (before, rest) = said.split_at_checked(i).unwrap_or_default();
            let Some(logit) = logits.get_mut(*token as usize) else {
                continue;
            };
            if before.contains(token) {
                continue;
            }
            let n = rest.iter().filter(|other| *other == token).count();
            *logit = match *logit > 0.0 {
                true => *logit / options.repetition,
                false => *logit * options.repetition,
            };
            *logit -= options.frequency * n as f32 + options.presence;
        }
    }
}

#[cfg(test)]
mod tests;
