//! Steps that stand out so far that they are better not taken.

use core::fmt;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps that a step is compared with; none is judged before there are so many.
///
/// # Source
/// llm.c, `llmc/outlier_detector.h`.
const WINDOW: usize = 128;

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
    /// Its mean over the steps before.
    pub mean: f64,
    /// How many standard deviations it is above that.
    pub z: f64,
}

/// What one number was in the last [`WINDOW`] steps, oldest first.
///
/// A window forgets the fall of the loss at the beginning as soon as that is past; a mean that fades would be blind
/// for many times as long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Window(VecDeque<f64>);

impl Window {
    /// Mean and standard deviation; none while there are too few steps to tell, or all were alike.
    fn usual(&self) -> Option<(f64, f64)> {
        if self.0.len() < WINDOW {
            return None;
        }
        let n = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / n;
        let variance = self.0.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (variance > 0.0).then(|| (mean, variance.sqrt()))
    }

    /// Takes in `value`, but no more than `most`: a single large one does not blind the watch, and a level that
    /// stays is the usual one after some time.
    fn take(&mut self, value: f64, most: f64) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(value.min(most));
    }
}

/// The watch over the steps of a run: what is usual, and how many steps were skipped.
///
/// A checkpoint of version 2 kept other numbers for the same purpose; these are passed over, and the watch begins anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outliers {
    #[serde(default)]
    losses: Window,
    #[serde(default)]
    grad_norms: Window,
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
    /// than `limit` deviations above the usual; takes both into their windows. The numbers must be finite.
    pub fn judge(&mut self, step: u64, loss: f64, grad_norm: f32, limit: f64) -> Option<Outlier> {
        let grad_norm = f64::from(grad_norm);
        let numbers = [
            (Watched::Loss, loss, &mut self.losses),
            (Watched::GradientNorm, grad_norm, &mut self.grad_norms),
        ];
        let mut found: Option<Outlier> = None;
        for (what, value, window) in numbers {
            let Some((mean, deviation)) = window.usual() else {
                window.take(value, f64::INFINITY);
                continue;
            };
            let z = (value - mean) / deviation;
            if z > limit && found.is_none_or(|found| found.z < z) {
                found = Some(Outlier {
                    step,
                    what,
                    value,
                    mean,
                    z,
                });
            }
            window.take(value, mean + limit * deviation);
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
    fn the_usual_is_that_of_the_last_steps() {
        let mut rng = Rng::new(1, 0);
        let values: Vec<f64> = (0..3 * WINDOW)
            .map(|_| f64::from(rng.next_unit()))
            .collect();
        let mut window = Window::default();
        for (i, value) in values.iter().enumerate() {
            assert_eq!(window.usual().is_some(), i >= WINDOW);
            window.take(*value, f64::INFINITY);
        }
        let (mean, deviation) = window.usual().unwrap();
        let last = &values[2 * WINDOW..];
        let of_last = last.iter().sum::<f64>() / WINDOW as f64;
        let squares: f64 = last.iter().map(|x| x * x).sum();
        let variance = squares / WINDOW as f64 - of_last * of_last;
        assert!((mean - of_last).abs() < 1e-12);
        assert!((deviation - variance.sqrt()).abs() < 1e-12);
        (0..WINDOW).for_each(|_| window.take(7.0, f64::INFINITY));
        assert_eq!(window.usual(), None);
    }

    #[test]
    fn the_fall_at_the_beginning_is_soon_forgotten() {
        let (mut rng, mut outliers) = (Rng::new(5, 0), Outliers::default());
        for step in 1..=300 {
            let (mut loss, norm) = usual(&mut rng);
            loss += 6.0 * (-f64::from(step as u32) / 30.0).exp();
            let found =
                outliers.judge(step, if step == 300 { loss + 0.5 } else { loss }, norm, 5.0);
            assert_eq!(found.is_some(), step == 300, "{found:?}");
        }
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
            (1..WINDOW as u64 / 2).contains(&outliers.skipped),
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
