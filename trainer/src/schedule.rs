//! The learning rate over the steps of a run.

use core::f64::consts::PI;

use minigpt_runtime::math;
use serde::{Deserialize, Serialize};

/// What the learning rate does behind its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Course {
    /// It falls along half a cosine down to the floor.
    #[default]
    Cosine,
    /// It stays at the peak.
    Constant,
    /// Warm-up, stable, decay: it stays at the peak and falls along a line at the end.
    Wsd,
}

/// Linear warm-up, then a [`Course`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "plain numbers, all of them needed"
)]
pub struct Schedule {
    /// What follows the warm-up.
    pub course: Course,
    /// The peak, reached at the end of the warm-up.
    pub learning_rate: f64,
    /// The floor, reached at the last step; a constant course has none.
    pub min_learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the decay of [`Course::Wsd`], those of the warm-up at most left out.
    pub decay_steps: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// Learning rate of step `step`, counted from 1.
    ///
    /// With `w = warmup_steps`: `learning_rate * step / w` up to `w`. Then, for a cosine,
    /// `min + (learning_rate - min) * (1 + cos(pi * (step - w) / (steps - w))) / 2`, and for
    /// [`Course::Wsd`] `min + (learning_rate - min) * (steps - step) / decay_steps` in the last
    /// `decay_steps`.
    ///
    /// # Source
    /// nanoGPT `train.py`, `get_lr`; Loshchilov and Hutter 2017, equation 5; Hu et al. 2024
    /// (MiniCPM), section 4, with the linear decay of Hägele et al. 2024, section 3.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        if self.course == Course::Constant {
            return self.learning_rate;
        }
        if step >= self.steps {
            return self.min_learning_rate;
        }
        let (done, all) = (step - self.warmup_steps, self.steps - self.warmup_steps);
        let height = match self.course {
            Course::Wsd => {
                let decay = self.decay_steps.min(all);
                (self.steps - step).min(decay) as f64 / decay.max(1) as f64
            }
            _ => f64::midpoint(1.0, math::cos_f64(PI * (done as f64 / all as f64))),
        };
        self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Schedule = Schedule {
        course: Course::Cosine,
        learning_rate: 1.0,
        min_learning_rate: 0.1,
        warmup_steps: 10,
        decay_steps: 20,
        steps: 110,
    };

    #[test]
    fn rises_then_falls() {
        assert_eq!(BASE.at(1), 0.1);
        assert_eq!(BASE.at(5), 0.5);
        assert_eq!(BASE.at(10), 1.0);
        assert!((BASE.at(60) - 0.55).abs() < 1e-12);
        assert_eq!(BASE.at(110), 0.1);
        assert_eq!(BASE.at(5000), 0.1);
        assert!((10..110).all(|step| BASE.at(step + 1) < BASE.at(step)));
    }

    #[test]
    fn warm_up_may_be_absent_or_longer_than_the_run() {
        let base = Schedule {
            warmup_steps: 0,
            steps: 2,
            ..BASE
        };
        assert!(base.at(1) > 0.5 && base.at(1) < 1.0);
        let long = Schedule {
            warmup_steps: 100,
            ..base
        };
        assert_eq!(long.at(2), 0.02);
        assert_eq!(long.at(100), 0.1);
    }

    #[test]
    fn stays_then_falls_along_a_line() {
        let wsd = Schedule {
            course: Course::Wsd,
            ..BASE
        };
        assert_eq!(wsd.at(5), 0.5);
        assert!((10..=90).all(|step| wsd.at(step) == 1.0));
        assert!((wsd.at(100) - 0.55).abs() < 1e-12);
        assert!((90..110).all(|step| wsd.at(step + 1) < wsd.at(step)));
        assert_eq!((wsd.at(110), wsd.at(5000)), (0.1, 0.1));
        // A decay longer than what the warm-up leaves begins at the peak.
        let long = Schedule {
            decay_steps: 1000,
            ..wsd
        };
        assert_eq!((long.at(10), long.at(60)), (1.0, 0.55));
        let none = Schedule {
            decay_steps: 0,
            min_learning_rate: 0.0,
            ..wsd
        };
        assert_eq!(none.at(110), 0.0);
    }

    #[test]
    fn constant_stays_for_ever() {
        let constant = Schedule {
            course: Course::Constant,
            ..BASE
        };
        assert_eq!(constant.at(5), 0.5);
        assert!((10..200).all(|step| constant.at(step) == 1.0));
    }
}
