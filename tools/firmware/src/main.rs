//! A board that tells stories.
//!
//! Reads lines from the serial line: a line that begins with `/` is a command, any other the
//! beginning of a text, which is continued token by token. The text goes to the serial line alone;
//! figures and errors go to the second one (under QEMU: standard output, standard error).
//!
//! The model is not part of the program: it lies in a partition of its own, at the address that the
//! board file names, and is used there.
#![no_std]
#![no_main]

mod board;
mod command;
mod console;
mod options;
mod stack;
mod teller;

use minigpt_runtime::format::MAGIC;
use minigpt_runtime::{ModelFile, Q8};

use crate::console::{Console, say};
use crate::teller::Teller;

/// Runs on the board after its memory was set up.
fn run() -> Result<(), i32> {
    stack::paint();
    let partition = board::model_partition();
    let file = ModelFile::open_at(partition).map_err(|error| {
        if partition.starts_with(&MAGIC) {
            say!("error: the model at {:#x}: {error}", board::MODEL.0);
        } else {
            say!(
                "error: there is no model at {:#x}; write one there",
                board::MODEL.0
            );
        }
        2
    })?;
    file.verify().map_err(|error| {
        say!(
            "error: the model at {:#x} is damaged: {error}; write it again",
            board::MODEL.0
        );
        2
    })?;
    let model = file.model::<Q8>().map_err(|error| {
        say!("error: {error}; this program runs q8: export the model with --format q8");
        2
    })?;
    let mut teller = Teller::new(&file, model, board::arena()).map_err(|error| {
        say!("error: {error}");
        3
    })?;
    let mut console = Console::new();
    while let Some(line) = console.read_line() {
        match line {
            Ok(line) => teller.answer(line),
            Err(error) => say!("error: {error}"),
        }
    }
    Ok(())
}
