//! Arrays of the layout to and from safetensors.

use std::io;
use std::path::Path;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, TensorSpec};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::CheckpointError;
use crate::params::shape;

/// Groups of arrays, each with what stands before its names; empty arrays are left out.
pub(super) fn encode(config: &Config, groups: &[(&str, &Vec<Vec<f32>>)]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (prefix, arrays) in groups {
        assert_eq!(arrays.len(), layout::tensors(config).count());
        let arrays = layout::tensors(config).zip(*arrays);
        for (spec, array) in arrays.filter(|(_, array)| !array.is_empty()) {
            bytes.push((
                format!("{prefix}{}", spec.id),
                shape(&spec),
                to_bytes(array),
            ));
        }
    }
    let views = bytes.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(io::Error::other)?;
    safetensors::serialize(views, None).map_err(io::Error::other)
}

/// The arrays of one group of the file at `path`, which has `bytes`.
pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    config: &Config,
    prefix: &str,
) -> Result<Vec<Vec<f32>>, CheckpointError> {
    decode_some(path, bytes, config, prefix, |_| true)
}

/// [`decode`], where only tensors that are `wanted` are in the file; the other arrays are empty.
pub(super) fn decode_some(
    path: &Path,
    bytes: &[u8],
    config: &Config,
    prefix: &str,
    wanted: impl Fn(&TensorSpec) -> bool,
) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| CheckpointError::Malformed {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let arrays = layout::tensors(config)
        .map(|spec| match wanted(&spec) {
            true => array(path, &file, &spec, prefix),
            false => Ok(Vec::new()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let needed = arrays.iter().filter(|array| !array.is_empty()).count();
    let names = file.names();
    let found = names.iter().filter(|name| name.starts_with(prefix)).count();
    if found == needed {
        Ok(arrays)
    } else {
        Err(CheckpointError::Surplus {
            path: path.to_owned(),
            found,
            needed,
        })
    }
}

fn array(
    path: &Path,
    file: &SafeTensors<'_>,
    spec: &TensorSpec,
    prefix: &str,
) -> Result<Vec<f32>, CheckpointError> {
    let tensor = format!("{prefix}{}", spec.id);
    let Ok(view) = file.tensor(&tensor) else {
        return Err(CheckpointError::Absent {
            path: path.to_owned(),
            tensor,
        });
    };
    if view.dtype() != Dtype::F32 || view.shape() != shape(spec) {
        return Err(CheckpointError::Shape {
            path: path.to_owned(),
            tensor,
            found: view.shape().to_vec(),
            needed: shape(spec),
        });
    }
    let values = view.data().chunks_exact(4);
    Ok(values
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect())
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
