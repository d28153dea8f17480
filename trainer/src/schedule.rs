//! The learning rate over the steps of a run.

use core::f64::consts::PI;

use minigpt_runtime::math;

/// Linear warm-up, then half a cosine down to a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain numbers, all of them needed"
)]
pub struct Schedule {
    /// The peak, reached at the end of the warm-up.
    pub learning_rate: f64,
    /// The floor, reached at the last step.
    pub min_learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// Learning rate of step `step`, counted from 1.
    ///
    /// With `w = warmup_steps`: `learning_rate * step / w` up to `w`, then
    /// `min + (learning_rate - min) * (1 + cos(pi * (step - w) / (steps - w))) / 2`.
    ///
    /// # Source
    /// nanoGPT `train.py`, `get_lr`; Loshchilov and Hutter 2017, equation 5.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        if step >= self.steps {
            return self.min_learning_rate;
        }
        let done = (step - self.warmup_steps) as f64 / (self.steps - self.warmup_steps) as f64;
        let height = f64::midpoint(1.0, math::cos_f64(PI * done));
        self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let schedule = Schedule {
            learning_rate: 1.0,
            min_learning_rate: 0.1,
            warmup_steps: 10,
            steps: 110,
        };
        assert_eq!(schedule.at(1), 0.1);
        assert_eq!(schedule.at(5), 0.5);
        assert_eq!(schedule.at(10), 1.0);
        assert!((schedule.at(60) - 0.55).abs() < 1e-12);
        assert_eq!(schedule.at(110), 0.1);
        assert_eq!(schedule.at(5000), 0.1);
        assert!((10..110).all(|step| schedule.at(step + 1) < schedule.at(step)));
    }

    #[test]
    fn warm_up_may_be_absent_or_longer_than_the_run() {
        let base = Schedule {
            learning_rate: 1.0,
            min_learning_rate: 0.1,
            warmup_steps: 0,
            steps: 2,
        };
        assert!(base.at(1) > 0.5 && base.at(1) < 1.0);
        let long = Schedule {
            warmup_steps: 100,
            ..base
        };
        assert_eq!(long.at(2), 0.02);
        assert_eq!(long.at(100), 0.1);
    }
}
