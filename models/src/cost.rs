//! What a token costs on a microcontroller, before there is a model: the work that a shape means,
//! and the instructions that each kind of work takes on each core.
//!
//! The instructions were counted under QEMU on many shapes and fitted by least squares:
//! `cargo xtask cost --fit` writes `cost/cores.csv`, and `cargo xtask cost` holds it against shapes
//! that it was not fitted on.

use minigpt_runtime::config::{Mlp, Norm, Positions};
use minigpt_runtime::quant::BLOCK;
use minigpt_runtime::{Config, Format, ops};

/// Number of kinds of work.
pub const KINDS: usize = 23;

/// The kinds of work, as the columns of `cores.csv` are called.
pub const WORK: [&str; KINDS] = [
    "token",
    "layer",
    "embedded_value",
    "matrix_row",
    "matrix_block",
    "row_rest",
    "wide_row",
    "apart_block",
    "quantized_value",
    "attention_score",
    "attention_value",
    "uneven_score",
    "uneven_value",
    "cached_value",
    "relu",
    "relu_squared",
    "gelu",
    "swiglu",
    "rms_norm_value",
    "layer_norm_value",
    "biased_value",
    "rotation",
    "angle",
];

/// The columns of `cores.csv` before those of [`WORK`].
pub const COLUMNS: [&str; 4] = ["core", "format", "program_bytes", "stack_bytes"];

/// Rows of floats go in steps of so many columns, and in halves and quarters of it at their end.
const ROW_STEP: usize = 16;

/// Heads of which the width is no multiple of this go through plain loops.
const HEAD_STEP: usize = 8;

/// Positions over which the cost of a token is averaged in the tables, from the first on.
pub const POSITIONS: usize = 64;

/// A core with the program and the arithmetic of one weight format.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a row of a table, which the checks write"
)]
pub struct CoreCost<'a> {
    /// Its name, as in the board files.
    pub core: &'a str,
    /// Name of the weight format.
    pub format: &'a str,
    /// Bytes of code and constants that open, encode, run and sample a model.
    pub program_bytes: u64,
    /// Most bytes of stack that they use.
    pub stack_bytes: u64,
    /// Instructions of each kind of [`WORK`].
    pub instructions: [f64; KINDS],
}

impl<'a> CoreCost<'a> {
    /// Reads a line of `cores.csv`; `None` if it is none.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(',');
        let mut cost = Self {
            core: fields.next()?,
            format: fields.next()?,
            program_bytes: fields.next()?.parse().ok()?,
            stack_bytes: fields.next()?.parse().ok()?,
            instructions: [0.0; KINDS],
        };
        for instructions in &mut cost.instructions {
            *instructions = fields.next()?.parse().ok()?;
        }
        fields.next().is_none().then_some(cost)
    }

    /// Instructions for the token at `position` of a model of this core's format.
    #[must_use]
    pub fn instructions(&self, config: &Config, format: Format, position: usize) -> f64 {
        let work = work(config, format, position);
        let costs = work.iter().zip(&self.instructions);
        costs
            .map(|(count, instructions)| count * instructions)
            .sum()
    }

    /// Mean of [`Self::instructions`] over the first `positions` positions.
    #[must_use]
    pub fn mean_instructions(&self, config: &Config, format: Format, positions: usize) -> f64 {
        let sum: f64 = (0..positions)
            .map(|position| self.instructions(config, format, position))
            .sum();
        sum / positions as f64
    }
}

/// The cores that were measured.
pub fn cores() -> impl Iterator<Item = CoreCost<'static>> {
    parse(include_str!("cost/cores.csv"))
}

/// The rows of a `cores.csv`.
pub fn parse(text: &str) -> impl Iterator<Item = CoreCost<'_>> {
    text.lines().filter_map(CoreCost::parse)
}

/// How often each kind of [`WORK`] is done for the token at `position`.
#[must_use]
pub fn work(config: &Config, format: Format, position: usize) -> [f64; KINDS] {
    let (n_layer, n_embd, n_ff) = (config.n_layer(), config.n_embd(), config.n_ff());
    let layer_rows = config.n_qkv() + config.n_fc() + 2 * n_embd;
    let block = match format.is_integer() {
        true => BLOCK,
        false => ops::LANES,
    };
    let (embd_blocks, ff_blocks) = (n_embd.div_ceil(block), n_ff.div_ceil(block));
    let only = |applies: bool, count: usize| if applies { count } else { 0 };
    // Rows by their width: `n_embd`, the head's included, and `n_ff`.
    let (embd_rows, ff_rows) = (
        n_layer * (layer_rows - n_embd) + config.n_vocab(),
        n_layer * n_embd,
    );
    let halvings = |width: usize| match width % ROW_STEP {
        0 => 0,
        8 => 1,
        _ => 2,
    };
    let rest = |width| only(!format.is_integer(), halvings(width));
    // Rows of so many blocks that lanes take more than one each.
    let wide = |blocks, rows| only(format.is_integer() && blocks > ops::LANES, rows);
    // Kernels of four bits take rows of two blocks together.
    let apart = |blocks, rows| only(format == Format::Q4 && blocks != 2, blocks * rows);
    let scores = n_layer * config.n_head() * (position + 1);
    // Kernels of attention take heads whose width is a multiple of this.
    let even = config.head_size().is_multiple_of(HEAD_STEP);
    let mlp = |kind| only(config.mlp() == kind, n_layer * n_ff);
    let rope = config.positions() == Positions::Rope;
    let sinusoidal = config.positions() == Positions::Sinusoidal;
    let learned = config.positions() == Positions::Learned;
    let angles = only(rope, config.head_size() / 2) + only(sinusoidal, n_embd / 2);
    let norm = |kind| only(config.norm() == kind, (2 * n_layer + 1) * n_embd);
    let counts = [
        1,
        n_layer,
        n_embd + only(learned, n_embd),
        embd_rows + ff_rows,
        embd_rows * embd_blocks + ff_rows * ff_blocks,
        embd_rows * rest(n_embd) + ff_rows * rest(n_ff),
        wide(embd_blocks, embd_rows) + wide(ff_blocks, ff_rows),
        apart(embd_blocks, embd_rows) + apart(ff_blocks, ff_rows),
        only(format.is_integer(), n_layer * (3 * n_embd + n_ff) + n_embd),
        only(even, scores),
        only(even, scores * config.head_size()),
        only(!even, scores),
        only(!even, scores * config.head_size()),
        2 * n_layer * config.n_kv(),
        mlp(Mlp::Relu),
        mlp(Mlp::ReluSquared),
        mlp(Mlp::Gelu),
        mlp(Mlp::Swiglu),
        norm(Norm::RmsNorm),
        norm(Norm::LayerNorm),
        only(config.bias(), n_layer * layer_rows),
        only(rope, n_layer * (n_embd + config.n_kv()) / 2),
        angles,
    ];
    counts.map(|count| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let text = include_str!("cost/cores.csv");
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let columns = COLUMNS.iter().chain(&WORK);
        assert!(columns.copied().eq(lines.next().unwrap().split(',')));
        let rows = lines.clone().count();
        assert_eq!(rows, cores().count());
        assert!(rows > 0);
        for core in cores() {
            assert!(core.instructions.iter().all(|n| n.is_finite() && *n >= 0.0));
            assert!(
                Format::ALL
                    .iter()
                    .any(|format| format.name() == core.format)
            );
        }
    }

    #[test]
    fn work_is_that_of_the_matrices() {
        let shape = crate::preset("stories").unwrap().hyperparameters(512);
        let config = Config::new(shape).unwrap();
        let count = |format, kind| {
            let index = WORK.iter().position(|name| *name == kind).unwrap();
            work(&config, format, 9)[index]
        };
        let rows = 3.0 * (384.0 + 128.0 + 384.0 + 128.0) + 512.0;
        assert_eq!(count(Format::Q8, "matrix_row"), rows);
        let products = 3.0 * (384.0 * 128.0 + 128.0 * 128.0 + 2.0 * 384.0 * 128.0) + 512.0 * 128.0;
        assert_eq!(32.0 * count(Format::Q8, "matrix_block"), products);
        assert_eq!(8.0 * count(Format::F32, "matrix_block"), products);
        assert_eq!(count(Format::F32, "quantized_value"), 0.0);
        assert_eq!(count(Format::Q8, "attention_value"), 3.0 * 128.0 * 10.0);
    }
}
