//! Models from where they are kept.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use minigpt_runtime::layout::{self, TensorSpec};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Base, BaseError, Stored, bare};
use crate::data::sources::{Fingerprint, hash};
use crate::inference::{ModelBytes, OpenError, read_rows};
use crate::params::shape;
use crate::run::Trained;
use crate::tokenizer::OwnedTokenizer;

/// The best weights of the run in the directory `path`.
pub(super) fn run(path: &Path) -> Result<Base, BaseError> {
    let trained = Trained::load(path).map_err(|error| BaseError::Run(Box::new(error)))?;
    let mut bytes = Vec::new();
    for value in trained.parameters.iter().flatten() {
        bytes.extend(value.to_le_bytes());
    }
    let tensors = layout::tensors(&trained.config).zip(trained.parameters);
    Ok(Base {
        fingerprint: fingerprint(path, &bytes),
        shape: Some(trained.config.hyperparameters()),
        tokenizer: Some(trained.tokenizer),
        tensors: tensors.map(named).collect(),
    })
}

/// The weights of a model file, as `f32` whatever its format.
pub(super) fn model(path: &Path) -> Result<Base, BaseError> {
    let failed = |error| BaseError::Model {
        path: path.to_owned(),
        error,
    };
    let bytes = ModelBytes::open(path).map_err(|error| match error {
        OpenError::Read(error) => BaseError::Read {
            path: path.to_owned(),
            error,
        },
        error => failed(error),
    })?;
    let file = bytes.file();
    let file = file.map_err(|error| failed(OpenError::Load(error)))?;
    let tensors = layout::tensors(file.config()).map(|spec| {
        let mut values = Vec::with_capacity(spec.len());
        read_rows(&file, spec.id, |_, row| values.extend_from_slice(row));
        named((spec, values))
    });
    let tokenizer = OwnedTokenizer::new(&file.header().tokenizer);
    Ok(Base {
        fingerprint: fingerprint(path, bytes.bytes()),
        shape: Some(file.config().hyperparameters()),
        tokenizer: Some(tokenizer.expect("an opened file has a tokenizer that is valid")),
        tensors: tensors.collect(),
    })
}

/// A tensor of the layout under its name.
fn named((spec, values): (TensorSpec, Vec<f32>)) -> (String, Stored) {
    let shape = shape(&spec);
    (spec.id.to_string(), Stored { shape, values })
}

/// The tensors of floats of a file `.safetensors`.
pub(super) fn safetensors(path: &Path) -> Result<Base, BaseError> {
    let bytes = fs::read(path).map_err(|error| BaseError::Read {
        path: path.to_owned(),
        error,
    })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| BaseError::Safetensors {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let tensors = file.iter().filter_map(|(name, view)| {
        let values = floats(&view)?;
        let shape = view.shape().to_vec();
        Some((bare(name).to_owned(), Stored { shape, values }))
    });
    Ok(Base {
        tensors: tensors.collect(),
        fingerprint: fingerprint(path, &bytes),
        shape: None,
        tokenizer: None,
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

fn fingerprint(path: &Path, bytes: &[u8]) -> Fingerprint {
    Fingerprint {
        path: path.display().to_string(),
        bytes: bytes.len() as u64,
        xxh64: hash(bytes),
    }
}
