//! Steps that stand out so far that they are better not taken.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Steps that the mean remembers, and that are seen before any is judged.
///
/// # Source
/// llm.c, `llmc/outlier_detector.h`: a window of 128 steps, none judged before it is full.
const MEMORY: u64 = 128;

/// A number of a step that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// The mean loss.
    Loss,
    /// The norm of the gradients before clipping.
    GradientNorm,
}

/// A number far above what it usually is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outlier {
    /// The step.
    pub step: u64,
    /// Which of its numbers.
    pub what: Watched,
    /// The number.
    pub value: f64,
    /// Its running mean.
    pub mean: f64,
    /// How many running deviations it is above that.
    pub z: f64,
}

/// Running mean and variance of one number, in which the last [`MEMORY`] steps count most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {
    count: u64,
    mean: f64,
    variance: f64,
}

impl Running {
    /// Deviations from the mean to `value`; 0 while there are too few steps to tell.
    fn z(&self, value: f64) -> f64 {
        let deviation = self.variance.sqrt();
        match self.count < MEMORY || deviation == 0.0 {
            true => 0.0,
            false => (value - self.mean) / deviation,
        }
    }

    /// Takes in `value`, but no more of it than `limit` deviations above the mean: a single large
    /// one does not blind the watch, and a level that stays is the usual one after some time.
    ///
    /// With `a = 1 / min(count, MEMORY)`: `mean += a d`, `variance = (1 - a) (variance + a d^2)`,
    /// `d = value - mean`.
    ///
    /// # Source
    /// Finch 2009, "Incremental calculation of weighted mean and variance", equations 124 and 143.
    fn take(&mut self, value: f64, limit: f64) {
        let value = match self.z(value) > limit {
            true => self.mean + limit * self.variance.sqrt(),
            false => value,
        };
        self.count += 1;
        let share = 1.0 / self.count.min(MEMORY) as f64;
        let distance = value - self.mean;
        self.mean += share * distance;
        self.variance = (1.0 - share) * (self.variance + share * distance * distance);
    }
}

/// The watch over the steps of a run: what is usual, and how many steps were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Outliers {
    loss: Running,
    grad_norm: Running,
    /// Steps skipped so far.
    pub skipped: u64,
}

impl Outliers {
    /// Begins to watch anew, where other losses than before become the usual ones.
    pub fn forget(&mut self) {
        *self = Self {
            skipped: self.skipped,
            ..Self::default()
        };
    }

    /// Whether step `step` is to be skipped because its loss or the norm of its gradients is more
    /// than `limit` deviations above the usual; takes both into the mean. The numbers must be finite.
    pub fn judge(&mut self, step: u64, loss: f64, grad_norm: f32, limit: f64) -> Option<Outlier> {
        let grad_norm = f64::from(grad_norm);
        let numbers = [
            (Watched::Loss, loss, &mut self.loss),
            (Watched::GradientNorm, grad_norm, &mut self.grad_norm),
        ];
        let mut found: Option<Outlier> = None;
        for (what, value, running) in numbers {
            let (mean, z) = (running.mean, running.z(value));
            if z > limit && found.is_none_or(|found| found.z < z) {
                found = Some(Outlier {
                    step,
                    what,
                    value,
                    mean,
                    z,
                });
            }
            running.take(value, limit);
        }
        self.skipped += u64::from(found.is_some());
        found
    }
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Watched::Loss => "loss",
            Watched::GradientNorm => "gradient norm",
        };
        let Self {
            step,
            value,
            mean,
            z,
            ..
        } = self;
        write!(
            f,
            "step {step} skipped: its {what} {value:.3} is {z:.1} deviations above the mean {mean:.3}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::rng::Rng;

    #[test]
    fn mean_and_variance_are_those_of_the_values_while_they_fit() {
        let mut rng = Rng::new(1, 0);
        let values: Vec<f64> = (0..MEMORY).map(|_| f64::from(rng.next_unit())).collect();
        let mut running = Running::default();
        for value in &values {
            running.take(*value, f64::INFINITY);
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!((running.mean - mean).abs() < 1e-12);
        assert!((running.variance - variance).abs() < 1e-12);
        // A level that lasts replaces what was.
        (0..10 * MEMORY).for_each(|_| running.take(7.0, f64::INFINITY));
        assert!((running.mean - 7.0).abs() < 1e-3 && running.variance < 1e-2);
    }

    /// Loss and norm of step `step` of a run in which nothing happens.
    fn usual(rng: &mut Rng) -> (f64, f32) {
        let mut noise = || rng.next_unit() - 0.5;
        (3.0 + 0.1 * f64::from(noise()), 1.0 + 0.2 * noise())
    }

    #[test]
    fn what_stands_out_is_skipped_and_nothing_else() {
        let (mut rng, mut outliers) = (Rng::new(2, 0), Outliers::default());
        let mut skipped = Vec::new();
        for step in 1..=1000 {
            let (mut loss, mut norm) = usual(&mut rng);
            match step {
                50 | 400 => loss = 9.0, // the first is too early to tell
                600 | 601 => norm = 1e9,
                800 => (loss, norm) = (0.1, 0.0), // far below is no harm
                _ => {}
            }
            if let Some(outlier) = outliers.judge(step, loss, norm, 5.0) {
                skipped.push((outlier.step, outlier.what));
            }
        }
        let norm = Watched::GradientNorm;
        assert_eq!(skipped, [(400, Watched::Loss), (600, norm), (601, norm)]);
        assert_eq!(outliers.skipped, 3);
    }

    #[test]
    fn a_level_that_stays_is_the_usual_one_after_some_time() {
        let (mut rng, mut outliers) = (Rng::new(3, 0), Outliers::default());
        for step in 1..=1000 {
            let (loss, norm) = usual(&mut rng);
            let higher = if step > 300 { 2.0 } else { 0.0 };
            outliers.judge(step, loss + higher, norm, 4.0);
        }
        assert!(
            (1..MEMORY / 2).contains(&outliers.skipped),
            "{}",
            outliers.skipped
        );
    }

    #[test]
    fn what_is_forgotten_is_no_measure() {
        let (mut rng, mut outliers) = (Rng::new(4, 0), Outliers::default());
        for step in 1..=1000 {
            let (loss, norm) = usual(&mut rng);
            let higher = if step > 500 { 2.0 } else { 0.0 };
            if step == 501 {
                outliers.forget();
            }
            let found = outliers.judge(step, loss + higher, norm, 4.0);
            assert_eq!(found, None);
        }
    }

    #[test]
    fn says_what_it_saw() {
        let outlier = Outlier {
            step: 431,
            what: Watched::GradientNorm,
            value: 12.34,
            mean: 1.2,
            z: 6.21,
        };
        assert_eq!(
            outlier.to_string(),
            "step 431 skipped: its gradient norm 12.340 is 6.2 deviations above the mean 1.200"
        );
    }
}
