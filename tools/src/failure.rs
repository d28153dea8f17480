//! What ends the program: one sentence, and an exit code.

use core::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use minigpt_trainer::durable::{Reading, Writing};
use minigpt_trainer::run::RunError;
use minigpt_trainer::train::{Diverged, TrainError};

use crate::output::say;

/// Why the program stops without having done what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a file it names asks for something that cannot be: exit code 2.
    Misuse(String),
    /// It was tried and did not work: exit code 1.
    Failed(String),
    /// Training diverged: exit code 1.
    Diverged(Diverged),
    /// The user stopped it; the sentence says how to go on: exit code 130.
    Interrupted(String),
    /// Nobody reads the output any more, as with `| head`: quiet, exit code 0.
    OutputClosed,
}

impl Failure {
    /// A misuse, in the words of `error`.
    pub(crate) fn misuse(error: impl Display) -> Self {
        Self::Misuse(error.to_string())
    }

    /// A misuse, in the words of clap, which takes several lines for them.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let paragraphs = text.split("\n\n").take_while(|paragraph| {
            let paragraph = paragraph.trim_start();
            !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more")
        });
        let sentences = paragraphs.map(|paragraph| {
            let words: Vec<&str> = paragraph.split_whitespace().collect();
            let words = words.join(" ");
            let bare = words
                .strip_prefix("error: ")
                .or(words.strip_prefix("tip: "));
            bare.unwrap_or(&words).to_owned()
        });
        let sentences: Vec<String> = sentences.collect();
        Self::Misuse(format!("{}; try --help", sentences.join("; ")))
    }

    /// A failure, in the words of `error`.
    pub(crate) fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// A failure to write a file.
    pub(crate) fn writing(path: &Path, error: &io::Error) -> Self {
        Self::with(path, Writing(error))
    }

    /// A failure about a file.
    pub(crate) fn with(path: &Path, error: impl Display) -> Self {
        Self::Failed(format!("{}: {error}", path.display()))
    }

    /// A failure to read a file; that it is not there is a misuse.
    pub(crate) fn reading(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Misuse(format!(
                "there is no file {}; check the name",
                path.display()
            )),
            _ => Self::with(path, Reading(error)),
        }
    }

    /// Says the sentence on standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (sentence, code): (&dyn Display, u8) = match self {
            Self::Misuse(sentence) => (sentence, 2),
            Self::Failed(sentence) => (sentence, 1),
            Self::Diverged(diverged) => (diverged, 1),
            Self::Interrupted(sentence) => (sentence, 130),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        say!("minigpt: {sentence}");
        ExitCode::from(code)
    }
}

/// What a subcommand returns.
pub(crate) type Outcome = Result<(), Failure>;

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error.is_misuse() {
            true => Self::misuse(error),
            false => Self::failed(error),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Diverged(diverged) => Self::Diverged(diverged),
            error if error.is_misuse() => Self::misuse(error),
            error => Self::failed(error),
        }
    }
}
