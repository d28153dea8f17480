//! Shapes whose training is measured.

use clap::ValueEnum;
use minigpt_models::preset;
use minigpt_runtime::{Config, Hyperparameters};

use crate::failure::Failure;

/// A shape of GPT-2's family with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Load {
    /// 4 layers of 128, context 64, 12 sequences
    Cpu,
    /// 4 layers of 128, context 128, 32 sequences
    Tiny,
    /// 6 layers of 384, context 256, 8 sequences
    Baby,
    /// 6 layers of 512, context 256, 4 sequences, vocabulary 10,000
    Small25m,
    /// 12 layers of 768, context 64, 4 sequences, vocabulary 50,257
    Gpt2,
    /// Tiny with 64 sequences
    Tiny64,
    /// 6 layers of 192, context 256, 32 sequences
    Small3m,
    /// Baby with 64 sequences
    Baby64,
    /// GPT-2 with its whole context, 16 sequences
    #[value(name = "gpt2_1024")]
    Gpt2Whole,
}

impl Load {
    /// `n_layer`, `n_head`, `n_embd`, `n_ctx`, sequences, `n_vocab`.
    pub(super) const fn sizes(self) -> [u32; 6] {
        match self {
            Self::Cpu => [4, 4, 128, 64, 12, 65],
            Self::Tiny => [4, 4, 128, 128, 32, 65],
            Self::Baby => [6, 6, 384, 256, 8, 65],
            Self::Small25m => [6, 8, 512, 256, 4, 10_000],
            Self::Gpt2 => [12, 12, 768, 64, 4, 50_257],
            Self::Tiny64 => [4, 4, 128, 128, 64, 65],
            Self::Small3m => [6, 6, 192, 256, 32, 65],
            Self::Baby64 => [6, 6, 384, 256, 64, 65],
            Self::Gpt2Whole => [12, 12, 768, 1024, 16, 50_257],
        }
    }

    pub(super) fn config(self) -> Result<Config, Failure> {
        let [n_layer, n_head, n_embd, n_ctx, _, n_vocab] = self.sizes();
        let gpt2 = preset("gpt2").ok_or_else(|| Failure::failed("there is no preset gpt2"))?;
        let hyper = Hyperparameters {
            n_layer,
            n_head,
            n_head_kv: n_head,
            n_embd,
            n_ff: 4 * n_embd,
            n_ctx,
            ..gpt2.hyperparameters(n_vocab)
        };
        Config::new(hyper).map_err(Failure::failed)
    }
}
