//! `--board`: where the model is to run.

use minigpt_runtime::config::Config;
use minigpt_runtime::{Format, layout};
use minigpt_trainer::run::Run;
use minigpt_trainer::run_config::{ModelSettings, TokenizerChoice};

use crate::board::Board;
use crate::cmd::firmware::{self, Misfit, Plan};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{grouped, say};

/// Vocabularies below this many tokens are mostly the bytes themselves.
const LEAST_BPE: u32 = 320;

/// The board that a run ends with an image for.
pub(super) struct Destination(Board);

impl Destination {
    /// The board called `name`.
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        Board::named(name).map(Self)
    }

    /// Gives `run` back if its model will fit, and says with which figures. Otherwise says what would
    /// fit, and a run that has not begun is removed.
    pub(super) fn accept(&self, run: Run) -> Result<Run, Failure> {
        let Self(board) = self;
        let format = board.weights()?;
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
                let refusal = self.refusal(&run, misfit, format, bytes);
                interrupt::made();
                if !Run::has_checkpoint(run.path())? {
                    run.discard()?;
                }
                Err(Failure::Misuse(refusal))
            }
        }
    }

    /// Why the model of `run`, of `bytes` bytes, does not fit, and what would.
    fn refusal(&self, run: &Run, misfit: Misfit, format: Format, bytes: u64) -> String {
        let Self(board) = self;
        let changes = self.changes(run, format, bytes);
        let advice = match changes.is_empty() {
            true => String::new(),
            false => format!("{} would make it fit, and ", changes.join(" or ")),
        };
        format!(
            "{}; {advice}minigpt fit --board {board} says what fits",
            misfit.text(board)
        )
    }

    /// Changes of one setting, as small as can be, that make the model of `run` fit; its file has
    /// `bytes` bytes.
    fn changes(&self, run: &Run, format: Format, bytes: u64) -> Vec<String> {
        let Self(board) = self;
        let overhead = bytes - layout::weights_bytes(&run.config, format);
        let settings = run.settings.clone().without_derived();
        let fits = |n_vocab: u32, change: &dyn Fn(&mut ModelSettings)| {
            let mut model = settings.model.clone();
            change(&mut model);
            Config::new(model.hyperparameters(n_vocab)).is_ok_and(|config| {
                let bytes = overhead + layout::weights_bytes(&config, format);
                Plan::new(board, &config, format, bytes).is_ok()
            })
        };
        let n_vocab = run.config.n_vocab() as u32;
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
