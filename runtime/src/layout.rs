//! The one tensor table: which tensors a model has, in which order, of which shape.
//!
//! Loader, exporter, optimiser and importers loop over [`tensors`]; no second list exists. Names
//! are GPT-2's. All matrices are `[out, in]`, row-major.

mod tensor;

use core::fmt;

pub use self::tensor::Tensor;
use self::tensor::{BACK, FRONT, LAYER};
use crate::config::Config;
use crate::quant::Format;

/// Every tensor starts at a multiple of this many bytes from the start of the weights.
pub const ALIGNMENT: usize = 16;

/// What a tensor is for: matrices are stored in the file's format and decay, vectors are `f32`
/// and do not decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Rows that are multiplied or looked up.
    Matrix,
    /// A norm's weight or a bias: one row.
    Vector,
}

/// A tensor of a model: which one, in which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct TensorId {
    /// Which tensor.
    pub tensor: Tensor,
    /// Its layer; 0 for those outside the layers.
    pub layer: usize,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorSpec {
    /// Which tensor.
    pub id: TensorId,
    /// Outputs, or 1 for a vector.
    pub rows: usize,
    /// Inputs, or the length of a vector.
    pub cols: usize,
    /// Matrix or vector.
    pub role: Role,
}

impl TensorId {
    /// A tensor of layer `layer`, or outside the layers with `layer` 0.
    #[must_use]
    pub const fn new(tensor: Tensor, layer: usize) -> Self {
        Self { tensor, layer }
    }
}

impl fmt::Display for TensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tensor.in_layer() {
            write!(f, "h.{}.", self.layer)?;
        }
        f.write_str(self.tensor.name())
    }
}

impl TensorSpec {
    /// Number of values: `rows * cols`; where that is beyond a `usize`, which only a target of 32
    /// bits can meet, the largest `usize`, of which no buffer is made.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// Never: no tensor is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes this tensor takes in a file of `format`, the padding up to [`ALIGNMENT`] included.
    #[must_use]
    pub const fn bytes(&self, format: Format) -> u64 {
        let last = ALIGNMENT as u64 - 1;
        (self.stored_bytes(format) + last) & !last
    }

    /// How this tensor is stored in a file of `format`: vectors are always `f32`.
    #[must_use]
    pub const fn stored_format(&self, format: Format) -> Format {
        match self.role {
            Role::Matrix => format,
            Role::Vector => Format::F32,
        }
    }

    /// [`Self::bytes`] without the padding.
    #[must_use]
    pub const fn stored_bytes(&self, format: Format) -> u64 {
        self.stored_format(format)
            .matrix_bytes(self.rows, self.cols)
    }
}

/// All tensors of a model, in the order of the file.
pub fn tensors(config: &Config) -> impl Iterator<Item = TensorSpec> + Clone + use<> {
    let config = *config;
    let outside = |tensor: &Tensor| TensorId::new(*tensor, 0);
    FRONT
        .iter()
        .map(outside)
        .chain((0..config.n_layer()).flat_map(|layer| {
            LAYER
                .iter()
                .map(move |tensor| TensorId::new(*tensor, layer))
        }))
        .chain(BACK.iter().map(outside))
        .filter_map(move |id| spec(&config, id))
}

/// The row of the table for `id`, or `None` where `config` has no such tensor or no such layer.
#[must_use]
pub const fn spec(config: &Config, id: TensorId) -> Option<TensorSpec> {
    let layers = if id.tensor.in_layer() {
        config.n_layer()
    } else {
        1
    };
    if id.layer >= layers {
        return None;
    }
    match id.tensor.shape(config) {
        Some((rows, cols, role)) => Some(TensorSpec {
            id,
            rows,
            cols,
            role,
        }),
        None => None,
    }
}

/// Where the tensors lie in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    /// Bytes before each tensor, in the first layer where it is in a layer.
    pub(crate) first: [u64; Tensor::ALL.len()],
    /// Bytes from a tensor of one layer to that of the next.
    pub(crate) layer: u64,
    /// Bytes of all.
    pub(crate) total: u64,
}

impl Offsets {
    /// Of a file of `format`.
    pub(crate) const fn new(config: &Config, format: Format) -> Self {
        let mut offsets = Self {
            first: [0; Tensor::ALL.len()],
            layer: 0,
            total: 0,
        };
        let mut i = 0;
        while i < Tensor::ALL.len() {
            if i == FRONT.len() + LAYER.len() {
                offsets.layer = offsets.total - offsets.first[FRONT.len()];
                offsets.total += (config.n_layer() as u64 - 1) * offsets.layer;
            }
            offsets.first[i] = offsets.total;
            if let Some(spec) = spec(config, TensorId::new(Tensor::ALL[i], 0)) {
                offsets.total += spec.bytes(format);
            }
            i += 1;
        }
        offsets
    }
}

/// How many of `group` exist, up to `end` (all of them if `end` is not there).
const fn count(config: &Config, group: &[Tensor], end: Tensor) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < group.len() && group[i] as u8 != end as u8 {
        if spec(config, TensorId::new(group[i], 0)).is_some() {
            count += 1;
        }
        i += 1;
    }
    count
}

/// Index of `id`, which [`spec`] knows, in [`tensors`].
#[must_use]
pub const fn index(config: &Config, id: TensorId) -> usize {
    let front = count(config, &FRONT, id.tensor);
    let layer = count(config, &LAYER, id.tensor);
    if matches!(id.tensor, Tensor::Wte | Tensor::Wpe) {
        front
    } else if id.tensor.in_layer() {
        front + id.layer * count(config, &LAYER, Tensor::Wte) + layer
    } else {
        front + config.n_layer() * layer + count(config, &BACK, id.tensor)
    }
}

/// Bytes from the start of the weights to `id`, which [`spec`] knows, in a file of `format`.
#[must_use]
pub const fn offset(config: &Config, id: TensorId, format: Format) -> u64 {
    let offsets = Offsets::new(config, format);
    offsets.first[id.tensor as usize] + id.layer as u64 * offsets.layer
}

/// Bytes of all weights in a file of `format`.
#[must_use]
pub const fn weights_bytes(config: &Config, format: Format) -> u64 {
    Offsets::new(config, format).total
}

/// Number of trained values in the model.
#[must_use]
pub fn n_params(config: &Config) -> u64 {
    tensors(config)
        .map(|spec| spec.rows as u64 * spec.cols as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::config::{Hyperparameters, Mlp, Norm, Positions};

    fn every_shape() -> impl Iterator<Item = Config> {
        (0..24).map(|i| {
            Config::new(Hyperparameters {
                n_vocab: 65 + i,
                n_ctx: 7,
                n_embd: 36,
                n_head: 6,
                n_head_kv: 3,
                n_layer: 1 + i % 3,
                n_ff: 33,
                positions: if i % 2 == 0 {
                    Positions::Learned
                } else {
                    Positions::Rope
                },
                rope_theta: 10000.0,
                norm: if i % 3 == 0 {
                    Norm::LayerNorm
                } else {
                    Norm::RmsNorm
                },
                mlp: if i % 5 == 0 { Mlp::Swiglu } else { Mlp::Gelu },
                bias: i % 4 < 2,
                tied_head: i % 7 < 3,
            })
            .unwrap()
        })
    }

    #[test]
    fn index_and_offset_agree_with_the_list() {
        for config in every_shape() {
            for format in Format::ALL {
                let mut offset_here = 0;
                for (i, spec) in tensors(&config).enumerate() {
                    assert_eq!(index(&config, spec.id), i, "{}", spec.id);
                    assert_eq!(offset(&config, spec.id, format), offset_here, "{}", spec.id);
                    offset_here += spec.bytes(format);
                }
                assert_eq!(weights_bytes(&config, format), offset_here);
            }
        }
    }

    #[test]
    fn what_is_not_there_is_none() {
        let config = every_shape().next().unwrap();
        let has = |tensor, layer| spec(&config, TensorId::new(tensor, layer)).is_some();
        assert!(has(Tensor::CFcWeight, config.n_layer() - 1));
        assert!(!has(Tensor::CFcWeight, config.n_layer()));
        assert!(!has(Tensor::CFcWeight, usize::MAX));
        assert!(has(Tensor::Wte, 0) && !has(Tensor::Wte, 1));
        assert!(has(Tensor::LmHead, 0) != config.tied_head());
    }

    #[test]
    fn gpt2_has_its_names_and_its_size() {
        let config = Config::new(Hyperparameters {
            n_vocab: 50257,
            n_ctx: 1024,
            n_embd: 768,
            n_head: 12,
            n_head_kv: 12,
            n_layer: 12,
            n_ff: 3072,
            positions: Positions::Learned,
            rope_theta: 10000.0,
            norm: Norm::LayerNorm,
            mlp: Mlp::Gelu,
            bias: true,
            tied_head: true,
        })
        .unwrap();
        assert_eq!(n_params(&config), 124_439_808);
        let names: Vec<_> = tensors(&config).map(|spec| spec.id.to_string()).collect();
        assert_eq!(names.len(), 148);
        assert_eq!(
            (names[0].as_str(), names[147].as_str()),
            ("wte.weight", "ln_f.bias")
        );
        assert_eq!(names[2 + 12 * 3 + 2], "h.3.attn.c_attn.weight");
    }
}
