//! What can be wrong with a run directory.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use minigpt_runtime::tokenizer::TokenizeError;

use crate::base::BaseError;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::device::DeviceError;
use crate::durable::Writing;
use crate::metrics::MetricsError;
use crate::run_config::{Difference, RunConfigError};
use crate::tokenizer;

/// Why a run cannot be begun or taken up again.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The settings are wrong.
    Settings(RunConfigError),
    /// The data is.
    Data(DataError),
    /// The tokenizer cannot be built or read.
    Tokenizer(tokenizer::Error),
    /// A text cannot be encoded.
    Encode {
        /// Name of the text.
        name: String,
        /// Why.
        error: TokenizeError,
    },
    /// The model to begin with is wrong.
    Base(BaseError),
    /// A tokenizer was to be kept, and there is none.
    NothingKept,
    /// A checkpoint is wrong.
    Checkpoint(CheckpointError),
    /// The record is.
    Metrics(MetricsError),
    /// A file or directory cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What should train it cannot.
    Device(DeviceError),
    /// Training takes more memory of the host than there is.
    Memory {
        /// What it is called.
        memory: &'static str,
        /// Bytes it takes at least.
        needed: u64,
        /// The same under another setting, and which.
        other: Option<(&'static str, u64)>,
        /// Bytes there are, where the system says.
        available: Option<u64>,
        /// What to do.
        advice: &'static str,
    },
    /// The system does not start as many threads.
    Threads {
        /// How many were asked for; 0 is one a core.
        threads: u32,
        /// What the system says.
        message: String,
    },
    /// A file of a run is not what it was.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// What should be read as a run is none.
    NoRun {
        /// Where.
        path: PathBuf,
    },
    /// A file cannot be understood.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What its parser says.
        message: String,
    },
    /// There is no run.
    Absent {
        /// Where.
        path: PathBuf,
    },
    /// There is a run that has not come to its first checkpoint.
    Untrained {
        /// Where.
        path: PathBuf,
    },
    /// There is something that is no run.
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// There is another run.
    Differs {
        /// Where.
        path: PathBuf,
        /// By what it differs from what was asked for.
        differences: Vec<Difference>,
        /// Whether what was asked for is the same run taken further.
        further: bool,
    },
}

impl RunError {
    pub(super) fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }

    /// Whether the caller asked for something impossible, as against a machine that failed.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Data(error) => error.is_misuse(),
            Self::Settings(_)
            | Self::Tokenizer(_)
            | Self::Encode { .. }
            | Self::Base(_)
            | Self::NothingKept
            | Self::Memory { .. }
            | Self::Threads { .. }
            | Self::NoRun { .. }
            | Self::Absent { .. }
            | Self::Untrained { .. }
            | Self::Foreign { .. }
            | Self::Differs { .. } => true,
            Self::Checkpoint(_)
            | Self::Metrics(_)
            | Self::Device(_)
            | Self::File { .. }
            | Self::Damaged { .. }
            | Self::Malformed { .. } => false,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Data(error) => error.fmt(f),
            Self::Tokenizer(error) => write!(f, "tokenizer: {error}"),
            Self::Encode {
                name,
                error: error @ TokenizeError::UnknownChar { .. },
            } => write!(
                f,
                "{name}: {error}; leave it out of the text, or give --tokenizer char, bpe or byte: the rows of \
                 the tokens are then learned anew"
            ),
            Self::Encode { name, error } => write!(f, "{name}: {error}"),
            Self::Base(error) => error.fmt(f),
            Self::NothingKept => f.write_str(
                "--tokenizer kept needs --from a run or a model file, which have one; a file .safetensors has none",
            ),
            Self::Checkpoint(error) => error.fmt(f),
            Self::Metrics(error) => error.fmt(f),
            Self::File { path, error } => {
                write!(f, "cannot use {}: {}", path.display(), Writing(error))
            }
            Self::Device(error) => error.fmt(f),
            Self::Memory {
                memory,
                needed,
                other,
                available,
                advice,
            } => {
                write!(f, "this needs at least {needed} bytes of {memory}")?;
                if let Some((setting, needed)) = other {
                    write!(f, ", {needed} {setting},")?;
                }
                f.write_str(" and there are ")?;
                match available {
                    Some(available) => write!(f, "{available}; {advice}"),
                    None => write!(f, "fewer; {advice}"),
                }
            }
            Self::Threads { threads, message } => write!(
                f,
                "cannot start {threads} threads: {message}; give fewer with --threads"
            ),
            Self::Damaged { path, message } => write!(
                f,
                "{} is damaged: {message}; train into a new --out",
                path.display()
            ),
            Self::NoRun { path } => write!(
                f,
                "{} is not the directory of a run; give one that minigpt train made",
                path.display()
            ),
            Self::Malformed { path, message } => {
                write!(f, "{}, {message}; correct that file", path.display())
            }
            Self::Absent { path } => write!(
                f,
                "there is no run in {}; begin one with minigpt train",
                path.display()
            ),
            Self::Untrained { path } => write!(
                f,
                "the run in {} has no checkpoint yet; go on with minigpt train --resume --out {0}",
                path.display()
            ),
            Self::Foreign { path } => write!(
                f,
                "{} exists and is no run directory; choose another --out",
                path.display()
            ),
            Self::Differs {
                path,
                differences,
                further,
            } => {
                write!(f, "{} holds another run: ", path.display())?;
                for (i, difference) in differences.iter().enumerate() {
                    let between = if i > 0 { ", " } else { "" };
                    write!(f, "{between}{difference}")?;
                }
                f.write_str("; choose another --out")?;
                if *further {
                    f.write_str(", or add --resume to take that run further")?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for RunError {}

impl From<RunConfigError> for RunError {
    fn from(error: RunConfigError) -> Self {
        Self::Settings(error)
    }
}

impl From<DataError> for RunError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<BaseError> for RunError {
    fn from(error: BaseError) -> Self {
        Self::Base(error)
    }
}

impl From<DeviceError> for RunError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<CheckpointError> for RunError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

impl From<MetricsError> for RunError {
    fn from(error: MetricsError) -> Self {
        Self::Metrics(error)
    }
}
