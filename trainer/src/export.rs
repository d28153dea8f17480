//! From trained values to a model file.

use core::fmt;

use minigpt_runtime::Config;
use minigpt_runtime::format::{self, Header, WriteError};
use minigpt_runtime::layout::{self, TensorId};

use crate::aligned::AlignedBytes;
use crate::inference::ModelBytes;

/// Why values are not a model file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ExportError {
    /// A value is NaN or infinite.
    NotFinite {
        /// Where.
        tensor: TensorId,
        /// Its index, row by row.
        index: usize,
    },
    /// A tensor has the wrong number of values.
    Length {
        /// Which.
        tensor: TensorId,
        /// Its values by the table.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// There is no memory for the file.
    Memory {
        /// Its size.
        bytes: u64,
    },
    /// The header is wrong.
    Write(WriteError),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { tensor, index } => write!(
                f,
                "value {index} of {tensor} is not a finite number; export an earlier checkpoint"
            ),
            Self::Length {
                tensor,
                needed,
                given,
            } => write!(f, "{tensor} has {given} values and needs {needed}"),
            Self::Memory { bytes } => {
                write!(
                    f,
                    "the model file has {bytes} bytes and there is no memory for them"
                )
            }
            Self::Write(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ExportError {}

impl From<WriteError> for ExportError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// Makes a model file of `header` and `parameters`, one array a tensor in the order of
/// [`layout::tensors`].
///
/// # Errors
/// An [`ExportError`] that names the tensor.
pub fn export(header: &Header<'_>, parameters: &[Vec<f32>]) -> Result<ModelBytes, ExportError> {
    let config = header.config().map_err(WriteError::Header)?;
    check(&config, parameters)?;
    let bytes = format::file_bytes(header)?;
    let memory = usize::try_from(bytes).ok().and_then(AlignedBytes::zeroed);
    let mut memory = memory.ok_or(ExportError::Memory { bytes })?;
    let mut values = parameters.iter();
    format::write::<ExportError>(memory.bytes_mut(), header, |spec, place| {
        if let Some(values) = values.next() {
            let format = spec.stored_format(header.format);
            format.encode(place, values, spec.cols);
        }
        Ok(())
    })?;
    Ok(ModelBytes::Owned(memory))
}

fn check(config: &Config, parameters: &[Vec<f32>]) -> Result<(), ExportError> {
    for (i, spec) in layout::tensors(config).enumerate() {
        let values = parameters.get(i).map_or(&[][..], Vec::as_slice);
        if values.len() != spec.len() {
            return Err(ExportError::Length {
                tensor: spec.id,
                needed: spec.len(),
                given: values.len(),
            });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let tensor = spec.id;
            return Err(ExportError::NotFinite { tensor, index });
        }
    }
    Ok(())
}
