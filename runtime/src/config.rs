//! The shape of a model, in GPT-2's own names.
//!
//! [`Hyperparameters`] is plain data, as a person or a file states it. [`Config`] is the same data
//! after every check: a value of it always describes a model that can be laid out and run.

mod error;

use serde::{Deserialize, Serialize};

pub use self::error::ConfigError;
use crate::features::{Feature, cargo_feature};
use crate::kernels::NARROW_TOKENS;

/// Most tokens a vocabulary may have.
pub const MAX_VOCAB: u32 = 1 << 24;

/// How a token learns where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
// Append only: the order is the file format.
pub enum Positions {
    /// A trained row of `wpe` for each position (GPT-2).
    Learned,
    /// Fixed sines and cosines added to the embedding (Vaswani et al. 2017, section 3.5).
    Sinusoidal,
    /// Queries and keys rotated by their position (Su et al. 2021; Llama).
    Rope,
}

impl Positions {
    /// All of them, as numbered.
    pub const ALL: [Self; 3] = [Self::Learned, Self::Sinusoidal, Self::Rope];
}

/// What stands before attention, before the MLP and before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
// Append only: the order is the file format.
pub enum Norm {
    /// Mean and variance (GPT-2).
    LayerNorm,
    /// Root of the mean square (Llama).
    RmsNorm,
}

impl Norm {
    /// All of them, as numbered.
    pub const ALL: [Self; 2] = [Self::LayerNorm, Self::RmsNorm];
}

/// The function between the two matrices of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
// Append only: the order is the file format.
pub enum Mlp {
    /// `max(x, 0)` (the first GPTs).
    Relu,
    /// The tanh form of GELU (GPT-2).
    Gelu,
    /// `silu(gate) * up`: `c_fc` holds `gate` above `up` (Llama).
    Swiglu,
    /// `max(x, 0)^2` (Primer; nanochat).
    ReluSquared,
}

impl Mlp {
    /// All of them, as numbered.
    pub const ALL: [Self; 4] = [Self::Relu, Self::Gelu, Self::Swiglu, Self::ReluSquared];
}

/// A model's shape as stated, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::exhaustive_structs,
    reason = "callers write all fields; a new one must be seen"
)]
// The order of the fields is the file format; one more is a new version of it.
pub struct Hyperparameters {
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// Longest context, in tokens.
    pub n_ctx: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Attention heads.
    pub n_head: u32,
    /// Heads of keys and values; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: u32,
    /// Blocks.
    pub n_layer: u32,
    /// Width inside the MLP.
    pub n_ff: u32,
    /// Position information.
    pub positions: Positions,
    /// Base of the rotation frequencies; with other [`Positions`] than rope it stands for nothing
    /// and is not checked.
    pub rope_theta: f32,
    /// Normalisation.
    pub norm: Norm,
    /// Nonlinearity of the MLP.
    pub mlp: Mlp,
    /// Whether linear layers and layer norms have biases.
    pub bias: bool,
    /// Whether the head is the embedding `wte` itself.
    pub tied_head: bool,
}

/// A model's shape, checked.
///
/// # Limits
/// `n_vocab` up to [`MAX_VOCAB`], `n_ctx` up to 2^24, `n_embd` and `n_ff` up to 2^20, `n_layer` up to 2^16: every
/// size derived from them fits `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Config(Hyperparameters);

/// The sizes, and the largest that each may be.
const SIZES: [&str; 7] = [
    "n_vocab",
    "n_ctx",
    "n_embd",
    "n_head",
    "n_head_kv",
    "n_layer",
    "n_ff",
];
/// Apart from their names, for a table of pairs is larger.
const LIMITS: [u32; SIZES.len()] = [
    MAX_VOCAB,
    1 << 24,
    1 << 20,
    1 << 20,
    1 << 20,
    1 << 16,
    1 << 20,
];

/// The features of this crate that a model of this shape needs.
#[inline(always)]
pub(crate) const fn features(hyper: &Hyperparameters) -> [Option<Feature>; 6] {
    let positions = match hyper.positions {
        Positions::Learned => None,
        Positions::Sinusoidal => Some(cargo_feature!("sinusoidal")),
        Positions::Rope => Some(cargo_feature!("rope")),
    };
    let norm = match hyper.norm {
        Norm::LayerNorm => cargo_feature!("layer-norm"),
        Norm::RmsNorm => cargo_feature!("rms-norm"),
    };
    let mlp = match hyper.mlp {
        Mlp::Relu | Mlp::ReluSquared => None,
        Mlp::Gelu => Some(cargo_feature!("gelu")),
        Mlp::Swiglu => Some(cargo_feature!("swiglu")),
    };
    let bias = match hyper.bias {
        true => Some(cargo_feature!("bias")),
        false => None,
    };
    let [heads, longer] = heads(hyper);
    [positions, Some(norm), mlp, bias, heads, longer]
}

/// The features for heads of that width, and for contexts beyond what the first of them takes.
#[inline(always)]
const fn heads(hyper: &Hyperparameters) -> [Option<Feature>; 2] {
    let head_size = match hyper.n_embd.checked_div(hyper.n_head) {
        Some(size) => size,
        None => 0,
    };
    let wide = Some(cargo_feature!("wide-heads"));
    let longer = hyper.n_ctx as usize > NARROW_TOKENS;
    match head_size {
        8 => [
            Some(cargo_feature!("narrow-heads")),
            if longer { wide } else { None },
        ],
        16..256 if head_size % 8 == 0 => [wide, None],
        _ => [Some(cargo_feature!("odd-heads")), None],
    }
}

impl Config {
    /// Checks `hyper` and makes a configuration of it.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that is wrong, with its numbers.
    pub const fn new(hyper: Hyperparameters) -> Result<Self, ConfigError> {
        let (n_embd, n_head, n_head_kv) = (hyper.n_embd, hyper.n_head, hyper.n_head_kv);
        let (n_vocab, n_ctx, n_layer, n_ff) =
            (hyper.n_vocab, hyper.n_ctx, hyper.n_layer, hyper.n_ff);
        let sizes = [n_vocab, n_ctx, n_embd, n_head, n_head_kv, n_layer, n_ff];
        let mut i = 0;
        while i < sizes.len() {
            let (field, max) = (SIZES[i], LIMITS[i]);
            if sizes[i] == 0 {
                return Err(ConfigError::Zero { field });
            }
            if sizes[i] > max {
                let value = sizes[i];
                return Err(ConfigError::TooLarge { field, value, max });
            }
            i += 1;
        }
        if !n_embd.is_multiple_of(n_head) {
            return Err(ConfigError::HeadSize { n_embd, n_head });
        }
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(ConfigError::KvHeads { n_head, n_head_kv });
        }
        let (field, value) = match hyper.positions {
            Positions::Learned => ("", 0),
            Positions::Sinusoidal => ("n_embd", n_embd),
            Positions::Rope => (
                "head_size = n_embd / n_head",
                Self(hyper).head_size() as u32,
            ),
        };
        if value % 2 != 0 {
            return Err(ConfigError::OddWidth { field, value });
        }
        let features = features(&hyper);
        let mut i = 0;
        while i < features.len() {
            if let Some(feature) = features[i]
                && !feature.present
            {
                let feature = feature.name;
                return Err(ConfigError::Absent { feature });
            }
            i += 1;
        }
        let value = hyper.rope_theta;
        let rope = matches!(hyper.positions, Positions::Rope);
        if rope && !(value.is_finite() && value > 0.0) {
            return Err(ConfigError::RopeTheta { value });
        }
        Ok(Self(hyper))
    }

    /// The same values as plain data.
    #[must_use]
    pub const fn hyperparameters(&self) -> Hyperparameters {
        self.0
    }

    /// Tokens in the vocabulary (`V`).
    #[must_use]
    pub const fn n_vocab(&self) -> usize {
        self.0.n_vocab as usize
    }

    /// Longest context in tokens.
    #[must_use]
    pub const fn n_ctx(&self) -> usize {
        self.0.n_ctx as usize
    }

    /// Width of the residual stream (`C`).
    #[must_use]
    pub const fn n_embd(&self) -> usize {
        self.0.n_embd as usize
    }

    /// Attention heads (`NH`).
    #[must_use]
    pub const fn n_head(&self) -> usize {
        self.0.n_head as usize
    }

    /// Heads of keys and values.
    #[must_use]
    pub const fn n_head_kv(&self) -> usize {
        self.0.n_head_kv as usize
    }

    /// Blocks (`L`).
    #[must_use]
    pub const fn n_layer(&self) -> usize {
        self.0.n_layer as usize
    }

    /// Width inside the MLP.
    #[must_use]
    pub const fn n_ff(&self) -> usize {
        self.0.n_ff as usize
    }

    /// Position information.
    #[must_use]
    pub const fn positions(&self) -> Positions {
        self.0.positions
    }

    /// Base of the rotation frequencies.
    #[must_use]
    pub const fn rope_theta(&self) -> f32 {
        self.0.rope_theta
    }

    /// Normalisation.
    #[must_use]
    pub const fn norm(&self) -> Norm {
        self.0.norm
    }

    /// Nonlinearity of the MLP.
    #[must_use]
    pub const fn mlp(&self) -> Mlp {
        self.0.mlp
    }

    /// Whether linear layers and layer norms have biases.
    #[must_use]
    pub const fn bias(&self) -> bool {
        self.0.bias
    }

    /// Whether the head is the embedding itself.
    #[must_use]
    pub const fn tied_head(&self) -> bool {
        self.0.tied_head
    }

    /// Width of one head (`HS`): `n_embd / n_head`.
    #[must_use]
    pub const fn head_size(&self) -> usize {
        match self.n_embd().checked_div(self.n_head()) {
            Some(size) => size,
            // There are heads; the compiler does not know.
            None => 0,
        }
    }

    /// Width of the keys of one token, and of its values: `n_head_kv * head_size`.
    #[must_use]
    pub const fn n_kv(&self) -> usize {
        self.n_head_kv() * self.head_size()
    }

    /// Outputs of `c_attn`: queries, then keys, then values.
    #[must_use]
    pub const fn n_qkv(&self) -> usize {
        self.n_embd() + 2 * self.n_kv()
    }

    /// Outputs of `c_fc`: `n_ff`, or twice that with [`Mlp::Swiglu`] (gate, then up).
    #[must_use]
    pub const fn n_fc(&self) -> usize {
        match self.mlp() {
            Mlp::Swiglu => 2 * self.n_ff(),
            Mlp::Relu | Mlp::Gelu | Mlp::ReluSquared => self.n_ff(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPT2: Hyperparameters = Hyperparameters {
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
    };

    #[test]
    fn accepts_gpt2() {
        let config = Config::new(GPT2).unwrap();
        assert_eq!(
            (config.head_size(), config.n_qkv(), config.n_fc()),
            (64, 2304, 3072)
        );
    }

    #[test]
    fn errors_name_field_and_numbers() {
        let message = |change: &dyn Fn(&mut Hyperparameters)| {
            let mut hyper = GPT2;
            change(&mut hyper);
            std::string::ToString::to_string(&Config::new(hyper).unwrap_err())
        };
        assert_eq!(
            message(&|hyper| hyper.n_layer = 0),
            "n_layer is 0; it must be at least 1"
        );
        assert_eq!(
            message(&|hyper| hyper.n_vocab = 1 << 25),
            "n_vocab is 33554432; the largest allowed is 16777216"
        );
        assert_eq!(
            message(&|hyper| (hyper.n_head, hyper.n_head_kv) = (7, 7)),
            "n_embd 768 is not a multiple of n_head 7"
        );
        assert_eq!(
            message(&|hyper| hyper.n_head_kv = 5),
            "n_head 12 is not a multiple of n_head_kv 5"
        );
        assert_eq!(
            message(&|hyper| (hyper.n_embd, hyper.positions) = (36, Positions::Rope)),
            "head_size = n_embd / n_head is 3; these positions work on pairs and need it even"
        );
        assert_eq!(
            message(&|hyper| (hyper.rope_theta, hyper.positions) = (f32::NAN, Positions::Rope)),
            "rope_theta is NaN; it must be finite and above 0"
        );
    }

    #[test]
    fn the_base_of_rope_matters_to_rope_only() {
        let with = |positions| {
            let rope_theta = 0.0;
            Config::new(Hyperparameters {
                positions,
                rope_theta,
                ..GPT2
            })
        };
        assert!(with(Positions::Learned).is_ok() && with(Positions::Sinusoidal).is_ok());
        assert!(with(Positions::Rope).is_err());
    }
    #[test]
    fn a_program_names_what_it_was_built_without() {
        for positions in Positions::ALL {
            for norm in Norm::ALL {
                for mlp in Mlp::ALL {
                    let hyper = Hyperparameters {
                        positions,
                        norm,
                        mlp,
                        ..GPT2
                    };
                    let needed = features(&hyper).into_iter().flatten();
                    let absent = needed.clone().find(|feature| !feature.present);
                    let feature = absent.map(|feature| feature.name);
                    let error = feature.map(|feature| ConfigError::Absent { feature });
                    assert_eq!(Config::new(hyper).err(), error);
                    let names: std::vec::Vec<_> = needed.map(|feature| feature.name).collect();
                    assert_eq!(names.contains(&"gelu"), mlp == Mlp::Gelu);
                    assert_eq!(names.contains(&"rope"), positions == Positions::Rope);
                    assert_eq!(names.contains(&"rms-norm"), norm == Norm::RmsNorm);
                }
            }
        }
    }

    #[test]
    fn heads_are_features_by_their_width() {
        for (head_size, n_ctx, needed) in [
            (8, NARROW_TOKENS as u32, &["narrow-heads"][..]),
            (8, NARROW_TOKENS as u32 + 1, &["narrow-heads", "wide-heads"]),
            (16, 1 << 24, &["wide-heads"]),
            (248, 1, &["wide-heads"]),
            (256, 1, &["odd-heads"]),
            (12, 1, &["odd-heads"]),
            (1, 1, &["odd-heads"]),
        ] {
            let hyper = Hyperparameters {
                n_embd: 3 * head_size,
                n_head: 3,
                n_head_kv: 1,
                n_ctx,
                bias: false,
                norm: Norm::RmsNorm,
                mlp: Mlp::Relu,
                ..GPT2
            };
            let names = features(&hyper).into_iter().flatten();
            let names: std::vec::Vec<_> = names.map(|feature| feature.name).collect();
            assert_eq!(names[1..], *needed, "heads of {head_size}");
        }
    }
}
