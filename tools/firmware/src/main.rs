//! A board that tells stories.
//!
//! Reads lines from the serial line: a line that begins with `/` is a command, any other the
//! beginning of a text, which is continued token by token. Under QEMU or a debugger the text goes to
//! standard output, figures and errors to standard error; a serial port carries both, figures and
//! errors on lines that begin with `# `.
//!
//! The model is not part of the program: it lies in a partition of its own, at the address that the
//! board file names, and is used there.
#![no_std]
#![no_main]

mod board;
mod command;
mod console;
mod hardware;
mod line;
mod number;
mod options;
mod sentences;
mod stack;
mod teller;

use minigpt_runtime::format::MAGIC;
use minigpt_runtime::{LoadError, ModelFile, self_test};

use crate::console::{Console, Hex, Say, say};
use crate::teller::Teller;

/// How the matrices of models are stored.
#[cfg(weights = "q8")]
pub(crate) type Weights = minigpt_runtime::Q8;
#[cfg(weights = "q8-dsp")]
pub(crate) type Weights = minigpt_runtime::Q8Dsp;
#[cfg(weights = "q4")]
pub(crate) type Weights = minigpt_runtime::Q4;

/// Exit codes.
const BAD_ARITHMETIC: i32 = 1;
const BAD_MODEL: i32 = 2;
const TOO_LARGE: i32 = 3;

/// Runs on the board after its memory was set up.
///
/// What it calls is not inlined, or the stack of all of it would be in use all the time.
fn run() -> Result<(), i32> {
    stack::paint();
    check_arithmetic()?;
    let file = open()?;
    let model = file.model::<Weights>().map_err(no_model)?;
    let teller = Teller::new(&file, model, board::arena());
    let mut teller = teller.map_err(|error| fail(error, TOO_LARGE))?;
    teller.greet();
    let mut console = Console::new();
    while let Some(line) = console.read_line() {
        match line {
            Ok(line) => teller.answer(line),
            Err(error) => say!("error: ", error),
        }
    }
    Ok(())
}

#[inline(never)]
fn check_arithmetic() -> Result<(), i32> {
    self_test::run::<Weights>().map_err(|error| fail(error, BAD_ARITHMETIC))
}

/// The model in its partition.
#[inline(never)]
fn open() -> Result<ModelFile<'static>, i32> {
    let partition = board::model_partition();
    let file = ModelFile::open_at(partition).map_err(|error| {
        if partition.starts_with(&MAGIC) {
            no_model(error)
        } else {
            missing(partition)
        }
    })?;
    file.verify().map_err(no_model)?;
    Ok(file)
}

fn fail(error: impl Say, code: i32) -> i32 {
    say!("error: ", error);
    code
}

fn no_model(error: LoadError) -> i32 {
    say!("error: the model at ", Hex(board::MODEL.0), ": ", error);
    BAD_MODEL
}

/// There is no model where one should begin; perhaps it lies a little further on.
fn missing(partition: &[u8]) -> i32 {
    const NEAR: usize = 4096;
    let mut windows = partition.windows(MAGIC.len()).take(NEAR);
    let start = Hex(board::MODEL.0);
    match windows.position(|window| window == MAGIC) {
        Some(offset) => say!(
            "error: the model begins at ",
            Hex(board::MODEL.0 + offset),
            " and not at ",
            start,
            "; write it there",
        ),
        None => say!("error: there is no model at ", start, "; write one there"),
    }
    BAD_MODEL
}
