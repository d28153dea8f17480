//! What the library is to say: the texts of `tests/data/capi.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::boards;

/// The models of the texts.
pub(super) const MODELS: &str = "tests/data/format";

#[derive(Deserialize)]
struct Texts {
    text: Vec<Text>,
}

/// A text and how it comes about.
#[derive(Deserialize)]
pub(super) struct Text {
    model: String,
    pub(super) prompt: String,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    pub(super) seed: u64,
    pub(super) max_tokens: u64,
    pub(super) text: String,
}

impl Text {
    /// The path of its model.
    pub(super) fn model(&self) -> PathBuf {
        Path::new(MODELS).join(&self.model)
    }

    /// That `who` said this text and the end of a line.
    pub(super) fn compare(&self, who: &str, said: &str) -> Result<(), String> {
        let expected = format!("{}\n", self.text);
        if said == expected {
            return Ok(());
        }
        let model = &self.model;
        Err(format!("{who}: {model} says {said:?} and not {expected:?}"))
    }
}

/// All texts; at least one.
pub(super) fn all() -> Result<Vec<Text>, String> {
    let path = Path::new("tests/data/capi.toml");
    let texts: Texts = boards::read(path)?;
    if texts.text.is_empty() {
        return Err(format!("{} has no text", path.display()));
    }
    Ok(texts.text)
}
