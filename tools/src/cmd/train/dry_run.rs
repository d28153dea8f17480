//! `--dry-run`: what a run would be, without one.

use core::fmt::Write;
use std::path::Path;

use minigpt_runtime::Format;
use minigpt_trainer::Cpu;
use minigpt_trainer::device::Device;
use minigpt_trainer::forecast::{Forecast, forecast};
use minigpt_trainer::run::{Plan, Run, available_memory};

use super::destination::Destination;
use super::open::begin;
use super::{TrainArgs, planned};
use crate::cmd::cuda;
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
        let mut run = begin(&aside.path().join(name), asked, self.device)?;
        if let Some(destination) = destination {
            run = destination.accept(run)?;
        }
        let plan = planned(&run, self.device)?;
        interrupt::heed(true);
        interrupt::made();
        let expected = match &plan.device {
            Device::Cuda { found, .. } => {
                let cuda = cuda(found.clone(), &run.settings.training)?;
                forecast(&run, cuda, plan.recompute)
            }
            _ => forecast(&run, Cpu::default(), plan.recompute),
        };
        let expected = expected.map_err(Failure::failed)?;
        interrupt::heed(false);
        if interrupt::wanted() {
            return Err(Failure::Interrupted("stopped; nothing saved".to_owned()));
        }
        output::print(&report(&run, &out, &plan, &expected)?)
    }
}

fn report(run: &Run, out: &Path, plan: &Plan, expected: &Forecast) -> Result<String, Failure> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    extent(run, expected, &mut line);
    memory(plan, &mut line);
    let rate = expected.step_tokens as f64 / expected.step_seconds.max(1e-9);
    line(
        "time",
        format!(
            "about {}, {:.1} ms a step, {} tokens/s, by a few steps on {} just now",
            Span(expected.seconds),
            expected.step_seconds * 1e3,
            grouped(rate as u64),
            plan.device.name()
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

/// How large the model is, and how much text it sees.
fn extent(run: &Run, expected: &Forecast, line: &mut dyn FnMut(&str, String)) {
    let Some(facts) = &run.settings.facts else {
        return;
    };
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
    let steps = run.settings.training.steps;
    let seen = expected.step_tokens as f64 * steps as f64;
    let times = seen / facts.train_tokens as f64;
    let (steps, tokens) = (grouped(steps), grouped(expected.step_tokens));
    line(
        "steps",
        format!("{steps} of {tokens} tokens: the text {times:.1} times"),
    );
}

/// What trains, and what it takes of that device's memory; where that is not the host's, what of the host's.
fn memory(plan: &Plan, line: &mut dyn FnMut(&str, String)) {
    let (needed, (setting, other)) = plan.needs.figures(plan.recompute);
    let (needed, other) = (grouped(needed), grouped(other));
    let available = available_memory().map_or_else(String::new, |available| {
        format!(" of {} there are", grouped(available))
    });
    let (number, there) = match &plan.device {
        Device::Cuda { found, free } => (
            format!(" (cuda:{})", found.number),
            format!(" of {} free there", grouped(*free)),
        ),
        _ => (String::new(), available.clone()),
    };
    line("device", format!("{}{number}", plan.device.name()));
    let recomputing = if plan.recompute { ", recomputing" } else { "" };
    line(
        "memory",
        format!("at least {needed} bytes{there}{recomputing}; {other} {setting}"),
    );
    if let Some(host) = plan.host {
        let needed = grouped(host);
        line("host memory", format!("at least {needed} bytes{available}"));
    }
}
