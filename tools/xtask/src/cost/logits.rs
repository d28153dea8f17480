//! The logits of a host, which those of boards are compared with.

use std::path::Path;

use minigpt_runtime::{
    ARENA_ALIGNMENT, Format, KvFormat, MemoryPlan, ModelFile, Q4, Q8, Q8Dsp, Session,
    SessionOptions, WeightFormat,
};

use crate::file::{aligned, with_file};

/// Positions that a board runs, at most.
const POSITIONS: usize = 64;

/// A number that depends on every bit of the logits after each of the tokens 0, 1, 2 ... of the model at
/// `path`, with a context of `n_ctx`; none for floats, which are not the same bits everywhere.
pub(super) fn expected(path: &Path, n_ctx: usize) -> Result<Option<u32>, String> {
    with_file(path, |file| {
        let mixed = match file.format() {
            Format::Q8 => run::<Q8>(file, n_ctx),
            Format::Q8Dsp => run::<Q8Dsp>(file, n_ctx),
            Format::Q4 => run::<Q4>(file, n_ctx),
            _ => return Ok(None),
        };
        let mixed = mixed.map_err(|error| format!("{}: {error}", path.display()));
        mixed.map(Some)
    })
}

fn run<W: WeightFormat>(
    file: &ModelFile<'_>,
    n_ctx: usize,
) -> Result<u32, Box<dyn core::error::Error>> {
    let options = SessionOptions {
        n_ctx,
        n_chunk: 1,
        kv: KvFormat::Q8,
    };
    let len = MemoryPlan::new(file.config(), file.format(), &options).total() as usize;
    let mut room = vec![0; len + ARENA_ALIGNMENT];
    let mut session = Session::new(file.model::<W>()?, aligned(&mut room, len), &options)?;
    let mut sum: u32 = 0;
    for token in 0..POSITIONS.min(n_ctx) as u32 {
        for logit in session.forward(&[token])? {
            sum = sum.rotate_left(5).wrapping_mul(31) ^ logit.to_bits();
        }
    }
    Ok(sum)
}
