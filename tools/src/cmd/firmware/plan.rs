//! Whether a model fits a board, and with which context.

use minigpt_runtime::{Config, Format, MemoryPlan};

use super::options::SESSION;
use crate::board::Board;
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

/// Why a model does not fit a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Its file is larger than the partition.
    Model { bytes: u64, partition: u64 },
    /// One token of context takes more RAM than the program has for it.
    Arena { bytes: u64, arena: u64 },
}

impl Plan {
    /// Plans a model file of `model` bytes, by the figures alone.
    pub(crate) fn new(
        board: &Board,
        config: &Config,
        format: Format,
        model: u64,
    ) -> Result<Self, Misfit> {
        let (partition, memory) = (u64::from(board.model.size), board.arena_bytes());
        if model > partition {
            let bytes = model;
            return Err(Misfit::Model { bytes, partition });
        }
        let options = SESSION.fitted(config, format, memory);
        let bytes = MemoryPlan::new(config, format, &options).total();
        if bytes > memory {
            let arena = memory;
            return Err(Misfit::Arena { bytes, arena });
        }
        Ok(Self {
            model,
            n_ctx: options.n_ctx,
            arena: bytes,
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

impl Misfit {
    /// What is too large for `board`, and by how much.
    pub(crate) fn text(self, board: &Board) -> String {
        match self {
            Self::Model { bytes, partition } => format!(
                "the model has {} bytes and the model partition of {board} holds {}, {} too few",
                grouped(bytes),
                grouped(partition),
                grouped(bytes - partition)
            ),
            Self::Arena { bytes, arena } => format!(
                "one token of context takes {} bytes of RAM and {board} has {} for it, {} too few",
                grouped(bytes),
                grouped(arena),
                grouped(bytes - arena)
            ),
        }
    }
}
