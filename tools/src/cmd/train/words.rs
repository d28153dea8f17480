//! What `minigpt train` says of a run before its first step and after its last.

use std::fs;

use minigpt_trainer::run::{Run, Stage};
use minigpt_trainer::run_config::{TokenizerChoice, TrainingSettings};
use minigpt_trainer::train::{Ending, Summary};

use crate::failure::{Failure, Outcome};
use crate::output::{grouped, say};

/// Texts from this size on take so long to prepare that it is said, in bytes.
const LONG_TEXT: usize = 1 << 20;

/// Says what came from the model to begin with, tensors that came as they were left out.
pub(super) fn say_loaded(run: &Run) -> Outcome {
    let Some(from) = &run.settings.data.from else {
        return Ok(());
    };
    let (from, file) = (from.display(), run.loaded());
    let table = fs::read_to_string(&file).map_err(|error| Failure::reading(&file, &error))?;
    let (whole, others): (Vec<&str>, Vec<&str>) =
        table.lines().partition(|line| line.ends_with(" loaded"));
    let (n, all) = (whole.len(), table.lines().count());
    say!(
        "{n} of {all} tensors from {from} as they are, see {}",
        file.display()
    );
    others.iter().for_each(|line| say!("  {line}"));
    Ok(())
}

/// Says what is being prepared, where it takes a while.
pub(super) fn say_stage(stage: Stage, choice: TokenizerChoice, bytes: usize) {
    match (stage, choice) {
        (Stage::Tokenizer, TokenizerChoice::Bpe { n_vocab }) => {
            say!("learning a BPE of {n_vocab} tokens");
        }
        (Stage::Tokens, _) if bytes >= LONG_TEXT => {
            say!(
                "turning {} bytes of text into tokens",
                grouped(bytes as u64)
            );
        }
        _ => {}
    }
}

/// Says from which step on the weights are those of the deployed file, where they are.
pub(super) fn say_arithmetic(training: &TrainingSettings) {
    if let Some((first, format)) = training.quantized() {
        let name = format.name();
        say!(
            "from step {first} on with weights as {name} stores them; validated with those from the start"
        );
    }
}

/// Says how training ended and what came of it.
pub(super) fn say_ending(summary: &Summary, run: &Run, again: &str) {
    let (step, steps) = (summary.step, run.settings.training.steps);
    let what = match summary.ending {
        Ending::Stale => format!("stopped early at step {step}: validation no longer improves"),
        Ending::OutOfTime => format!("out of time at step {step} of {steps}; {again} goes on"),
        _ if summary.start == step => {
            format!("this run is finished ({step} steps); {again} --steps N takes it further")
        }
        _ => format!("finished {step} steps"),
    };
    say!("{what}");
    if summary.skipped > 0 {
        say!("skipped as outliers: {} of {step} steps", summary.skipped);
    }
    if let Some(best) = summary.best {
        say!(
            "best validation at step {}: {:.4} nats per token, {:.4} bits per byte",
            best.step,
            best.val_loss,
            best.val_bits_per_byte
        );
    }
}
