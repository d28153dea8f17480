//! What a long job shows: a bar on a terminal, now and then a line elsewhere.

mod bytes;
mod curve;

use core::fmt;
use core::time::Duration;
use std::io::{self, IsTerminal};
use std::time::Instant;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use minigpt_trainer::metrics::Metrics;
use minigpt_trainer::outliers::Outlier;
use minigpt_trainer::train::Observer;

pub(crate) use self::bytes::ByteProgress;
use self::curve::Curve;
use crate::interrupt;
use crate::output::{grouped, say};

/// Time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// Time between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(100);

/// Counts tokens on standard error while a text goes through a model.
pub(crate) struct TokenProgress {
    bar: Option<ProgressBar>,
    what: &'static str,
    tokens: usize,
    begin: Instant,
    spoke: Instant,
}

impl TokenProgress {
    /// For `tokens` tokens; `what` is done with them.
    pub(crate) fn new(what: &'static str, tokens: usize) -> Self {
        let bar = bar(
            tokens as u64,
            "{msg} {wide_bar} {pos}/{len} tokens, {per_sec}, {eta} left",
        );
        if let Some(bar) = &bar {
            bar.set_message(what);
        }
        Self {
            bar,
            what,
            tokens,
            begin: Instant::now(),
            spoke: Instant::now(),
        }
    }

    /// `done` tokens are done.
    pub(crate) fn set(&mut self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        } else if self.spoke.elapsed() >= PAUSE {
            self.spoke = Instant::now();
            let seconds = self.begin.elapsed().as_secs_f64() / done.max(1) as f64;
            let left = Left(Some(seconds * self.tokens.saturating_sub(done) as f64));
            let rate = grouped((1.0 / seconds.max(1e-9)) as u64);
            let (what, tokens) = (self.what, self.tokens);
            say!("{what}: {done}/{tokens} tokens  {rate} tokens/s  {left}");
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar in the form of `template`, on a terminal.
fn bar(length: u64, template: &str) -> Option<ProgressBar> {
    io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    })
}

/// Watches training on standard error: a bar and the loss curve on a terminal.
pub(crate) struct TrainProgress {
    bar: Option<ProgressBar>,
    curve: Curve,
    steps: u64,
    /// Steps and time at the first step seen.
    origin: Option<(u64, Instant)>,
    spoke: Instant,
    val_loss: Option<f64>,
}

impl TrainProgress {
    /// For a run of `steps` steps, with the record of those that are done.
    pub(crate) fn new(steps: u64, history: &[Metrics]) -> Self {
        let mut curve = Curve::new(steps);
        history.iter().for_each(|line| curve.add(line));
        Self {
            bar: bar(steps, "{msg}\n{wide_bar} {pos}/{len}  {prefix}"),
            curve,
            steps,
            origin: None,
            spoke: Instant::now(),
            val_loss: None,
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// A line above the bar.
    fn line(&self, text: fmt::Arguments<'_>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    /// Time for the steps that remain, at the pace since the first one seen.
    fn left(&mut self, step: u64) -> Left {
        let (first, since) = *self.origin.get_or_insert((step, Instant::now()));
        let done = step - first;
        Left((done > 0).then(|| {
            let seconds = since.elapsed().as_secs_f64() / done as f64;
            seconds * (self.steps.saturating_sub(step)) as f64
        }))
    }
}

impl Observer for TrainProgress {
    fn step(&mut self, metrics: &Metrics) {
        let left = self.left(metrics.step);
        self.val_loss = metrics.val_loss.or(self.val_loss);
        let rate = grouped(metrics.tokens_per_second as u64);
        let loss = metrics.train_loss;
        self.curve.add(metrics);
        match &self.bar {
            Some(bar) if self.spoke.elapsed() >= FRAME || metrics.step == self.steps => {
                self.spoke = Instant::now();
                let width = usize::from(Term::stderr().size().1);
                let counter = format!(" {}/{}  ", metrics.step, self.steps);
                let status = [
                    format!("loss {loss:.3}"),
                    self.val_loss
                        .map_or_else(String::new, |loss| format!("val {loss:.3}")),
                    left.to_string(),
                    format!("{rate} tokens/s"),
                ];
                bar.set_message(self.curve.picture(width));
                bar.set_prefix(fitting(width.saturating_sub(counter.len()), &status));
                bar.set_position(metrics.step);
            }
            Some(_) => {}
            None if metrics.val_loss.is_some() || self.spoke.elapsed() >= PAUSE => {
                self.spoke = Instant::now();
                let (step, steps, val) = (metrics.step, self.steps, Val(metrics.val_loss));
                say!("step {step}/{steps}  loss {loss:.3}{val}  {rate} tokens/s  {left}");
            }
            None => {}
        }
    }

    fn sample(&mut self, step: u64, text: &str) {
        self.line(format_args!("step {step} writes:\n{text}\n"));
    }

    fn skipped(&mut self, outlier: &Outlier) {
        self.line(format_args!("{outlier}"));
    }

    fn warning(&mut self, message: &str) {
        self.line(format_args!("warning: {message}"));
    }

    fn stops(&mut self) -> bool {
        interrupt::wanted()
    }
}

/// As many of `parts`, from the first on, as `room` characters hold.
fn fitting(room: usize, parts: &[String]) -> String {
    let mut line = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let longer = match line.is_empty() {
            true => part.clone(),
            false => format!("{line}  {part}"),
        };
        if longer.len() > room {
            break;
        }
        line = longer;
    }
    line
}

/// `  val 1.234`, or nothing.
struct Val(Option<f64>);

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |loss| write!(f, "  val {loss:.3}"))
    }
}

/// `1m 05s left`.
struct Left(Option<f64>);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |seconds| write!(f, "{} left", Span(seconds)))
    }
}

/// Seconds as `1m 05s`.
pub(crate) struct Span(pub(crate) f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ceil() as u64 {
            s if s < 60 => write!(f, "{s}s"),
            s if s < 3600 => write!(f, "{}m {:02}s", s / 60, s % 60),
            s => write!(f, "{}h {:02}m", s / 3600, s % 3600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_in_words() {
        let cases = [
            (0.2, "1s left"),
            (65.0, "1m 05s left"),
            (7_320.0, "2h 02m left"),
        ];
        for (seconds, words) in cases {
            assert_eq!(Left(Some(seconds)).to_string(), words);
        }
        assert_eq!(Left(None).to_string(), "");
    }

    #[test]
    fn a_narrow_line_has_the_first_of_its_parts() {
        let parts = ["loss 1.234", "", "1m 05s left", "9 tokens/s"].map(str::to_owned);
        assert_eq!(fitting(80, &parts), "loss 1.234  1m 05s left  9 tokens/s");
        assert_eq!(fitting(30, &parts), "loss 1.234  1m 05s left");
        assert_eq!(fitting(22, &parts), "loss 1.234");
        assert_eq!(fitting(9, &parts), "");
    }
}
