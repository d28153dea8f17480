//! Whether a model fits a board, and with which context.

use minigpt_runtime::{Config, Format, MemoryPlan};

use super::options::SESSION;
use crate::board::Board;
use crate::failure::Failure;
use crate::output::grouped;

/// A board with a model that fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Bytes of the model file.
    model: u64,
    /// Tokens of context that the program will give its session.
    pub(crate) n_ctx: usize,
    /// Bytes of its arena that are used.
    arena: u64,
}

impl Plan {
    /// Plans a model file of `model` bytes, by the figures alone.
    ///
    /// A misuse says which figure is too large and what would fit.
    pub(crate) fn new(
        board: &Board,
        config: &Config,
        format: Format,
        model: u64,
    ) -> Result<Self, Failure> {
        let partition = u64::from(board.model.size);
        if model > partition {
            return Err(too_large(board, model)?);
        }
        let options = SESSION.fitted(config, format, board.arena_bytes());
        let arena = MemoryPlan::new(config, format, &options).total();
        if arena > board.arena_bytes() {
            return Err(Failure::Misuse(format!(
                "one token of context takes {} bytes of RAM and {board} has {}: lower n_embd, n_ff or the vocabulary; minigpt fit --board {board} says what fits",
                grouped(arena),
                grouped(board.arena_bytes())
            )));
        }
        Ok(Self {
            model,
            n_ctx: options.n_ctx,
            arena,
        })
    }

    /// The figures, for people; the program has `program` bytes.
    pub(crate) fn text(&self, board: &Board, config: &Config, program: u64) -> String {
        let row = |what, used: u64, all: u64, free: u64| {
            let [used, all, free] = [used, all, free].map(grouped);
            format!("  {what:8} {used:>11} of {all:>11} bytes, {free} free\n")
        };
        let used = |what, used: u64, all: u64| row(what, used, all, all.saturating_sub(used));
        let flash = [
            used("program", program, board.flash.size.into()),
            used("model", self.model, board.model.size.into()),
            used("arena", self.arena, board.arena_bytes()),
        ];
        let (n_ctx, whole) = (grouped(self.n_ctx as u64), grouped(config.n_ctx() as u64));
        let why = match self.n_ctx < config.n_ctx() {
            true => ": more does not fit the arena",
            false => "",
        };
        format!(
            "{}  context  {n_ctx:>11} of {whole:>11} tokens{why}",
            flash.concat()
        )
    }
}

/// Says by how much a model of `model` bytes is too large, and where it fits.
fn too_large(board: &Board, model: u64) -> Result<Failure, Failure> {
    let partition = u64::from(board.model.size);
    let boards = Board::all()?;
    let names: Vec<_> = boards
        .iter()
        .filter(|other| u64::from(other.model.size) >= model)
        .map(|other| other.name)
        .collect();
    let elsewhere = match names.len() {
        0 => String::new(),
        _ => format!("; it fits {}", names.join(", ")),
    };
    Ok(Failure::Misuse(format!(
        "the model has {} bytes and the model partition of {board} holds {}, {} too few: minigpt fit --board {board} says which shapes fit{elsewhere}",
        grouped(model),
        grouped(partition),
        grouped(model - partition)
    )))
}
