//! Commands: how the next texts are made.

use minigpt_runtime::{SamplerError, SamplerOptions};

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
    /// Says what board and model this is.
    Info,
    /// Writes a text with no beginning given.
    Begin,
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandError {
    Unknown,
    Number,
    Sampler(SamplerError),
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "no such command; there are /temperature T, /top-k K (0 for all), /top-p P, /seed S, \
                 /max-tokens N, /begin, /info",
            ),
            Self::Number => f.write_str("this needs a number, such as 40 or 0.8"),
            // Without the number: printing one would take a third of the program.
            Self::Sampler(SamplerError::Temperature { .. }) => {
                f.write_str("the temperature must be a number from 0 (always the likeliest token) up")
            }
            Self::Sampler(SamplerError::TopK { max, .. }) => {
                write!(f, "top-k must be between 1 and {max}")
            }
            Self::Sampler(_) => f.write_str("top-p must be above 0 and at most 1"),
        }
    }
}

/// Understands `line`, which begins behind the `/`.
pub(crate) fn parse(line: &str, settings: Settings) -> Result<Command, CommandError> {
    let (name, value) = line.split_once(' ').unwrap_or((line, ""));
    let number = || decimal(value).ok_or(CommandError::Number);
    let integer = || value.parse::<u64>().map_err(|_| CommandError::Number);
    let mut new = settings;
    match name {
        "temperature" => new.sampling.temperature = number()?,
        "top-p" => new.sampling.top_p = number()?,
        "top-k" => new.sampling.top_k = Some(integer()? as usize).filter(|k| *k > 0),
        "seed" => new.sampling.seed = integer()?,
        "max-tokens" => new.max_tokens = integer()? as usize,
        "info" => return Ok(Command::Info),
        "begin" => return Ok(Command::Begin),
        _ => return Err(CommandError::Unknown),
    }
    crate::teller::sampler(new.sampling).map_err(CommandError::Sampler)?;
    Ok(Command::Set(new))
}

/// `12`, `0.8`, `1.25`: digits, and up to six more behind a point. The host's parser gives the same
/// number; the standard one would be a third of this program.
fn decimal(text: &str) -> Option<f32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 6 || fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u32.pow(fraction.len() as u32);
    let value = f64::from(whole.parse::<u32>().ok()?)
        + f64::from(fraction.parse::<u32>().ok()?) / f64::from(scale);
    Some(value as f32)
}
