//! Which rule each tensor follows.

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{Role, Tensor, TensorSpec};
use serde::{Deserialize, Serialize};

/// How a model is updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// [`super::AdamW`] everywhere.
    #[default]
    AdamW,
    /// [`super::Muon`] for the matrices of the blocks, [`super::AdamW`] for embeddings, head, norms
    /// and biases.
    Muon,
}

/// How one tensor is updated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "backends must decide on every rule"
)]
pub enum Rule {
    /// [`super::AdamW`].
    AdamW {
        /// Whether the tensor decays.
        decays: bool,
    },
    /// [`super::Muon`], on each matrix apart of those that the tensor holds one below the other.
    Muon {
        /// Rows of each matrix.
        rows: Vec<usize>,
        /// Columns of all.
        cols: usize,
    },
}

impl Rule {
    /// The rule of the tensor `spec` of a model of shape `config` under `method`.
    ///
    /// Queries, keys and values are matrices of their own, and so are gate and up of swiglu.
    #[must_use]
    pub fn of(spec: &TensorSpec, config: &Config, method: Method) -> Self {
        let rows = match (method, spec.id.tensor) {
            (Method::Muon, Tensor::CAttnWeight) => {
                let n_kv = (config.n_qkv() - config.n_embd()) / 2;
                vec![config.n_embd(), n_kv, n_kv]
            }
            (Method::Muon, Tensor::CFcWeight) => {
                vec![config.n_ff(); config.n_fc() / config.n_ff()]
            }
            (Method::Muon, Tensor::AttnProjWeight | Tensor::MlpProjWeight) => vec![spec.rows],
            _ => {
                let decays = spec.role == Role::Matrix;
                return Self::AdamW { decays };
            }
        };
        let cols = spec.cols;
        Self::Muon { rows, cols }
    }

    /// Second moments that it keeps of a tensor of `len` values.
    #[must_use]
    pub const fn second_len(&self, len: usize) -> usize {
        match self {
            Self::AdamW { .. } => len,
            Self::Muon { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
    use minigpt_runtime::layout;

    #[test]
    fn muon_has_the_matrices_of_the_blocks_in_parts() {
        let config = Config::new(Hyperparameters {
            n_vocab: 29,
            n_ctx: 40,
            n_embd: 24,
            n_head: 4,
            n_head_kv: 2,
            n_layer: 2,
            n_ff: 50,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            norm: Norm::LayerNorm,
            mlp: Mlp::Swiglu,
            bias: true,
            tied_head: false,
        });
        let config = config.unwrap();
        let mut parts = Vec::new();
        for spec in layout::tensors(&config) {
            let adamw = Rule::of(&spec, &config, Method::AdamW);
            let decays = spec.role == Role::Matrix;
            assert_eq!(adamw, Rule::AdamW { decays });
            assert_eq!(adamw.second_len(spec.len()), spec.len());
            let muon = Rule::of(&spec, &config, Method::Muon);
            if let Rule::Muon { rows, cols } = &muon {
                assert_eq!(rows.iter().sum::<usize>() * cols, spec.len());
                assert_eq!(muon.second_len(spec.len()), 0);
                parts.push((rows.clone(), *cols));
            } else {
                assert_eq!(muon, adamw, "{}", spec.id);
            }
        }
        let layer = [
            (vec![24, 12, 12], 24),
            (vec![24], 24),
            (vec![50, 50], 24),
            (vec![24], 50),
        ];
        assert_eq!(parts, [layer.clone(), layer].concat());
    }
}
