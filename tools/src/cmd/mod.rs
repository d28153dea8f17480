//! One file per subcommand: its arguments and what it does.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod firmware;
pub(crate) mod fit;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod train;

use core::fmt::Display;
use core::num::NonZero;
use std::path::Path;
use std::thread;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use minigpt_runtime::{Format, KvFormat, ModelFile};
use minigpt_trainer::backend::cuda::{Cuda, Found};
use minigpt_trainer::device;
use minigpt_trainer::inference::{self, ModelBytes, OpenError};
use minigpt_trainer::run::{self, RunError};
use minigpt_trainer::run_config::TrainingSettings;

use crate::failure::Failure;

/// Maps and checks the model file at `path`, or the one in the run directory `path`.
fn open_model(path: &Path) -> Result<ModelBytes, Failure> {
    let inside = path.join(run::MODEL);
    let file = match path.is_dir() {
        true if inside.is_file() => &inside,
        true => {
            return Err(Failure::Misuse(format!(
                "{} is a directory; give the .mgpt file in it",
                path.display()
            )));
        }
        false => path,
    };
    ModelBytes::open(file).map_err(|error| match error {
        OpenError::Read(error) => Failure::reading(file, &error),
        error => Failure::with(file, error),
    })
}

/// Takes `found` into use, with cuBLASLt where `training` wants it.
fn cuda(found: Found, training: &TrainingSettings) -> Result<Cuda, Failure> {
    device::open(found, training).map_err(Failure::failed)
}

/// `--context`, or the model's own.
fn context(asked: Option<i64>, file: &ModelFile<'_>) -> Result<usize, Failure> {
    let n_ctx = file.config().n_ctx();
    let Some(asked) = asked else {
        return Ok(n_ctx);
    };
    let fits = usize::try_from(asked)
        .ok()
        .filter(|n| (1..=n_ctx).contains(n));
    fits.ok_or_else(|| {
        Failure::Misuse(format!(
            "--context is {asked}; this model's is between 1 and {n_ctx}"
        ))
    })
}

/// `--threads`, or as many as the machine runs at once.
fn threads(asked: Option<i64>) -> Result<usize, Failure> {
    match asked {
        Some(n) if (1..=1024).contains(&n) => Ok(n as usize),
        Some(n) => Err(Failure::Misuse(format!(
            "--threads is {n}; it must be 1 to 1024"
        ))),
        None => Ok(thread::available_parallelism().map_or(1, NonZero::get)),
    }
}

/// Runs `work` on `n` threads, see [`inference::on_threads`].
fn on_threads<R: Send>(n: usize, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
    inference::on_threads(n, work).map_err(|error| too_many_threads(n, &error))
}

/// Why `n` threads did not start.
fn too_many_threads(n: usize, error: &dyn Display) -> Failure {
    let (threads, message) = (n as u32, error.to_string());
    Failure::failed(RunError::Threads { threads, message })
}

/// The number that `flag` was given, at least `least`.
fn at_least(flag: &str, value: i64, least: u64) -> Result<u64, Failure> {
    let fits = u64::try_from(value).ok().filter(|value| *value >= least);
    fits.ok_or_else(|| Failure::Misuse(format!("{flag} is {value}; it must be at least {least}")))
}

/// As [`at_least`], for what is counted in memory.
pub(crate) fn count(flag: &str, value: i64, least: u64) -> Result<usize, Failure> {
    Ok(usize::try_from(at_least(flag, value, least)?).unwrap_or(usize::MAX))
}

/// Names of the formats to the formats.
fn format_parser() -> impl TypedValueParser<Value = Format> {
    format_parser_of(&Format::ALL)
}

/// [`format_parser`] of these formats alone.
fn format_parser_of(formats: &'static [Format]) -> impl TypedValueParser<Value = Format> {
    parser_of(formats.iter().copied(), Format::name)
}

/// Names of the formats of a cache to the formats.
fn kv_parser() -> impl TypedValueParser<Value = KvFormat> {
    parser_of(KvFormat::ALL, KvFormat::name)
}

/// Names to the `values` that are called so.
fn parser_of<T: Copy + Send + Sync + 'static>(
    values: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let values: Vec<T> = values.into_iter().collect();
    let names = PossibleValuesParser::new(values.iter().map(|value| name(*value)));
    names.try_map(move |given| {
        let found = values.iter().find(|value| name(**value) == given);
        found.copied().ok_or("no such name")
    })
}
