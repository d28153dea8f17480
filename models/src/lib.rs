//! Named model shapes: what `minigpt train --preset` means by a name.
#![no_std]

pub mod cost;

use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};

/// A named shape, still without a vocabulary, and the training that suits it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preset {
    /// What `--preset` takes.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Sequences of a batch that suit it.
    pub n_batch: u32,
    /// Steps of training that suit it.
    pub steps: u64,
    /// Peak learning rate that suits it.
    pub learning_rate: f64,
    /// Tokenizer that suits it, as `--tokenizer` takes it.
    pub tokenizer: &'static str,
    /// Other settings that suit it, as `--set` takes them.
    pub settings: &'static [&'static str],
    /// Its shape; `n_vocab` is the tokenizer's business and stands for nothing here.
    shape: Hyperparameters,
}

impl Preset {
    /// The shape with a vocabulary.
    #[must_use]
    pub const fn hyperparameters(&self, n_vocab: u32) -> Hyperparameters {
        Hyperparameters {
            n_vocab,
            ..self.shape
        }
    }
}

/// All presets.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "stories",
        description: "for the built-in stories: trained in minutes on two cores",
        n_batch: 4,
        steps: 2000,
        learning_rate: 4e-3,
        tokenizer: "bpe:1024",
        settings: &[],
        // Rotated positions learn in half the steps to repeat a name that came before; few and
        // narrow layers leave time for it.
        shape: Hyperparameters {
            positions: Positions::Rope,
            norm: Norm::RmsNorm,
            mlp: Mlp::ReluSquared,
            n_ff: 384,
            bias: false,
            ..gpt2(3, 4, 128, 256)
        },
    },
    Preset {
        name: "cpu",
        description: "nanoGPT's shape for a laptop without GPU: 0.8 million parameters",
        n_batch: 12,
        steps: 2000,
        learning_rate: 3e-3,
        tokenizer: "auto",
        settings: &[],
        shape: gpt2(4, 4, 128, 64),
    },
    Preset {
        name: "quick",
        description: "the shape of cpu, by Muon: learns most in two minutes on two idle cores",
        n_batch: 12,
        steps: 3000,
        learning_rate: 3e-3,
        tokenizer: "auto",
        settings: &[
            "optimizer=muon",
            "muon_learning_rate=0.01",
            "schedule=wsd",
            "decay_steps=2000",
        ],
        shape: gpt2(4, 4, 128, 64),
    },
    Preset {
        name: "tiny",
        description: "the same with twice the context and larger batches",
        n_batch: 32,
        steps: 2000,
        learning_rate: 3e-3,
        tokenizer: "auto",
        settings: &[],
        shape: gpt2(4, 4, 128, 128),
    },
    Preset {
        name: "baby",
        description: "nanoGPT's Shakespeare shape: 11 million parameters",
        n_batch: 64,
        steps: 5000,
        learning_rate: 1e-3,
        tokenizer: "auto",
        settings: &[],
        shape: gpt2(6, 6, 384, 256),
    },
    Preset {
        name: "speedrun",
        description: "for shakespeare by characters: below nanoGPT's loss in under an hour of two busy cores, by Muon",
        n_batch: 16,
        steps: 2000,
        learning_rate: 2e-3,
        tokenizer: "char",
        settings: &[
            "optimizer=muon",
            "muon_learning_rate=0.01",
            "schedule=wsd",
            "decay_steps=1333",
            "dropout=0.1",
            "eval_batches=0",
        ],
        // With 1 MB of text, ten times over, more parameters learn less in the same time.
        shape: Hyperparameters {
            positions: Positions::Rope,
            norm: Norm::RmsNorm,
            mlp: Mlp::ReluSquared,
            bias: false,
            ..gpt2(6, 3, 192, 256)
        },
    },
    Preset {
        name: "gpt2",
        description: "GPT-2 small: 124 million parameters with its own vocabulary",
        n_batch: 8,
        steps: 100_000,
        learning_rate: 6e-4,
        tokenizer: "bpe:50257",
        settings: &[],
        shape: gpt2(12, 12, 768, 1024),
    },
];

/// The preset called `name`.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const fn gpt2(n_layer: u32, n_head: u32, n_embd: u32, n_ctx: u32) -> Hyperparameters {
    Hyperparameters {
        n_vocab: 1,
        n_ctx,
        n_embd,
        n_head,
        n_head_kv: n_head,
        n_layer,
        n_ff: 4 * n_embd,
        positions: Positions::Learned,
        rope_theta: 10_000.0,
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        bias: true,
        tied_head: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::{Config, layout};

    #[test]
    fn sizes_are_the_published_ones() {
        let n_params = |name, n_vocab| {
            let hyper = preset(name).unwrap().hyperparameters(n_vocab);
            layout::n_params(&Config::new(hyper).unwrap())
        };
        assert_eq!(n_params("gpt2", 50_257), 124_439_808);
        assert_eq!(
            (n_params("cpu", 65), n_params("tiny", 65)),
            (809_856, 818_048)
        );
        assert_eq!(preset("none"), None);
    }
}
