//! The tensors of the table: their order, names and shapes.

use super::Role;
use crate::config::{Config, Norm, Positions};

/// A tensor of the table, without its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tensor {
    /// Token embedding `[V, C]`; also the head if tied.
    Wte,
    /// Position embedding `[n_ctx, C]`, with learned positions.
    Wpe,
    /// Norm before attention `[C]`.
    Ln1Weight,
    /// Its bias `[C]`.
    Ln1Bias,
    /// Queries, keys, values `[C + 2 n_kv, C]`.
    CAttnWeight,
    /// Its bias.
    CAttnBias,
    /// Attention output `[C, C]`.
    AttnProjWeight,
    /// Its bias `[C]`.
    AttnProjBias,
    /// Norm before the MLP `[C]`.
    Ln2Weight,
    /// Its bias `[C]`.
    Ln2Bias,
    /// Into the MLP `[n_fc, C]`.
    CFcWeight,
    /// Its bias `[n_fc]`.
    CFcBias,
    /// Out of the MLP `[C, n_ff]`.
    MlpProjWeight,
    /// Its bias `[C]`.
    MlpProjBias,
    /// Last norm `[C]`.
    LnFWeight,
    /// Its bias `[C]`.
    LnFBias,
    /// The head `[V, C]`, if it is not tied.
    LmHead,
}

// The order of these three is the file format.
pub(super) const FRONT: [Tensor; 2] = [Tensor::Wte, Tensor::Wpe];
pub(super) const LAYER: [Tensor; 12] = [
    Tensor::Ln1Weight,
    Tensor::Ln1Bias,
    Tensor::CAttnWeight,
    Tensor::CAttnBias,
    Tensor::AttnProjWeight,
    Tensor::AttnProjBias,
    Tensor::Ln2Weight,
    Tensor::Ln2Bias,
    Tensor::CFcWeight,
    Tensor::CFcBias,
    Tensor::MlpProjWeight,
    Tensor::MlpProjBias,
];
pub(super) const BACK: [Tensor; 3] = [Tensor::LnFWeight, Tensor::LnFBias, Tensor::LmHead];

impl Tensor {
    /// Every tensor, as numbered and as in files: the three groups one after the other.
    pub(crate) const ALL: [Self; FRONT.len() + LAYER.len() + BACK.len()] = {
        let mut all = [Self::Wte; FRONT.len() + LAYER.len() + BACK.len()];
        let groups: [&[Self]; 3] = [&FRONT, &LAYER, &BACK];
        let (mut group, mut i) = (0, 0);
        while group < groups.len() {
            let mut j = 0;
            while j < groups[group].len() {
                assert!(groups[group][j] as usize == i);
                all[i] = groups[group][j];
                (i, j) = (i + 1, j + 1);
            }
            group += 1;
        }
        assert!(i == all.len());
        all
    };

    /// `(rows, cols, role)`, or `None` where `config` has no such tensor.
    #[must_use]
    pub const fn shape(self, config: &Config) -> Option<(usize, usize, Role)> {
        let (n_vocab, n_embd) = (config.n_vocab(), config.n_embd());
        let (n_qkv, n_fc, n_ff) = (config.n_qkv(), config.n_fc(), config.n_ff());
        let norm_bias = config.bias() && matches!(config.norm(), Norm::LayerNorm);
        let (present, rows, cols) = match self {
            Self::Wte => (true, n_vocab, n_embd),
            Self::Wpe => (
                matches!(config.positions(), Positions::Learned),
                config.n_ctx(),
                n_embd,
            ),
            Self::CAttnWeight => (true, n_qkv, n_embd),
            Self::AttnProjWeight => (true, n_embd, n_embd),
            Self::CFcWeight => (true, n_fc, n_embd),
            Self::MlpProjWeight => (true, n_embd, n_ff),
            Self::LmHead => (!config.tied_head(), n_vocab, n_embd),
            Self::Ln1Weight | Self::Ln2Weight | Self::LnFWeight => return Some(vector(n_embd)),
            Self::Ln1Bias | Self::Ln2Bias | Self::LnFBias if norm_bias => {
                return Some(vector(n_embd));
            }
            Self::CAttnBias if config.bias() => return Some(vector(n_qkv)),
            Self::CFcBias if config.bias() => return Some(vector(n_fc)),
            Self::AttnProjBias | Self::MlpProjBias if config.bias() => return Some(vector(n_embd)),
            _ => return None,
        };
        if present {
            Some((rows, cols, Role::Matrix))
        } else {
            None
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wte => "wte.weight",
            Self::Wpe => "wpe.weight",
            Self::Ln1Weight => "ln_1.weight",
            Self::Ln1Bias => "ln_1.bias",
            Self::CAttnWeight => "attn.c_attn.weight",
            Self::CAttnBias => "attn.c_attn.bias",
            Self::AttnProjWeight => "attn.c_proj.weight",
            Self::AttnProjBias => "attn.c_proj.bias",
            Self::Ln2Weight => "ln_2.weight",
            Self::Ln2Bias => "ln_2.bias",
            Self::CFcWeight => "mlp.c_fc.weight",
            Self::CFcBias => "mlp.c_fc.bias",
            Self::MlpProjWeight => "mlp.c_proj.weight",
            Self::MlpProjBias => "mlp.c_proj.bias",
            Self::LnFWeight => "ln_f.weight",
            Self::LnFBias => "ln_f.bias",
            Self::LmHead => "lm_head.weight",
        }
    }

    pub(super) const fn in_layer(self) -> bool {
        !matches!(
            self,
            Self::Wte | Self::Wpe | Self::LnFWeight | Self::LnFBias | Self::LmHead
        )
    }
}

const fn vector(len: usize) -> (usize, usize, Role) {
    (1, len, Role::Vector)
}
