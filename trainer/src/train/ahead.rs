//! Running ahead of the device: steps that were asked for and whose losses nobody has seen yet.

use std::time::Instant;

use super::{Ending, Observer, TrainError, Training, ending};
use crate::backend::Backend;
use crate::metrics::Metrics;
use crate::model::PendingLoss;

/// What a device owes of a step.
#[derive(Debug)]
pub(super) struct Owed<S> {
    /// Of each pass.
    pub(super) losses: Vec<PendingLoss<S>>,
    /// Of the gradients.
    pub(super) norm: S,
}

/// Time that steps take, without what is done between them while nothing is owed.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the step before ended, or this one began.
    since: Instant,
    /// Seconds of the last step, or half of what it was before where that is more: behind a step that waited
    /// for something else, those that were done meanwhile take no time.
    step: Option<f64>,
    /// Seconds of steps since the last line of the record.
    pub(super) seconds: f64,
    /// Tokens in them.
    pub(super) tokens: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            step: None,
            seconds: 0.0,
            tokens: 0,
        }
    }

    /// A step begins with nothing before it.
    pub(super) fn begin(&mut self) {
        self.since = Instant::now();
    }

    /// A step of `tokens` tokens ends, and the next one is at work.
    pub(super) fn end(&mut self, tokens: u64) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.step = Some(expected(self.step, seconds));
        self.seconds += seconds;
        self.tokens += tokens;
    }

    /// A line of the record begins.
    pub(super) const fn forget(&mut self) {
        (self.seconds, self.tokens) = (0.0, 0);
    }
}

/// What a step is taken to last, from what was thought `before` and the `seconds` of the last one.
fn expected(before: Option<f64>, seconds: f64) -> f64 {
    before.map_or(seconds, |before| seconds.max(before / 2.0))
}

impl<B: Backend> Training<'_, B> {
    /// Settles, in their order, the steps up to number `asked`, the last that was asked for, or all but
    /// those that may be owed. Tells whether a validation among them was the best, and whether someone
    /// wants to end, for which all are settled.
    pub(super) fn catch_up(
        &mut self,
        asked: u64,
        observer: &mut dyn Observer,
    ) -> Result<(bool, Option<Ending>), TrainError> {
        let (mut improved, mut wanted) = (false, None);
        while self.owed.len() > self.may_owe(asked, wanted) {
            let mut metrics = self.settle(observer)?;
            if self.is_validated(metrics.step) {
                self.validate(&mut metrics)?;
                improved = metrics.val_loss.is_some() && self.state.stale_evaluations == 0;
            }
            self.record(&metrics, observer)?;
            if self.is_sampled(metrics.step) {
                self.sample(observer)?;
            }
            let over = ending(&self.state, &self.run.settings.training);
            wanted = over.or(wanted).or_else(|| self.wanted(observer));
        }
        Ok((improved, wanted))
    }

    /// Steps that may be owed behind step `asked`: none where the model is looked at, none where steps are
    /// judged before they are taken, and none at the end.
    fn may_owe(&self, asked: u64, ending: Option<Ending>) -> usize {
        let looked_at = self.is_saved(asked) || self.is_validated(asked) || self.is_sampled(asked);
        match looked_at || self.run.settings.training.judges() || ending.is_some() {
            true => 0,
            false => self.gpt.ahead().most(self.pace.step),
        }
    }

    /// Whether a checkpoint is due after step `step`.
    pub(super) fn is_saved(&self, step: u64) -> bool {
        step.is_multiple_of(self.run.settings.run.checkpoint_interval)
    }

    /// Whether validation follows on step `step`.
    fn is_validated(&self, step: u64) -> bool {
        let settings = &self.run.settings.training;
        step.is_multiple_of(settings.eval_interval) || step == settings.steps
    }

    /// Writes a line where one is due, and tells the observer.
    fn record(&mut self, metrics: &Metrics, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let logged = metrics
            .step
            .is_multiple_of(self.run.settings.run.log_interval);
        if logged || metrics.val_loss.is_some() {
            self.run.log.append(*metrics)?;
            self.pace.forget();
        }
        observer.step(metrics);
        Ok(())
    }

    /// Whether the run is to end here, to be continued later.
    fn wanted(&self, observer: &mut dyn Observer) -> Option<Ending> {
        let limit = self.run.settings.run.max_seconds;
        let late = limit > 0.0 && self.began.elapsed().as_secs_f64() >= limit;
        match observer.stops() {
            true => Some(Ending::Stopped),
            false => late.then_some(Ending::OutOfTime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::expected;
    use crate::backend::Ahead;

    #[test]
    fn steps_behind_a_stall_are_not_taken_for_fast_ones() {
        let ahead = Ahead {
            steps: 32,
            seconds: 0.2,
        };
        // Steps of 50 ms, of which four are owed when the host is kept for 150 ms: three come at once.
        let (mut step, mut owed) = (None, Vec::new());
        for seconds in [0.05, 0.05, 0.15, 1e-4, 1e-4, 0.05, 0.05] {
            step = Some(expected(step, seconds));
            owed.push(ahead.most(step));
        }
        assert_eq!(owed, [4, 4, 1, 2, 5, 4, 4]);
        // A machine that has become faster is known as such after a few steps.
        for _ in 0..9 {
            step = Some(expected(step, 1e-4));
        }
        assert_eq!(ahead.most(step), 32);
    }
}
