//! What an optimiser step needs to know besides parameters and gradients.

mod rule;

use minigpt_runtime::math;

pub use rule::{Method, Rule};

/// Adam with weight decay apart from the gradient, and a limit on the gradient's norm.
///
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `p = p (1 - learning_rate weight_decay) - learning_rate m' / (sqrt(v') + eps)` with
/// `m' = m / (1 - beta1^step)`, `v' = v / (1 - beta2^step)`. Matrices decay, vectors do not.
///
/// # Source
/// Loshchilov and Hutter 2019, algorithm 2; PyTorch `AdamW`, `clip_grad_norm_`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "callers write all fields; a new one must be seen"
)]
pub struct AdamW {
    /// Size of a step.
    pub learning_rate: f32,
    /// Memory of the first moment.
    pub beta1: f32,
    /// Memory of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Share of a matrix that vanishes per step, times the learning rate.
    pub weight_decay: f32,
    /// Longest gradient that is taken as it is; infinite for no limit.
    pub max_norm: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            max_norm: 1.0,
        }
    }
}

impl AdamW {
    /// Factor on gradients of norm `norm` that keeps them within `max_norm`.
    #[must_use]
    pub fn clip_scale(&self, norm: f32) -> f32 {
        if norm > self.max_norm {
            self.max_norm / norm
        } else {
            1.0
        }
    }

    /// `1 / (1 - beta1^step)` and `1 / sqrt(1 - beta2^step)`; `step` counts from 1.
    #[must_use]
    pub fn bias_corrections(&self, step: u64) -> (f32, f32) {
        let power = |beta: f32| math::pow_f64(f64::from(beta), step as f64);
        let first = 1.0 / (1.0 - power(self.beta1));
        let second = 1.0 / (1.0 - power(self.beta2)).sqrt();
        (first as f32, second as f32)
    }
}

/// Momentum whose direction is made orthogonal, for matrices: all that a matrix can change is
/// changed by about as much.
///
/// `m = momentum m + (1 - momentum) g`, `u = momentum m + (1 - momentum) g` (Nesterov),
/// `p = p (1 - learning_rate weight_decay) - learning_rate scale orthogonal(u)`.
///
/// `orthogonal(u)` starts from `x = u / (|u| + eps)`, `|u|` the root of the sum of squares, and does
/// [`Muon::ITERATIONS`] times `x = a x + (b s + c s s) x` with `s = x x^T`, or the same from the other
/// side where there are more rows than columns. It moves all singular values to between 0.7 and 1.2
/// or so. [`Muon::scale`] makes an update as large as one of AdamW.
///
/// # Source
/// Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; scale and decay:
/// Liu et al. 2025, "Muon is scalable for LLM training", equation 4.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "callers write all fields; a new one must be seen"
)]
pub struct Muon {
    /// Size of a step.
    pub learning_rate: f32,
    /// Memory of the momentum.
    pub momentum: f32,
    /// Share of a matrix that vanishes per step, times the learning rate.
    pub weight_decay: f32,
}

impl Muon {
    /// Times the polynomial is applied.
    pub const ITERATIONS: usize = 5;
    /// Its coefficients `a`, `b`, `c`.
    pub const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
    /// Added to the length that is divided by.
    pub const EPS: f32 = 1e-7;

    /// Factor on an orthogonal matrix of `rows` by `cols` that gives its values a root mean square of
    /// 0.2: `0.2 sqrt(max(rows, cols))`.
    #[must_use]
    pub fn scale(rows: usize, cols: usize) -> f32 {
        0.2 * math::sqrt(rows.max(cols) as f32)
    }
}

/// The rules of a step: what each tensor follows is said by its [`Rule`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Optimizer {
    /// Of all tensors, or of those that are no matrices of the blocks.
    pub adamw: AdamW,
    /// Of the matrices of the blocks.
    pub muon: Muon,
}

impl From<&AdamW> for Optimizer {
    /// The same, and [`Muon`] at its learning rate and weight decay.
    fn from(adamw: &AdamW) -> Self {
        Self {
            adamw: *adamw,
            muon: Muon {
                learning_rate: adamw.learning_rate,
                momentum: 0.95,
                weight_decay: adamw.weight_decay,
            },
        }
    }
}
