//! The models that could be, and which of them fit.

use minigpt_models::cost::POSITIONS;
use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::format::{self, Header, Metadata};
use minigpt_runtime::{Config, KvFormat, MemoryPlan, SessionOptions, layout};
use minigpt_trainer::run_config::{ModelSettings, RunConfig, TokenizerChoice};
use minigpt_trainer::tokenizer::OwnedTokenizer;

use super::place::Place;
use crate::failure::Failure;

/// Widths that are tried are its multiples.
const WIDTH_STEP: u32 = 16;
const MOST_WIDTH: u32 = 512;
const MOST_LAYERS: u32 = 12;
/// Widths of the MLP are multiples of this: whole blocks.
const BLOCK: u32 = 32;

/// Width over depth: between these the loss hardly depends on it.
///
/// # Source
/// Kaplan et al. 2020, figure 5.
const ASPECT: core::ops::RangeInclusive<u32> = 8..=64;

/// Bytes that a file's name and origin may take; `train` writes fewer.
const NAME_BYTES: usize = 24;
const ORIGIN_BYTES: usize = 232;

/// A vocabulary, with the tokenizer that `train` would make.
pub(super) struct Vocabulary {
    choice: TokenizerChoice,
    tokenizer: OwnedTokenizer,
}

/// A model that could be, in figures.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) config: Config,
    pub(crate) choice: TokenizerChoice,
    pub(crate) n_params: u64,
    pub(super) weights_bytes: u64,
    /// Header, tokenizer and weights, and room for a name and an origin.
    pub(crate) model_bytes: u64,
    pub(crate) arena_bytes: u64,
    /// Mean over the first positions, as in the table of costs.
    pub(super) instructions: Option<f64>,
    /// At the end of the context.
    pub(super) last_instructions: Option<f64>,
    /// What its loss is expected to go with.
    pub(super) loss: f64,
}

/// How a session is kept on a board.
pub(super) const fn session(n_ctx: usize) -> SessionOptions {
    SessionOptions {
        n_ctx,
        n_chunk: 1,
        kv: KvFormat::Q8,
    }
}

/// Every shape with `n_vocab` tokens and `n_ctx` positions, in the style of the preset `stories`.
pub(super) fn shapes(n_vocab: u32, n_ctx: u32) -> impl Iterator<Item = Config> {
    let widths = (1..=MOST_WIDTH / WIDTH_STEP).map(|i| i * WIDTH_STEP);
    let sizes = widths.flat_map(|n_embd| {
        let layers = (1..=MOST_LAYERS).filter(move |n_layer| ASPECT.contains(&(n_embd / n_layer)));
        layers.flat_map(move |n_layer| [2, 3, 4].map(|times| (n_embd, n_layer, times * n_embd)))
    });
    sizes.flat_map(move |(n_embd, n_layer, n_ff)| {
        let n_head = heads(n_embd);
        let kept = [1, 2, 4, 8]
            .into_iter()
            .filter(move |n| n_head.is_multiple_of(*n));
        kept.filter_map(move |n| {
            let hyper = Hyperparameters {
                n_vocab,
                n_ctx,
                n_embd,
                n_head,
                n_head_kv: n_head / n,
                n_layer,
                n_ff: n_ff.next_multiple_of(BLOCK),
                positions: Positions::Rope,
                rope_theta: 10_000.0,
                norm: Norm::RmsNorm,
                mlp: Mlp::ReluSquared,
                bias: false,
                tied_head: true,
            };
            Config::new(hyper).ok()
        })
    })
}

/// Heads of the largest width, up to 64, that leaves four of them.
fn heads(n_embd: u32) -> u32 {
    let width = [64, 32, 16]
        .into_iter()
        .find(|width| n_embd.is_multiple_of(*width) && n_embd / width >= 4);
    n_embd / width.unwrap_or(8)
}

/// What the loss of a model goes with, for comparisons: both kinds of parameters have their share.
///
/// `1.831 / N_nv^0.447 + 0.196 / N_v^0.671`, in millions of parameters outside and inside the
/// vocabulary's table.
///
/// # Source
/// Tao et al. 2024, "Scaling Laws with Vocabulary", approach 3, fitted there on 33 million parameters
/// and more; below, it is an extrapolation.
fn loss(n_params: u64, table: u64) -> f64 {
    let millions = |n: u64| n as f64 / 1e6;
    1.831 / millions(n_params - table).powf(0.447) + 0.196 / millions(table).powf(0.671)
}

impl Vocabulary {
    /// `tokenizer`, which was made as `choice` says. A text may have fewer pairs to merge than were asked for.
    pub(super) fn new(choice: TokenizerChoice, tokenizer: OwnedTokenizer) -> Self {
        let n_vocab = tokenizer.view().n_vocab() as u32;
        let choice = match choice {
            TokenizerChoice::Bpe { .. } => TokenizerChoice::Bpe { n_vocab },
            other => other,
        };
        Self { choice, tokenizer }
    }

    /// Bytes of the file of a model of `config` with this vocabulary.
    fn model_bytes(&self, config: &Config, place: &Place) -> Result<u64, Failure> {
        let header = Header {
            hyperparameters: config.hyperparameters(),
            format: place.format,
            tokenizer: self.tokenizer.view(),
            metadata: Metadata {
                name: &"-".repeat(NAME_BYTES),
                bits_per_byte: Some(0.0),
                made_by: &"-".repeat(ORIGIN_BYTES),
                chat_template: "",
            },
        };
        format::file_bytes(&header).map_err(Failure::failed)
    }

    /// Tokens.
    pub(super) fn len(&self) -> u32 {
        self.tokenizer.view().n_vocab() as u32
    }

    /// All models with this vocabulary and a context of `n_ctx`, whether they fit or not.
    pub(super) fn candidates(&self, n_ctx: u32, place: &Place) -> Result<Vec<Candidate>, Failure> {
        let mut shapes = shapes(self.len(), n_ctx).peekable();
        let Some(first) = shapes.peek() else {
            return Ok(Vec::new());
        };
        // What stands before the weights differs between shapes by a few bytes only: the largest.
        let before = self.model_bytes(first, place)? - layout::weights_bytes(first, place.format);
        let before = before + layout::ALIGNMENT as u64;
        Ok(shapes
            .map(|config| Candidate::new(config, self.choice, before, place))
            .collect())
    }

    /// `candidate` with the bytes of its file to the byte.
    pub(super) fn exact(&self, candidate: Candidate, place: &Place) -> Result<Candidate, Failure> {
        let model_bytes = self.model_bytes(&candidate.config, place)?;
        Ok(Candidate {
            model_bytes,
            ..candidate
        })
    }
}

impl Candidate {
    fn new(config: Config, choice: TokenizerChoice, before: u64, place: &Place) -> Self {
        let weights_bytes = layout::weights_bytes(&config, place.format);
        let options = session(config.n_ctx());
        let n_params = layout::n_params(&config);
        let cost = place.core.as_ref().map(|(_, cost)| cost);
        let first = POSITIONS.min(config.n_ctx());
        let at = |position| Some(cost?.instructions(&config, place.format, position));
        Self {
            config,
            choice,
            n_params,
            weights_bytes,
            model_bytes: before + weights_bytes,
            arena_bytes: MemoryPlan::new(&config, place.format, &options).total(),
            // The cost grows evenly from position to position.
            instructions: at(0).zip(at(first - 1)).map(|(a, b)| (a + b) / 2.0),
            last_instructions: at(config.n_ctx() - 1),
            loss: loss(n_params, (config.n_vocab() * config.n_embd()) as u64),
        }
    }

    /// Gives `settings` its shape and its tokenizer.
    pub(crate) fn settle(&self, settings: &mut RunConfig) {
        settings.model = ModelSettings::of(&self.config.hyperparameters());
        settings.data.tokenizer = self.choice;
    }

    /// Tokens a second at the end of the context.
    pub(super) fn last_speed(&self, place: &Place) -> Option<f64> {
        place.tokens_per_second(self.last_instructions?)
    }

    /// Whether it is fast enough, as far as that can be told.
    pub(super) fn is_fast(&self, place: &Place) -> bool {
        let speed = place.speed.zip(self.last_speed(place));
        speed.is_none_or(|(least, speed)| speed >= least)
    }

    /// Whether it fits and is fast enough.
    pub(super) fn fits(&self, place: &Place) -> bool {
        self.model_bytes <= place.model_room()
            && self.arena_bytes <= place.arena_room()
            && self.is_fast(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_many_and_heads_are_even() {
        let all: Vec<Config> = shapes(512, 256).collect();
        assert!(all.len() > 1000, "{}", all.len());
        assert!(all.iter().all(|config| config.head_size() >= 8));
        assert_eq!((heads(16), heads(64), heads(128), heads(256)), (2, 4, 4, 4));
    }

    #[test]
    fn larger_is_better_and_balance_counts() {
        assert!(loss(400_000, 50_000) < loss(200_000, 50_000));
        let shares = [2, 20, 90].map(|share| loss(200_000, 2_000 * share));
        assert!(shares[1] < shares[0] && shares[1] < shares[2], "{shares:?}");
    }
}
