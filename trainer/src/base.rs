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
    /// Its shape, where it says so itself.
    pub shape: Option<Hyperparameters>,
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
        let safetensors = path
            .extension()
            .is_some_and(|extension| extension == "safetensors");
        if path.is_dir() {
            read::run(path)
        } else if safetensors {
            read::safetensors(path)
        } else {
            read::model(path)
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(&self.fingerprint.path)
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
