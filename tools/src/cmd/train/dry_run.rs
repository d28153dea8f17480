//! `--dry-run`: what a run would be, without one.

use core::fmt::Write;
use std::path::Path;

use minigpt_runtime::Format;
use minigpt_trainer::Cpu;
use minigpt_trainer::forecast::{Forecast, forecast};
use minigpt_trainer::run::{Run, available_memory};

use super::TrainArgs;
use super::destination::Destination;
use super::open::begin;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{self, grouped};
use crate::progress::Span;

impl TrainArgs {
    /// Prepares the run in a temporary directory, measures some steps and says what they tell.
    pub(super) fn dry_run(&self, destination: Option<&Destination>) -> Outcome {
        let (out, asked, _) = self.asked(destination)?;
        if let Some(destination) = destination {
            destination.accept_shape(&asked)?;
        }
        let aside = tempfile::Builder::new().prefix("minigpt-").tempdir();
        let aside = aside.map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
        // Its name is in the model.
        let name = out.file_name().unwrap_or_default();
        let mut run = begin(&aside.path().join(name), asked)?;
        if let Some(destination) = destination {
            run = destination.accept(run)?;
        }
        interrupt::heed(true);
        interrupt::made();
        let expected = forecast(&run, Cpu::default())?;
        interrupt::heed(false);
        if interrupt::wanted() {
            return Err(Failure::Interrupted("stopped; nothing saved".to_owned()));
        }
        output::print(&report(&run, &out, &expected)?)
    }
}

fn report(run: &Run, out: &Path, expected: &Forecast) -> Result<String, Failure> {
    let mut text = String::new();
    let training = &run.settings.training;
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    if let Some(facts) = &run.settings.facts {
        line("parameters", grouped(facts.n_params));
        let choice = run.settings.data.tokenizer;
        line(
            "vocabulary",
            format!("{} tokens, {choice}", grouped(facts.n_vocab.into())),
        );
        let (train, val) = (grouped(facts.train_tokens), grouped(facts.val_tokens));
        line(
            "tokens",
            format!("{train} to learn from, {val} to validate on"),
        );
        let seen = expected.step_tokens as f64 * training.steps as f64;
        let times = seen / facts.train_tokens as f64;
        let (steps, tokens) = (grouped(training.steps), grouped(expected.step_tokens));
        line(
            "steps",
            format!("{steps} of {tokens} tokens: the text {times:.1} times"),
        );
    }
    let memory = match available_memory() {
        Some(available) => format!(" of {} there are", grouped(available)),
        None => String::new(),
    };
    let (kept, recomputed) = (
        grouped(expected.kept_bytes),
        grouped(expected.recomputed_bytes),
    );
    line(
        "memory",
        match expected.recompute {
            false => format!("at least {kept} bytes{memory}; {recomputed} with recompute=on"),
            true => format!(
                "at least {recomputed} bytes{memory}, recomputing; {kept} with recompute=off"
            ),
        },
    );
    let rate = expected.step_tokens as f64 / expected.step_seconds.max(1e-9);
    line(
        "time",
        format!(
            "about {}, {:.1} ms a step, {} tokens/s, by a few steps on the CPU just now",
            Span(expected.seconds),
            expected.step_seconds * 1e3,
            grouped(rate as u64)
        ),
    );
    for format in Format::ALL {
        let bytes = run.model_bytes(format).map_err(Failure::failed)?;
        line(
            "model",
            format!("{} bytes as {}", grouped(bytes), format.name()),
        );
    }
    line("directory", out.display().to_string());
    Ok(text)
}
