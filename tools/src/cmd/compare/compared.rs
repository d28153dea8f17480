//! What is said of each run.

use core::cmp::Ordering;
use core::fmt::Write;
use std::path::Path;

use minigpt_trainer::loss_plot::Curve;
use minigpt_trainer::run::{Divergence, Run, RunError};
use minigpt_trainer::run_config::Facts;
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::{grouped, say};

/// A run in figures.
#[derive(Serialize)]
pub(super) struct Compared {
    name: String,
    n_params: u64,
    n_vocab: u32,
    steps: u64,
    tokens: u64,
    /// Seconds of training, without validation and saving.
    seconds: f64,
    tokens_per_second: Option<f64>,
    /// The lowest, in nats per token.
    val_loss: Option<f64>,
    perplexity: Option<f64>,
    val_bits_per_byte: Option<f64>,
    /// Tokens, seconds and bits per byte of each validation.
    validations: Vec<[f64; 3]>,
    /// Set if training diverged; the other figures are then of what there was before.
    diverged: Option<Divergence>,
    #[serde(skip)]
    facts: Facts,
}

impl Compared {
    /// Reads the run in the directory `path`.
    pub(super) fn read(path: &Path, name: String) -> Result<Self, Failure> {
        let (settings, history) = Run::record(path)?;
        let untrained = || RunError::Untrained {
            path: path.to_owned(),
        };
        let diverged = Run::divergence(path)?;
        let last = history.last();
        if last.is_none() && diverged.is_none() {
            return Err(untrained().into());
        }
        let seconds = last.map_or(0.0, |line| line.seconds);
        let tokens = last.map_or(0, |line| line.tokens);
        let facts = settings.facts.ok_or_else(untrained)?;
        let validated = history.iter().filter_map(|line| {
            let bits = line.val_bits_per_byte?;
            Some([line.tokens as f64, line.seconds, bits])
        });
        let losses = history.iter().filter_map(|line| line.val_loss);
        let bits = history.iter().filter_map(|line| line.val_bits_per_byte);
        let val_loss = losses.reduce(f64::min);
        Ok(Self {
            name,
            n_params: facts.n_params,
            n_vocab: facts.n_vocab,
            steps: last.map_or(0, |line| line.step),
            tokens,
            seconds,
            tokens_per_second: (seconds > 0.0).then(|| tokens as f64 / seconds),
            val_loss,
            perplexity: val_loss.map(f64::exp),
            val_bits_per_byte: bits.reduce(f64::min),
            validations: validated.collect(),
            diverged,
            facts,
        })
    }

    /// The fewest bits per byte first; what was not validated comes after, and what diverged comes last.
    pub(super) fn by_quality(&self, other: &Self) -> Ordering {
        let bits = |run: &Self| run.val_bits_per_byte.unwrap_or(f64::INFINITY);
        let diverged = |run: &Self| run.diverged.is_some();
        let by_ending = diverged(self).cmp(&diverged(other));
        by_ending.then(bits(self).total_cmp(&bits(other)))
    }

    pub(super) fn curve(&self) -> Curve {
        Curve {
            name: self.name.clone() + &self.ending(),
            n_params: self.n_params,
            points: self.validations.clone(),
            diverged: self.diverged.is_some(),
        }
    }

    /// What is to be said behind its name or its figures.
    fn ending(&self) -> String {
        let said = |it: &Divergence| format!("  diverged at step {}", it.step);
        self.diverged.as_ref().map_or_else(String::new, said)
    }

    /// Whether both were validated on the same text.
    fn same_data(&self, other: &Self) -> bool {
        let text = |run: &Self| {
            let files = run.facts.data.iter().chain(&run.facts.val_data);
            files.map(|file| file.xxh64.clone()).collect::<Vec<_>>()
        };
        text(self) == text(other)
    }
}

/// That at least one variant came to its end.
pub(super) fn one_finished(compared: &[Compared]) -> Outcome {
    let finished = compared.iter().any(|run| run.diverged.is_none());
    let first = compared.first().map(|run| (&run.name, &run.diverged));
    match first {
        Some((name, Some(divergence))) if !finished => Err(Failure::Failed(format!(
            "every variant diverged, {name}: {divergence}; try another --out with lower learning \
                 rates or a longer warm-up, such as --set warmup_steps=100"
        ))),
        _ => Ok(()),
    }
}

/// Says so if runs are compared that were not validated on the same text.
pub(super) fn note_other_data(compared: &[Compared]) {
    let Some((first, rest)) = compared.split_first() else {
        return;
    };
    for other in rest.iter().filter(|other| !other.same_data(first)) {
        say!(
            "note: {} learned another text than {}: only bits per byte compare, and only roughly",
            other.name,
            first.name
        );
    }
}

/// The runs for people.
pub(super) fn table(compared: &[Compared]) -> String {
    let width = compared.iter().map(|run| run.name.chars().count()).max();
    let width = width.unwrap_or(0).max("run".len());
    let mut out = format!(
        "{:width$} {:>12} {:>7} {:>7} {:>13} {:>9} {:>9} {:>9} {:>10} {:>13}\n",
        "run",
        "parameters",
        "vocab",
        "steps",
        "trained on",
        "seconds",
        "tokens/s",
        "val loss",
        "perplexity",
        "bits per byte"
    );
    let number = |number: Option<f64>, digits: usize| {
        number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
    };
    for run in compared {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:width$} {:>12} {:>7} {:>7} {:>13} {:>9.1} {:>9} {:>9} {:>10} {:>13}{}",
            run.name,
            grouped(run.n_params),
            grouped(run.n_vocab.into()),
            grouped(run.steps),
            grouped(run.tokens),
            run.seconds,
            run.tokens_per_second
                .map_or_else(|| "-".to_owned(), |rate| grouped(rate as u64)),
            number(run.val_loss, 4),
            number(run.perplexity, 2),
            number(run.val_bits_per_byte, 4),
            run.ending()
        );
    }
    out
}
