//! `--board`: where the model is to run.

use minigpt_runtime::config::Config;
use minigpt_runtime::{Format, layout};
use minigpt_trainer::run::Run;
use minigpt_trainer::run_config::{ModelSettings, RunConfig, TokenizerChoice};

use super::deployed;
use crate::board::Board;
use crate::cmd::firmware::{self, Misfit, Plan};
use crate::cmd::fit;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::library;
use crate::output::{grouped, say};

/// Vocabularies below this many tokens are mostly the bytes themselves.
const LEAST_BPE: u32 = 320;

/// Room for what stands before the weights while there is no tokenizer yet, and for each of its tokens.
const HEADER_BYTES: u64 = 1024;
const TOKEN_BYTES: u64 = 16;

/// The board that a run ends with an image for.
pub(super) struct Destination(Board);

impl Destination {
    /// The board called `name`.
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        Board::named(name).map(Self)
    }

    /// Gives `settings` the best shape for the board, and a vocabulary where `tokenizer` is none, if their own
    /// may be too large for it; says which.
    pub(super) fn suit(
        &self,
        settings: &mut RunConfig,
        tokenizer: Option<TokenizerChoice>,
    ) -> Outcome {
        let Self(board) = self;
        let kind = deployed(settings);
        if self.holds(settings, board.stored(kind)?)? {
            return Ok(());
        }
        let others = self.fit(settings);
        let best = fit::for_board(board.name, kind, &settings.data, tokenizer)?;
        best.settle(settings);
        let shape = best.config.hyperparameters();
        say!(
            "the usual model is too large for {board}; the best that fits is {}, {} layers of {}, {} heads, \
             context {}: {} parameters, up to {} bytes of flash, {} of RAM; others are shown by {} and chosen \
             by --config, --preset or --set n_layer=N",
            best.choice,
            shape.n_layer,
            shape.n_embd,
            shape.n_head,
            shape.n_ctx,
            grouped(best.n_params),
            grouped(best.model_bytes),
            grouped(best.arena_bytes),
            others
        );
        Ok(())
    }

    /// Whether the board holds the model of `settings` with room for any vocabulary that they may learn.
    fn holds(&self, settings: &RunConfig, format: Format) -> Result<bool, Failure> {
        let tokenizer = match settings.data.tokenizer {
            TokenizerChoice::Auto => library::inputs(&settings.data)?.settle(TokenizerChoice::Auto),
            chosen => chosen,
        };
        let n_vocab = match tokenizer {
            TokenizerChoice::Bpe { n_vocab } => n_vocab,
            _ => LEAST_BPE,
        };
        let invalid = Config::new(settings.model.hyperparameters(n_vocab)).is_err();
        // What is invalid is said by whoever makes the run.
        Ok(invalid || self.fits(&settings.model, n_vocab, format, overhead(n_vocab)))
    }

    /// Whether the board holds a model of shape `model`, whose file has `overhead` bytes beside its weights.
    fn fits(&self, model: &ModelSettings, n_vocab: u32, format: Format, overhead: u64) -> bool {
        let Self(board) = self;
        Config::new(model.hyperparameters(n_vocab)).is_ok_and(|config| {
            let bytes = overhead + layout::weights_bytes(&config, format);
            Plan::new(board, &config, format, bytes).is_ok()
        })
    }

    /// Refuses settings whose model would not fit with any vocabulary, before anything is read.
    pub(super) fn accept_shape(&self, settings: &RunConfig) -> Outcome {
        let Self(board) = self;
        let format = board.stored(deployed(settings))?;
        let Ok(config) = Config::new(settings.model.hyperparameters(1)) else {
            return Ok(()); // said by whoever makes the run
        };
        let bytes = layout::weights_bytes(&config, format);
        match Plan::new(board, &config, format, bytes) {
            Ok(_) => Ok(()),
            Err(misfit) => {
                let n_vocab = match settings.data.tokenizer {
                    TokenizerChoice::Bpe { n_vocab } => n_vocab,
                    _ => 256,
                };
                let changes = self.changes(settings, n_vocab, format, overhead(n_vocab));
                let refusal = self.refusal(misfit, settings, &changes);
                Err(Failure::Misuse(format!(
                    "even without a vocabulary {refusal}"
                )))
            }
        }
    }

    /// Gives `run` back if its model will fit, and says with which figures. Otherwise says what would
    /// fit, and a run that has not begun is removed.
    pub(super) fn accept(&self, run: Run) -> Result<Run, Failure> {
        let Self(board) = self;
        let format = board.stored(deployed(&run.settings))?;
        let bytes = run.model_bytes(format).map_err(Failure::failed)?;
        match Plan::new(board, &run.config, format, bytes) {
            Ok(plan) => {
                say!(
                    "{board}: up to {} of {} bytes of flash for the model, a context of {} of {} tokens",
                    grouped(bytes),
                    grouped(board.model.size.into()),
                    plan.n_ctx,
                    run.config.n_ctx()
                );
                Ok(run)
            }
            Err(misfit) => {
                let overhead = bytes - layout::weights_bytes(&run.config, format);
                let n_vocab = run.config.n_vocab() as u32;
                let changes = self.changes(&run.settings, n_vocab, format, overhead);
                let refusal = self.refusal(misfit, &run.settings, &changes);
                interrupt::made();
                if !Run::has_checkpoint(run.path())? {
                    run.discard()?;
                }
                Err(Failure::Misuse(refusal))
            }
        }
    }

    /// What does not fit, and which changes would make it fit.
    fn refusal(&self, misfit: Misfit, settings: &RunConfig, changes: &[String]) -> String {
        let Self(board) = self;
        let advice = match changes.is_empty() {
            true => String::new(),
            false => format!("{} would make it fit; ", changes.join(" or ")),
        };
        format!(
            "{}; {advice}what fits is found by {} -o fit.toml and made by minigpt train --config fit.toml --board {board}",
            misfit.text(board),
            self.fit(settings)
        )
    }

    /// The command that says what fits of the same text and format.
    fn fit(&self, settings: &RunConfig) -> String {
        let Self(board) = self;
        let mut command = format!("minigpt fit --board {board}");
        if deployed(settings) == Format::Q4 {
            command += " --format q4";
        }
        for (i, file) in settings.data.files.iter().enumerate() {
            command += if i == 0 { " --data " } else { " " };
            command += &file.display().to_string();
        }
        command
    }

    /// Changes of one setting, as small as can be, that make a model fit, whose file has `overhead`
    /// bytes beside its weights.
    fn changes(
        &self,
        settings: &RunConfig,
        n_vocab: u32,
        format: Format,
        overhead: u64,
    ) -> Vec<String> {
        let settings = settings.clone().without_derived();
        let fits = |n_vocab: u32, change: &dyn Fn(&mut ModelSettings)| {
            let mut model = settings.model.clone();
            change(&mut model);
            self.fits(&model, n_vocab, format, overhead)
        };
        // Whole blocks of weights, and heads of an even size.
        let step = 32.max(2 * settings.model.n_head);
        let mut depths = (1..settings.model.n_layer).rev();
        let mut widths = (1..settings.model.n_embd).rev().filter(|n| n % step == 0);
        let vocabularies = match settings.data.tokenizer {
            TokenizerChoice::Bpe { n_vocab } => LEAST_BPE..n_vocab,
            _ => 0..0,
        };
        let mut vocabularies = vocabularies.rev().filter(|n| n % 64 == 0);
        let depth = depths.find(|n| fits(n_vocab, &|model| model.n_layer = *n));
        let width = widths.find(|n| fits(n_vocab, &|model| model.n_embd = *n));
        let vocabulary = vocabularies.find(|n| fits(*n, &|_| {}));
        let changes = [
            depth.map(|n| format!("--set n_layer={n}")),
            width.map(|n| format!("--set n_embd={n}")),
            vocabulary.map(|n| format!("--tokenizer bpe:{n}")),
        ];
        changes.into_iter().flatten().collect()
    }

    /// Writes the image of the model of `run` beside it.
    pub(super) fn image(&self, run: &Run) -> Outcome {
        let Self(board) = self;
        let name = format!("{board}.{}", board.usual_image().name());
        firmware::make(board, &run.model(), &run.path().join(name))
    }
}

/// Bytes that may stand before the weights in a file with a vocabulary of `n_vocab`.
fn overhead(n_vocab: u32) -> u64 {
    HEADER_BYTES + TOKEN_BYTES * u64::from(n_vocab)
}
