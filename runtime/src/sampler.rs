//! Choosing the next token.
//!
//! The order is Hugging Face's: temperature, then top-k, then top-p, then a draw. The same seed
//! draws the same tokens on every target. Biases, penalties and min-p change the logits before: see
//! [`logits`]. Texts end at [`StopStrings`].

pub mod logits;
mod stop;

pub use self::stop::{EmptyStop, StopStrings};

use core::cmp::Ordering;
use core::fmt;

use crate::math;
use crate::parts::part_mut;
use crate::rng::Rng;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "callers write all fields")]
pub struct SamplerOptions {
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Draw only from this many most likely tokens; `None` for all.
    pub top_k: Option<usize>,
    /// Draw only from the fewest most likely tokens whose probabilities reach this sum, in (0, 1].
    pub top_p: f32,
    /// Start of the random sequence.
    pub seed: u64,
}

impl SamplerOptions {
    /// Always the most likely token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        seed: 0,
    };
}

/// Why options make no sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SamplerError {
    /// Negative or not finite.
    Temperature {
        /// What was given.
        value: f32,
    },
    /// Zero, or beyond the sampler's capacity.
    TopK {
        /// What was given.
        value: usize,
        /// The capacity `K`.
        max: usize,
    },
    /// Outside (0, 1].
    TopP {
        /// What was given.
        value: f32,
    },
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Temperature { value } => write!(
                f,
                "temperature is {value}; it must be a number from 0 (always the most likely token) up"
            ),
            Self::TopK { value, max } => {
                write!(f, "top-k is {value}; it must be between 1 and {max}")
            }
            Self::TopP { value } => {
                write!(f, "top-p is {value}; it must be above 0 and at most 1")
            }
        }
    }
}

impl core::error::Error for SamplerError {}

/// Chooses tokens; `K` is the largest top-k, and costs `8 K` bytes of stack.
#[derive(Clone, Debug)]
pub struct Sampler<const K: usize = 64> {
    options: SamplerOptions,
    rng: Rng,
}

/// A token that may be drawn. Greater is likelier; of equals, the lower id.
#[derive(Clone, Copy, PartialEq)]
struct Candidate {
    value: f32,
    token: u32,
}

impl Candidate {
    /// Less than any.
    const NONE: Self = Self {
        value: f32::NEG_INFINITY,
        token: u32::MAX,
    };
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then(other.token.cmp(&self.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const K: usize> Sampler<K> {
    /// Checks `options`.
    ///
    /// # Errors
    /// A [`SamplerError`] that names the option and its value.
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        let SamplerOptions {
            temperature,
            top_k,
            top_p,
            seed,
        } = options;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(SamplerError::Temperature { value: temperature });
        }
        if let Some(value) = top_k
            && !(1..=K).contains(&value)
        {
            return Err(SamplerError::TopK { value, max: K });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplerError::TopP { value: top_p });
        }
        let rng = Rng::new(seed, 0);
        Ok(Self { options, rng })
    }

    /// Chooses a token; `logits` are used up as room to work in.
    ///
    /// NaN is never chosen while there is a number. Of a model that has more rows than its
    /// tokenizer has tokens, give the tokenizer's: `&mut logits[..tokenizer.n_vocab()]`.
    ///
    /// # Shapes
    /// `logits` `[V]`.
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        for logit in logits.iter_mut().filter(|logit| logit.is_nan()) {
            *logit = f32::NEG_INFINITY;
        }
        if self.options.temperature == 0.0 {
            return argmax(logits);
        }
        let unit = self.rng.next_unit();
        match self.options.top_k {
            Some(k) if k < logits.len() => self.sample_top_k(logits, k, unit),
            _ => self.sample_all(logits, unit),
        }
    }

    /// The `k` likeliest, then as many of them as `top_p` allows; `unit` draws.
    fn sample_top_k(&self, logits: &[f32], k: usize, unit: f32) -> u32 {
        let mut room = [Candidate::NONE; K];
        let candidates = part_mut(&mut room, 0, k);
        keep_likeliest(candidates, logits);
        let largest = candidates.first().map_or(0.0, |first| first.value);
        let mut sum = 0.0;
        for candidate in candidates.iter_mut() {
            candidate.value = self.weight(candidate.value, largest);
            sum += candidate.value;
        }
        let (mut mass, mut kept) = (0.0, 0);
        for candidate in candidates.iter() {
            if mass >= self.options.top_p * sum {
                break;
            }
            mass += candidate.value;
            kept += 1;
        }
        let mut rest = unit * mass;
        for candidate in candidates.iter().take(kept) {
            if rest < candidate.value {
                return candidate.token;
            }
            rest -= candidate.value;
        }
        candidates.first().map_or(0, |first| first.token)
    }

    /// Every token counts, or those of at least the probability that `top_p` asks for.
    fn sample_all(&self, logits: &mut [f32], unit: f32) -> u32 {
        let largest = crate::ops::max(logits);
        let mut sum = 0.0;
        for logit in logits.iter_mut() {
            *logit = self.weight(*logit, largest);
            sum += *logit;
        }
        if self.options.top_p < 1.0 {
            sum = keep_nucleus(logits, self.options.top_p * sum);
        }
        let mut rest = unit * sum;
        for (token, weight) in logits.iter().enumerate() {
            if rest < *weight {
                return token as u32;
            }
            rest -= weight;
        }
        argmax(logits)
    }

    /// `e^((logit - largest) / temperature)`; 1 for the largest, whatever it is.
    fn weight(&self, logit: f32, largest: f32) -> f32 {
        if logit == largest {
            1.0
        } else {
            math::exp((logit - largest) / self.options.temperature)
        }
    }
}

/// Fills `candidates` with the likeliest of `logits`, likeliest first.
///
/// Most tokens are less likely than the last of them, and cost a comparison.
fn keep_likeliest(candidates: &mut [Candidate], logits: &[f32]) {
    let mut least = f32::NEG_INFINITY;
    for (token, &value) in logits.iter().enumerate() {
        if value < least {
            continue;
        }
        let token = token as u32;
        let mut moved = Candidate { value, token };
        if candidates.last().is_some_and(|last| moved > *last) {
            for candidate in candidates.iter_mut() {
                if moved > *candidate {
                    core::mem::swap(candidate, &mut moved);
                }
            }
            least = candidates.last().map_or(least, |last| last.value);
        }
    }
}

/// Sets to 0 all but the fewest largest `weights` that sum to `mass`; returns their sum.
///
/// No sorting and no memory: positive floats compare as their bits do, so the threshold is found by
/// deciding its 31 bits, highest first. Of weights equal to it the first ones stay.
fn keep_nucleus(weights: &mut [f32], mass: f32) -> f32 {
    let sum_from = |threshold: u32| -> f32 {
        let kept = weights.iter().filter(|w| w.to_bits() >= threshold);
        kept.sum()
    };
    let threshold = (0..31).rev().fold(0, |threshold: u32, bit| {
        let higher = threshold | 1 << bit;
        if sum_from(higher) >= mass {
            higher
        } else {
            threshold
        }
    });
    let mut sum = sum_from(threshold + 1);
    for weight in weights.iter_mut() {
        match weight.to_bits().cmp(&threshold) {
            Ordering::Less => *weight = 0.0,
            Ordering::Equal if sum >= mass => *weight = 0.0,
            Ordering::Equal => sum += *weight,
            Ordering::Greater => {}
        }
    }
    sum
}

/// The first of the largest.
fn argmax(logits: &[f32]) -> u32 {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > largest {
            (best, largest) = (token, logit);
        }
    }
    best as u32
}

#[cfg(test)]
mod tests;
