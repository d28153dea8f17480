//! Shapes of known models, with random weights.

use clap::ValueEnum;
use minigpt_runtime::format::{Header, Metadata};
use minigpt_runtime::layout::{self, Role};
use minigpt_runtime::{Config, Format, Hyperparameters, Mlp, Norm, Positions, Tokenizer, rng};
use minigpt_trainer::export::export;
use minigpt_trainer::inference::ModelBytes;
use rayon::prelude::*;

use crate::failure::Failure;

/// A known model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// llama2.c's stories260K
    #[value(name = "260k")]
    Stories260K,
    /// llama2.c's stories15M
    #[value(name = "15m")]
    Stories15M,
    /// llama2.c's stories110M
    #[value(name = "110m")]
    Stories110M,
    /// GPT-2
    #[value(name = "124m")]
    Gpt2,
}

impl Shape {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stories260K => "260k",
            Self::Stories15M => "15m",
            Self::Stories110M => "110m",
            Self::Gpt2 => "124m",
        }
    }

    pub(super) const fn n_ctx(self) -> usize {
        self.hyperparameters().n_ctx as usize
    }

    const fn hyperparameters(self) -> Hyperparameters {
        let (n_vocab, n_ctx, n_embd, n_head, n_head_kv, n_layer, n_ff) = match self {
            Self::Stories260K => (512, 512, 64, 8, 4, 5, 172),
            Self::Stories15M => (32000, 512, 288, 6, 6, 6, 768),
            Self::Stories110M => (32000, 1024, 768, 12, 12, 12, 2048),
            Self::Gpt2 => (50257, 1024, 768, 12, 12, 12, 3072),
        };
        let gpt2 = matches!(self, Self::Gpt2);
        Hyperparameters {
            n_vocab,
            n_ctx,
            n_embd,
            n_head,
            n_head_kv,
            n_layer,
            n_ff,
            positions: if gpt2 {
                Positions::Learned
            } else {
                Positions::Rope
            },
            rope_theta: 10_000.0,
            norm: if gpt2 { Norm::LayerNorm } else { Norm::RmsNorm },
            mlp: if gpt2 { Mlp::Gelu } else { Mlp::Swiglu },
            bias: gpt2,
            tied_head: true,
        }
    }

    /// One array a tensor: vectors of ones, matrices of small numbers.
    pub(super) fn random_parameters(self) -> Vec<Vec<f32>> {
        let config = Config::new(self.hyperparameters());
        let specs = config.iter().flat_map(layout::tensors).enumerate();
        let tensor = |(stream, spec): (usize, layout::TensorSpec)| match spec.role {
            Role::Matrix => (0..spec.len())
                .map(|i| 0.1 * rng::unit(rng::random(1, stream as u64, i as u64)) - 0.05)
                .collect(),
            _ => vec![1.0; spec.len()],
        };
        let specs: Vec<_> = specs.collect();
        specs.into_par_iter().map(tensor).collect()
    }

    /// A file of these parameters.
    pub(super) fn model(
        self,
        format: Format,
        parameters: &[Vec<f32>],
    ) -> Result<ModelBytes, Failure> {
        let header = Header {
            hyperparameters: self.hyperparameters(),
            format,
            tokenizer: Tokenizer::Byte,
            metadata: Metadata {
                name: self.name(),
                bits_per_byte: None,
                made_by: "minigpt bench: random weights",
                chat_template: "",
            },
        };
        export(&header, parameters).map_err(Failure::failed)
    }
}
