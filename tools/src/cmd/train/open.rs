//! From what is asked for to a run that is open.

use std::path::{Path, PathBuf};
use std::sync::Once;

use minigpt_trainer::device::Choice;
use minigpt_trainer::run::{Run, RunError, start_threads};
use minigpt_trainer::run_config::{RunConfig, TokenizerChoice};

use super::TrainArgs;
use super::destination::Destination;
use super::words::{say_loaded, say_stage};
use crate::failure::Failure;
use crate::interrupt;
use crate::library;
use crate::output::say;

impl TrainArgs {
    /// The run that is asked for, made or taken up.
    pub(super) fn open(&self, destination: Option<&Destination>) -> Result<Run, Failure> {
        let (out, asked, found) = self.asked(destination)?;
        if let Some(destination) = destination {
            destination.accept_shape(&asked)?;
        }
        let run = match found {
            true => self.take_up(&out, asked)?,
            false => begin(&out, asked, self.device)?,
        };
        match destination {
            Some(destination) => destination.accept(run),
            None => Ok(run),
        }
    }

    /// The run directory, the settings that are asked for, with a shape that suits `destination` where none is
    /// asked for, and whether there is a run; starts the threads they ask for.
    pub(super) fn asked(
        &self,
        destination: Option<&Destination>,
    ) -> Result<(PathBuf, RunConfig, bool), Failure> {
        static THREADS: Once = Once::new();
        let asked = self.settings(None)?;
        let out = self.out.clone().unwrap_or_else(|| default_out(&asked));
        let stored = Run::find(&out)?;
        let asked = match &stored {
            Some(stored) if self.resume => self.settings(Some(stored))?,
            None if self.resume => return Err(RunError::Absent { path: out }.into()),
            _ => asked,
        };
        let mut started = Ok(());
        THREADS.call_once(|| started = start_threads(asked.run.threads));
        started?;
        let asked = match destination {
            Some(destination) if !self.resume => self.suited(asked, destination)?,
            _ => asked,
        };
        Ok((out, asked, stored.is_some()))
    }

    /// Opens the run in `out` if it is the one that was asked for.
    fn take_up(&self, out: &Path, mut asked: RunConfig) -> Result<Run, Failure> {
        // A run to be resumed has its tokens; otherwise the data must be the same.
        let restated = !self.resume || !self.data.is_empty() || !self.val_data.is_empty();
        let of_files = !asked.data.files.is_empty() || !asked.data.val_files.is_empty();
        let by_text =
            of_files || asked.data.from.is_some() || asked.data.tokenizer == TokenizerChoice::Auto;
        if restated && by_text {
            let inputs = library::inputs(&asked.data)?;
            asked.data.tokenizer = inputs.settle(asked.data.tokenizer);
            asked.facts = Some(inputs.facts());
        }
        let mut run = Run::open(out)?;
        match run.adopt(&asked, self.resume) {
            Err(RunError::Differs { .. }) if !self.resume && !Run::has_checkpoint(out)? => {
                drop(run);
                say!(
                    "the run in {} has no checkpoint yet: it is begun anew",
                    out.display()
                );
                begin(out, asked, self.device)
            }
            adopted => {
                adopted?;
                if self.resume && !restated {
                    say_changes(&run);
                }
                Ok(run)
            }
        }
    }
}

/// Says if the files that `run` learns from are others now.
fn say_changes(run: &Run) {
    if let Some(change) = library::changed(&run.settings) {
        say!(
            "{change}; the run goes on with the tokens that it keeps: to learn the new text, train into another --out"
        );
    }
}

/// Where a run goes that was not told: `runs/` and the name of its first file.
fn default_out(settings: &RunConfig) -> PathBuf {
    let first = settings.data.files.first();
    let name = first.and_then(|path| path.file_stem().or(Some(path.as_os_str())));
    let name = name.and_then(|name| name.to_str()).unwrap_or("stories");
    let name = name.trim_matches(|c| c == '.' || c == '/');
    Path::new("runs").join(if name.is_empty() { "text" } else { name })
}

/// Makes a run directory, for what `choice` can train.
pub(super) fn begin(out: &Path, settings: RunConfig, choice: Choice) -> Result<Run, Failure> {
    interrupt::making(out);
    let run = library::inputs(&settings.data).and_then(|inputs| {
        let tokenizer = inputs.settle(settings.data.tokenizer);
        let bytes = inputs.train.iter().map(|source| source.bytes.len()).sum();
        let run = Run::create(out, settings, &inputs, choice, &mut |stage| {
            say_stage(stage, tokenizer, bytes)
        });
        run.map_err(Failure::from)
    });
    if run.is_err() {
        interrupt::made();
    }
    let run = run?;
    say_loaded(&run)?;
    Ok(run)
}
