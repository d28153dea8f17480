//! What an optimiser step needs to know besides parameters and gradients.

use minigpt_runtime::math;

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
