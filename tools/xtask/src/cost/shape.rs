//! The shapes that are measured, and models of them with weights of no meaning.

use std::fs;
use std::path::{Path, PathBuf};

use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::format::{self, Header, Metadata, WriteError};
use minigpt_runtime::layout::Role;
use minigpt_runtime::rng::Rng;
use minigpt_runtime::{Config, Format, Tokenizer};

/// A shape by name.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(super) hyper: Hyperparameters,
}

/// llama2.c's model of 260,000 parameters, with a context of 256.
pub(crate) const STORIES: Shape = Shape {
    name: "stories260K",
    hyper: Hyperparameters {
        n_vocab: 512,
        n_ctx: 256,
        n_embd: 64,
        n_head: 8,
        n_head_kv: 4,
        n_layer: 5,
        n_ff: 172,
        mlp: Mlp::Swiglu,
        ..BASE
    },
};

/// llama2.c's model of 15 million parameters.
pub(crate) const STORIES_15M: Shape = Shape {
    name: "stories15M",
    hyper: Hyperparameters {
        n_vocab: 32_000,
        n_ctx: 256,
        n_embd: 288,
        n_head: 6,
        n_head_kv: 6,
        n_layer: 6,
        n_ff: 768,
        mlp: Mlp::Swiglu,
        ..BASE
    },
};

/// For 16 KB of RAM.
pub(super) const SMALL: Shape = Shape {
    name: "small86K",
    hyper: Hyperparameters {
        n_head_kv: 1,
        ..BASE
    },
};

const BASE: Hyperparameters = Hyperparameters {
    n_vocab: 256,
    n_ctx: 64,
    n_embd: 64,
    n_head: 4,
    n_head_kv: 2,
    n_layer: 2,
    n_ff: 192,
    positions: Positions::Rope,
    rope_theta: 10_000.0,
    norm: Norm::RmsNorm,
    mlp: Mlp::ReluSquared,
    bias: false,
    tied_head: true,
};

/// Shapes that the cost model is fitted on: each moves one or two sizes or options away from the
/// base, so that every kind of work is told from the others.
pub(super) const FITTED: [Shape; 20] = [
    shape("base", BASE),
    shape(
        "vocabulary",
        Hyperparameters {
            n_vocab: 768,
            ..BASE
        },
    ),
    shape("depth", Hyperparameters { n_layer: 5, ..BASE }),
    shape(
        "width",
        Hyperparameters {
            n_embd: 128,
            n_head: 8,
            n_head_kv: 4,
            ..BASE
        },
    ),
    shape("mlp width", Hyperparameters { n_ff: 512, ..BASE }),
    shape(
        "wide heads",
        Hyperparameters {
            n_head: 2,
            n_head_kv: 1,
            ..BASE
        },
    ),
    shape(
        "narrow heads",
        Hyperparameters {
            n_head: 8,
            n_head_kv: 4,
            ..BASE
        },
    ),
    shape(
        "all heads kept",
        Hyperparameters {
            n_head_kv: 4,
            ..BASE
        },
    ),
    shape(
        "one head kept",
        Hyperparameters {
            n_head_kv: 1,
            ..BASE
        },
    ),
    shape(
        "partial blocks",
        Hyperparameters {
            n_embd: 48,
            n_head: 3,
            n_head_kv: 3,
            n_ff: 100,
            ..BASE
        },
    ),
    shape(
        "relu",
        Hyperparameters {
            mlp: Mlp::Relu,
            ..BASE
        },
    ),
    shape(
        "gelu",
        Hyperparameters {
            mlp: Mlp::Gelu,
            ..BASE
        },
    ),
    shape(
        "swiglu",
        Hyperparameters {
            mlp: Mlp::Swiglu,
            ..BASE
        },
    ),
    shape(
        "layer norm",
        Hyperparameters {
            norm: Norm::LayerNorm,
            ..BASE
        },
    ),
    shape("bias", Hyperparameters { bias: true, ..BASE }),
    shape(
        "learned positions",
        Hyperparameters {
            positions: Positions::Learned,
            ..BASE
        },
    ),
    shape(
        "sinusoids",
        Hyperparameters {
            positions: Positions::Sinusoidal,
            ..BASE
        },
    ),
    shape("heads of 12", Hyperparameters { n_embd: 48, ..BASE }),
    shape("heads of 20", Hyperparameters { n_embd: 80, ..BASE }),
    shape(
        "gpt2",
        Hyperparameters {
            n_embd: 96,
            n_head: 3,
            n_head_kv: 3,
            n_ff: 384,
            positions: Positions::Learned,
            norm: Norm::LayerNorm,
            mlp: Mlp::Gelu,
            bias: true,
            ..BASE
        },
    ),
];

/// Shapes that the cost model must predict and never saw.
pub(super) const HELD_OUT: [Shape; 4] = [
    STORIES,
    SMALL,
    shape(
        "deep gpt2",
        Hyperparameters {
            n_vocab: 400,
            n_embd: 72,
            n_head: 6,
            n_head_kv: 6,
            n_layer: 4,
            n_ff: 288,
            positions: Positions::Learned,
            norm: Norm::LayerNorm,
            mlp: Mlp::Gelu,
            bias: true,
            ..BASE
        },
    ),
    shape(
        "wide stories",
        Hyperparameters {
            n_vocab: 700,
            n_embd: 112,
            n_head: 7,
            n_head_kv: 1,
            n_layer: 2,
            n_ff: 320,
            ..BASE
        },
    ),
];

/// Shapes that kernels may trip over: eight and seventeen blocks of columns with and without a rest, rows that
/// are no multiple of four, heads of odd widths. In their matrices some rows are zeros, and some tiny; in integer formats
/// what becomes integers holds [`WILD`] numbers.
pub(super) const ODD: [Shape; 4] = [
    shape(
        "eight blocks and a rest",
        Hyperparameters {
            n_vocab: 258,
            n_layer: 1,
            n_ff: 280,
            ..BASE
        },
    ),
    shape(
        "eight blocks",
        Hyperparameters {
            n_vocab: 257,
            n_embd: 264,
            n_head: 3,
            n_head_kv: 1,
            n_layer: 1,
            n_ff: 96,
            mlp: Mlp::Swiglu,
            ..BASE
        },
    ),
    shape(
        "seventeen blocks",
        Hyperparameters {
            n_vocab: 259,
            n_embd: 34,
            n_head: 1,
            n_head_kv: 1,
            n_layer: 1,
            n_ff: 545,
            mlp: Mlp::Swiglu,
            ..BASE
        },
    ),
    shape(
        "four blocks",
        Hyperparameters {
            n_embd: 120,
            n_head: 5,
            n_head_kv: 5,
            n_layer: 1,
            n_ff: 511,
            mlp: Mlp::Gelu,
            bias: true,
            ..BASE
        },
    ),
];

/// Numbers that stop a kernel or have no scale.
const WILD: [f32; 5] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-37, 1e-42];

const fn shape(name: &'static str, hyper: Hyperparameters) -> Shape {
    Shape { name, hyper }
}

impl Shape {
    /// The features of the runtime that a program for such a model needs, with the tokenizer that one has which
    /// tells stories: llama2.c's.
    pub(super) fn features(&self) -> Vec<&'static str> {
        let header = self.header(Format::Q8);
        header.features().chain(["sentencepiece"]).collect()
    }

    fn header(&self, format: Format) -> Header<'static> {
        Header {
            hyperparameters: self.hyper,
            format,
            tokenizer: Tokenizer::Byte,
            metadata: Metadata {
                name: self.name,
                bits_per_byte: None,
                made_by: "cargo xtask cost: random weights",
                chat_template: "",
            },
        }
    }

    /// The shape, checked.
    pub(super) fn config(&self) -> Result<Config, String> {
        Config::new(self.hyper).map_err(|error| format!("shape {}: {error}", self.name))
    }

    /// Writes a model of this shape into `folder`, the same bytes each time.
    pub(crate) fn write(&self, folder: &Path, format: Format) -> Result<PathBuf, String> {
        let path = folder.join(format!("{}-{}.mgpt", self.name, format.name()));
        let bytes = self.model(format).map_err(|error| error.to_string())?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn model(&self, format: Format) -> Result<Vec<u8>, WriteError> {
        let header = self.header(format);
        let mut bytes = vec![0; format::file_bytes(&header)? as usize];
        let mut rng = Rng::new(1, 0);
        let is_odd = ODD.iter().any(|odd| odd.name == self.name);
        format::write::<WriteError>(&mut bytes, &header, |spec, place| {
            let name = spec.id.to_string();
            // Weights of norms, which all of a block's input goes through, and what is added to queries, keys and values.
            let is_wild = is_odd
                && format.is_integer()
                && spec.role == Role::Vector
                && (!name.ends_with("bias") || name.ends_with("c_attn.bias"));
            // Matrices that keep the size of what goes through them; norms and biases near 1 and 0.
            let (middle, spread) = match (spec.role, name.ends_with("bias")) {
                (Role::Matrix, _) => (0.0, (3.0 / spec.cols as f32).sqrt()),
                (_, true) => (0.0, 0.1),
                _ => (1.0, 0.1),
            };
            let scale = |i: usize| match i / spec.cols % 5 {
                0 if is_odd && spec.role == Role::Matrix => 0.0,
                1 if is_odd && spec.role == Role::Matrix => 1e-6,
                _ => 1.0,
            };
            let value = |i| match is_wild && i % 37 == 5 {
                true => WILD[i / 37 % WILD.len()],
                false => scale(i) * (middle + spread * (2.0 * rng.next_unit() - 1.0)),
            };
            let values: Vec<f32> = (0..spec.len()).map(value).collect();
            spec.stored_format(format).encode(place, &values, spec.cols);
            Ok(())
        })?;
        Ok(bytes)
    }
}
