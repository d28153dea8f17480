//! Commands: how the next texts are made.

use minigpt_runtime::{SamplerError, SamplerOptions};

use crate::number;

/// What there is to say to [`Command::Help`].
pub(crate) const HELP: &str = "/temperature T, /top-k K (0 for all), /top-p P, /seed S, /max-tokens N: how the \
                               next texts are made; /reset: as at the start; /begin: a text with no beginning \
                               given; /info: board, model and settings; any other line begins a text";

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) sampling: SamplerOptions,
    pub(crate) max_tokens: usize,
}

impl Settings {
    pub(crate) const START: Self = Self {
        sampling: SamplerOptions {
            temperature: 0.8,
            top_k: None,
            top_p: 0.95,
            seed: 0,
        },
        max_tokens: 256,
    };
}

/// A line that begins with `/`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Set(Settings),
    /// Says what board and model this is, and the settings.
    Info,
    /// Writes a text with no beginning given.
    Begin,
    /// Lists the commands.
    Help,
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandError {
    Unknown,
    Number,
    Sampler(SamplerError),
}

/// Understands `line`, which begins behind the `/`.
#[inline(never)]
pub(crate) fn parse(line: &str, settings: Settings) -> Result<Command, CommandError> {
    let (name, value) = line.split_once(' ').unwrap_or((line, ""));
    let value = value.trim_ascii();
    let number = || number::decimal(value).ok_or(CommandError::Number);
    let integer = || number::integer(value).ok_or(CommandError::Number);
    let count = || integer().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut new = settings;
    match name {
        "temperature" => new.sampling.temperature = number()?,
        "top-p" => new.sampling.top_p = number()?,
        "top-k" => new.sampling.top_k = Some(count()?).filter(|k| *k > 0),
        "seed" => new.sampling.seed = integer()?,
        "max-tokens" => new.max_tokens = count()?,
        "reset" => new = Settings::START,
        "info" => return Ok(Command::Info),
        "begin" => return Ok(Command::Begin),
        "help" => return Ok(Command::Help),
        _ => return Err(CommandError::Unknown),
    }
    crate::teller::sampler(new.sampling).map_err(CommandError::Sampler)?;
    Ok(Command::Set(new))
}
