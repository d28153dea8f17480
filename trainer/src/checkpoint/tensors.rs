//! Arrays of the layout to and from safetensors files, of which no more than one array is in memory.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;
use pulp::bytemuck;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use super::{CheckpointError, Failed, Source, Take};
use crate::data::sources::Hasher;
use crate::model::Part;
use crate::optimizer::{Method, Rule};
use crate::params::shape;

/// The header of a file and its length are multiples of this, filled up with spaces.
const ALIGNMENT: usize = 8;

/// An array in a file.
pub(super) struct Entry {
    name: String,
    part: Part,
    /// Number of the tensor in the layout.
    index: usize,
    shape: Vec<usize>,
}

impl Entry {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The arrays that a file of `parts` holds, in the order of the layout; where `method` keeps no second
/// moments of a tensor there is no array.
pub(super) fn entries(config: &Config, parts: &[Part], method: Method) -> Vec<Entry> {
    let mut entries = Vec::new();
    for &part in parts {
        for (index, spec) in layout::tensors(config).enumerate() {
            let rule = Rule::of(&spec, config, method);
            if part == Part::SecondMoments && rule.second_len(spec.len()) == 0 {
                continue;
            }
            entries.push(Entry {
                name: format!("{}{}", prefix(part), spec.id),
                part,
                index,
                shape: shape(&spec),
            });
        }
    }
    entries
}

/// What stands before the names of tensors.
const fn prefix(part: Part) -> &'static str {
    match part {
        Part::Parameters | Part::Average => "",
        Part::FirstMoments => "first.",
        Part::SecondMoments => "second.",
    }
}

/// Writes `entries` of `source` to `file`, byte for byte what [`safetensors::serialize`] makes of them, and
/// returns the hash of all.
///
/// [`safetensors::serialize_to_file`] has no place for a hash, and its files are for their owner alone.
pub(super) fn write(
    file: &mut dyn Write,
    mut entries: Vec<Entry>,
    source: &dyn Source,
) -> Result<String, Failed> {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = Hasher::default();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        file.write_all(bytes)
    };
    put(&header(&entries)?)?;
    for entry in &entries {
        let values = source.read(entry.part, entry.index)?;
        assert_eq!(values.len(), entry.len(), "values of {}", entry.name);
        // Little-endian as the format: the runtime compiles for nothing else.
        put(bytemuck::cast_slice(&values))?;
    }
    Ok(hasher.finish())
}

/// Length and text of what stands before the numbers.
fn header(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let infos = entries.iter().map(|entry| {
        let start = end;
        end += entry.len() * size_of::<f32>();
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        (entry.name.clone(), info)
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
    let mut text = serde_json::to_vec(&metadata)?;
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(header)
}

/// Gives `take` all `entries` of the file at `path`, which has `bytes`.
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    entries: &[Entry],
    take: &mut Take<'_>,
) -> Result<(), CheckpointError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| CheckpointError::Malformed {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let arrays = entries.iter().map(|entry| array(path, &file, entry));
    let arrays: Vec<_> = arrays.collect::<Result<_, _>>()?;
    if file.len() != entries.len() {
        return Err(CheckpointError::Surplus {
            path: path.to_owned(),
            found: file.len(),
            needed: entries.len(),
        });
    }
    for (entry, bytes) in entries.iter().zip(arrays) {
        take(entry.part, entry.index, &floats(bytes)).map_err(CheckpointError::Device)?;
    }
    Ok(())
}

/// The bytes of `entry`, if it is what the model needs.
fn array<'a>(
    path: &Path,
    file: &SafeTensors<'a>,
    entry: &Entry,
) -> Result<&'a [u8], CheckpointError> {
    let Ok(view) = file.tensor(&entry.name) else {
        return Err(CheckpointError::Absent {
            path: path.to_owned(),
            tensor: entry.name.clone(),
        });
    };
    if view.dtype() != Dtype::F32 || view.shape() != entry.shape {
        return Err(CheckpointError::Shape {
            path: path.to_owned(),
            tensor: entry.name.clone(),
            found: view.shape().to_vec(),
            needed: entry.shape.clone(),
        });
    }
    Ok(view.data())
}

/// `bytes` as numbers; where they lie, as they do in files of ours, at multiples of four they are not copied.
fn floats(bytes: &[u8]) -> Cow<'_, [f32]> {
    let (chunks, _) = bytes.as_chunks();
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => Cow::Borrowed(values),
        Err(_) => chunks.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}
