//! Models from where they are kept.

use std::io;
use std::path::Path;

use half::{bf16, f16};
use minigpt_runtime::ModelFile;
use minigpt_runtime::config::Hyperparameters;
use minigpt_runtime::layout::{self, TensorSpec};
use pulp::bytemuck;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Base, BaseError, Stored, bare};
use crate::data::sources::{Fingerprint, Hasher, hash};
use crate::inference::{ModelBytes, OpenError, read_rows};
use crate::mapped::Mapped;
use crate::params::shape;
use crate::run::{RunError, Trained};
use crate::tokenizer::OwnedTokenizer;

/// The best weights of the run in the directory `path`.
pub(super) fn run(path: &Path) -> Result<Base, BaseError> {
    let trained = Trained::load(path).map_err(of_run)?;
    let mut hasher = Hasher::default();
    for values in &trained.parameters {
        hasher.update(bytemuck::cast_slice(values));
    }
    let bytes = layout::n_params(&trained.config) * size_of::<f32>() as u64;
    let tensors = layout::tensors(&trained.config).zip(trained.parameters);
    Ok(Base {
        fingerprint: fingerprint(path, bytes, hasher.finish()),
        tokenizer: Some(trained.tokenizer),
        tensors: tensors.map(named).collect(),
    })
}

/// The shape of the run in the directory `path`, which has a checkpoint.
pub(super) fn run_shape(path: &Path) -> Result<Hyperparameters, BaseError> {
    let config = Trained::config(path).map_err(of_run)?;
    Ok(config.hyperparameters())
}

fn of_run(error: RunError) -> BaseError {
    BaseError::Run(Box::new(error))
}

/// The weights of a model file, as `f32` whatever its format.
pub(super) fn model(path: &Path) -> Result<Base, BaseError> {
    let bytes = model_bytes(path)?;
    let file = model_file(path, &bytes)?;
    let tensors = layout::tensors(file.config()).map(|spec| {
        let mut values = Vec::with_capacity(spec.len());
        read_rows(&file, spec.id, |_, row| values.extend_from_slice(row));
        named((spec, values))
    });
    let tokenizer = OwnedTokenizer::new(&file.header().tokenizer);
    Ok(Base {
        fingerprint: of_bytes(path, bytes.bytes()),
        tokenizer: Some(tokenizer.expect("an opened file has a tokenizer that is valid")),
        tensors: tensors.collect(),
    })
}

/// The shape of a model file.
pub(super) fn model_shape(path: &Path) -> Result<Hyperparameters, BaseError> {
    let bytes = model_bytes(path)?;
    Ok(model_file(path, &bytes)?.config().hyperparameters())
}

fn model_bytes(path: &Path) -> Result<ModelBytes, BaseError> {
    ModelBytes::open(path).map_err(|error| match error {
        OpenError::Read(error) => unreadable(path, error),
        error => no_model(path, error),
    })
}

fn model_file<'a>(path: &Path, bytes: &'a ModelBytes) -> Result<ModelFile<'a>, BaseError> {
    let file = bytes.file();
    file.map_err(|error| no_model(path, OpenError::Load(error)))
}

fn no_model(path: &Path, error: OpenError) -> BaseError {
    BaseError::Model {
        path: path.to_owned(),
        error,
    }
}

fn unreadable(path: &Path, error: io::Error) -> BaseError {
    BaseError::Read {
        path: path.to_owned(),
        error,
    }
}

/// A tensor of the layout under its name.
fn named((spec, values): (TensorSpec, Vec<f32>)) -> (String, Stored) {
    let shape = shape(&spec);
    (spec.id.to_string(), Stored { shape, values })
}

/// The tensors of floats of a file `.safetensors`.
pub(super) fn safetensors(path: &Path) -> Result<Base, BaseError> {
    let bytes = mapped(path)?;
    let file = parsed(path, &bytes)?;
    let tensors = file.iter().filter_map(|(name, view)| {
        let values = floats(&view)?;
        let shape = view.shape().to_vec();
        Some((bare(name).to_owned(), Stored { shape, values }))
    });
    Ok(Base {
        tensors: tensors.collect(),
        fingerprint: of_bytes(path, &bytes),
        tokenizer: None,
    })
}

/// Whether the file at `path` is one of safetensors.
pub(super) fn check_safetensors(path: &Path) -> Result<(), BaseError> {
    parsed(path, &mapped(path)?).map(|_| ())
}

fn mapped(path: &Path) -> Result<Mapped, BaseError> {
    Mapped::open(path).map_err(|error| unreadable(path, error))
}

fn parsed<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, BaseError> {
    SafeTensors::deserialize(bytes).map_err(|error| BaseError::Safetensors {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The values of `view`, if they are floats that a model may be kept in.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let (wide, _) = view.data().as_chunks::<4>();
    let (narrow, _) = view.data().as_chunks::<2>();
    match view.dtype() {
        Dtype::F32 => Some(wide.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Some(
            narrow
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
        ),
        Dtype::BF16 => Some(
            narrow
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// What identifies the file at `path`, which has `bytes`.
fn of_bytes(path: &Path, bytes: &[u8]) -> Fingerprint {
    fingerprint(path, bytes.len() as u64, hash(bytes))
}

fn fingerprint(path: &Path, bytes: u64, xxh64: String) -> Fingerprint {
    Fingerprint {
        path: path.display().to_string(),
        bytes,
        xxh64,
    }
}
