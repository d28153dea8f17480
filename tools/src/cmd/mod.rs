//! One file per subcommand: its arguments and what it does.

pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod train;

use std::path::Path;

use minigpt_trainer::inference::{ModelBytes, OpenError};

use crate::failure::Failure;

/// Maps and checks the model file at `path`.
fn open_model(path: &Path) -> Result<ModelBytes, Failure> {
    ModelBytes::open(path).map_err(|error| match error {
        OpenError::Read(error) => Failure::reading(path, &error),
        error => Failure::with(path, error),
    })
}
