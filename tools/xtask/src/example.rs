//! The runtime's example for a microcontroller: no warnings, and under QEMU the text of a desktop.

use std::path::Path;
use std::process::Command;

use super::boards::Board;
use super::{cargo, golden, run};

/// Its folder, with a workspace of its own.
pub(crate) const FOLDER: &str = "runtime/examples/bare-metal";

/// The board that its `memory.x` describes.
const BOARD: &str = "mps2-an386";

const MODEL: &str = "models/board-64k.mgpt";

/// What it asks for, as `minigpt generate` takes it.
const ASKED: [&str; 6] = [
    "--kv=q8",
    "--prompt=Once upon a time",
    "--temperature=0.8",
    "--top-p=0.95",
    "--seed=7",
    "--max-tokens=60",
];

/// Builds and runs it as its guide says.
pub(crate) fn check() -> Result<(), String> {
    let boards = Board::all()?;
    let board = boards.iter().find(|board| board.name == BOARD);
    let board = board.ok_or_else(|| format!("there is no board {BOARD}"))?;
    if !board.has_target()? {
        return Ok(());
    }
    let clippy = ["clippy", "--release", "--", "--deny=warnings"];
    run(Command::new(env!("CARGO")).current_dir(FOLDER).args(clippy))?;
    if !board.has_qemu()? {
        return Ok(());
    }
    cargo(&["build", "--package", "minigpt"])?;
    let mut export = golden::minigpt()?;
    export.args(["export", MODEL, "--format=q8-dsp", "-o"]);
    run(export.arg(Path::new(FOLDER).join("model.mgpt")))?;
    let mut program = Command::new("timeout");
    program.args(["300", env!("CARGO"), "run", "--quiet", "--release"]);
    let told = golden::text_of(program.current_dir(FOLDER))?;
    let mut desktop = golden::minigpt()?;
    let expected = golden::text_of(desktop.args(["generate", MODEL]).args(ASKED))?;
    if told != expected {
        return Err(format!("{FOLDER} tells {told:?} and not {expected:?}"));
    }
    println!("xtask: {FOLDER}: the text of the desktop");
    Ok(())
}
