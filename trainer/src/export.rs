//! From trained values to a model file.

use core::fmt;

use minigpt_runtime::format::{self, Header, Metadata, WriteError};
use minigpt_runtime::layout::{self, Role, TensorId, TensorSpec};
use minigpt_runtime::quant::reorder;
use minigpt_runtime::{Config, Format, ModelFile};

use crate::aligned::AlignedBytes;
use crate::inference::{ModelBytes, read_rows};

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
    /// Matrices that cannot be put into the order of [`Format::Q8Dsp`].
    Order {
        /// One that holds an integer of -128, which minigpt never writes; `None` if the matrices are not
        /// `q8`.
        tensor: Option<TensorId>,
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
            Self::Order { tensor: None } => f.write_str(
                "only q8 has another order; export the model with --format q8 or q8-dsp",
            ),
            Self::Order {
                tensor: Some(tensor),
            } => write!(
                f,
                "{tensor} holds -128, which q8-dsp has no place for; export the model again"
            ),
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

/// The same model with its `q8` matrices in the order of [`Format::Q8Dsp`]: every number stays, so the
/// texts stay.
///
/// # Errors
/// [`ExportError::Order`] if the matrices are not `q8`, or hold what that order has no place for.
pub fn reordered(file: &ModelFile<'_>) -> Result<ModelBytes, ExportError> {
    let header = Header {
        format: Format::Q8Dsp,
        ..*file.header()
    };
    if file.format() != Format::Q8 {
        return Err(ExportError::Order { tensor: None });
    }
    copied(file, &header, |spec, place, stored| match spec.role {
        Role::Matrix => {
            let reordered = reorder(place, stored, spec.rows, spec.cols);
            let tensor = Some(spec.id);
            reordered.map_err(|_| ExportError::Order { tensor })
        }
        _ => {
            place.copy_from_slice(stored);
            Ok(())
        }
    })
}

/// The same model with its matrices as `format`.
///
/// What the file's own format rounded stays rounded. From `q8` to [`Format::Q8Dsp`] every number stays.
///
/// # Errors
/// An [`ExportError`] that names the tensor.
pub fn converted(file: &ModelFile<'_>, format: Format) -> Result<ModelBytes, ExportError> {
    if (file.format(), format) == (Format::Q8, Format::Q8Dsp) {
        return reordered(file);
    }
    let header = Header {
        format,
        ..*file.header()
    };
    copied(file, &header, |spec, place, stored| {
        let format = spec.stored_format(format);
        if format == spec.stored_format(file.format()) {
            place.copy_from_slice(stored);
            return Ok(());
        }
        let mut values = Vec::with_capacity(spec.len());
        read_rows(file, spec.id, |_, row| values.extend_from_slice(row));
        check_tensor(spec, &values)?;
        format.encode(place, &values, spec.cols);
        Ok(())
    })
}

/// The same model with other metadata.
///
/// # Errors
/// [`ExportError::Memory`] if there is none for the file.
pub fn with_metadata(
    file: &ModelFile<'_>,
    metadata: Metadata<'_>,
) -> Result<ModelBytes, ExportError> {
    let header = Header {
        metadata,
        ..*file.header()
    };
    copied(file, &header, |_, place, stored| {
        place.copy_from_slice(stored);
        Ok(())
    })
}

/// A file of `header` whose tensors `fill` makes of the bytes stored in `file`.
fn copied(
    file: &ModelFile<'_>,
    header: &Header<'_>,
    fill: impl Fn(&TensorSpec, &mut [u8], &[u8]) -> Result<(), ExportError>,
) -> Result<ModelBytes, ExportError> {
    let bytes = format::file_bytes(header)?;
    let memory = usize::try_from(bytes).ok().and_then(AlignedBytes::zeroed);
    let mut memory = memory.ok_or(ExportError::Memory { bytes })?;
    format::write::<ExportError>(memory.bytes_mut(), header, |spec, place| {
        fill(spec, place, file.stored(spec.id).unwrap_or_default())
    })?;
    Ok(ModelBytes::Owned(memory))
}

fn check(config: &Config, parameters: &[Vec<f32>]) -> Result<(), ExportError> {
    for (i, spec) in layout::tensors(config).enumerate() {
        check_tensor(&spec, parameters.get(i).map_or(&[], Vec::as_slice))?;
    }
    Ok(())
}

fn check_tensor(spec: &TensorSpec, values: &[f32]) -> Result<(), ExportError> {
    let tensor = spec.id;
    if values.len() != spec.len() {
        return Err(ExportError::Length {
            tensor,
            needed: spec.len(),
            given: values.len(),
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(ExportError::NotFinite { tensor, index }),
        None => Ok(()),
    }
}
