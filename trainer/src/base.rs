//! Another model's weights to begin with: where they come from, and how they are laid into a model.

mod error;
mod fit;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::Hyperparameters;

use crate::data::sources::Fingerprint;
use crate::tokenizer::OwnedTokenizer;

pub use error::{BaseError, Shown};
pub use fit::{Fate, Fitted, Row};

/// Prefixes that programs put before the names of a model's tensors: those of PyTorch's parallel and
/// compiled models, and of GPT-2's own in nanoGPT and Hugging Face's checkpoints.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "transformer."];

/// A model whose weights another one begins with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Base {
    /// Where it is and what identifies its weights.
    pub fingerprint: Fingerprint,
    /// Its tokenizer, where it has one.
    pub tokenizer: Option<OwnedTokenizer>,
    /// Its tensors by their names without [`PREFIXES`].
    tensors: BTreeMap<String, Stored>,
}

/// A tensor with its shape.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Base {
    /// Reads a run directory (its best weights), a file `.safetensors`, or a model file.
    ///
    /// # Errors
    /// A [`BaseError`] that says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, BaseError> {
        match Kind::of(path) {
            Kind::Run => read::run(path),
            Kind::Safetensors => read::safetensors(path),
            Kind::Model => read::model(path),
        }
    }

    /// The shape of what [`Self::open`] reads, without its weights, where it says so itself. What does so has a
    /// tokenizer too.
    ///
    /// # Errors
    /// A [`BaseError`] that says what is wrong with it.
    pub fn shape_of(path: &Path) -> Result<Option<Hyperparameters>, BaseError> {
        match Kind::of(path) {
            Kind::Run => read::run_shape(path).map(Some),
            Kind::Safetensors => read::check_safetensors(path).map(|()| None),
            Kind::Model => read::model_shape(path).map(Some),
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(&self.fingerprint.path)
    }
}

/// How a model is kept.
enum Kind {
    Run,
    Safetensors,
    Model,
}

impl Kind {
    /// Of what is at `path`.
    fn of(path: &Path) -> Self {
        match path.extension() {
            _ if path.is_dir() => Self::Run,
            Some(extension) if extension == "safetensors" => Self::Safetensors,
            _ => Self::Model,
        }
    }
}

/// `name` without any of [`PREFIXES`].
fn bare(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests;
