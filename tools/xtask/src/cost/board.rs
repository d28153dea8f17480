//! Boards as the counting of instructions sees them.

use std::path::Path;
use std::process::Command;

use minigpt_runtime::Format;

use super::shape::{SMALL, STORIES, Shape};
use crate::boards::Board;

/// The least RAM in which the larger model is measured, in bytes.
const ROOMY: u64 = 64 << 10;

/// The boards of which QEMU has the machine, each machine once, by name.
pub(super) fn all() -> Result<Vec<Board>, String> {
    let mut boards: Vec<Board> = Vec::new();
    for board in Board::all()? {
        let machine = board.machine();
        if machine.is_some() && boards.iter().all(|known| known.machine() != machine) {
            boards.push(board);
        }
    }
    Ok(boards)
}

impl Board {
    fn machine(&self) -> Option<&str> {
        self.qemu.as_ref().map(|qemu| qemu.machine.as_str())
    }

    /// The end of the name of the QEMU that has it.
    pub(super) fn system(&self) -> &str {
        self.qemu.as_ref().map_or("", |qemu| &qemu.system)
    }

    /// Whether models of all shapes fit into its RAM.
    pub(super) fn is_roomy(&self) -> bool {
        self.ram.size >= ROOMY
    }

    /// The model that is measured on it for the table.
    pub(super) fn shape(&self) -> Shape {
        match self.is_roomy() {
            true => STORIES,
            false => SMALL,
        }
    }

    /// The formats that are measured on it: integers everywhere, in the order of the DSP extension
    /// where there is one, floats where there is an FPU and room for them.
    pub(super) fn formats(&self) -> Vec<Format> {
        let fpu = self.target.ends_with("hf");
        let roomy = self.model.size >= 2 << 20;
        let mut formats = Format::ALL.to_vec();
        formats.retain(|format| match format {
            Format::Q8 | Format::Q4 => true,
            Format::Q8Dsp => fpu,
            _ => fpu && roomy,
        });
        formats
    }

    /// Adds to `command` how QEMU runs `program` on `model`, an instruction as long as any other.
    pub(super) fn qemu(&self, command: &mut Command, program: &Path, model: &Path) {
        command
            .arg(format!("qemu-system-{}", self.system()))
            .args(["-machine", self.machine().unwrap_or_default()]);
        if self.system() != "arm" {
            command.args(["-bios", "none"]);
        }
        // Nanoseconds of an instruction, as a power of two: a tick each where instructions are
        // counted themselves, else as many as the counter can hold for a token.
        let shift = match (self.system(), self.counter.address) {
            ("arm", 0) => "shift=4,sleep=off",
            ("arm", _) => "shift=7,sleep=off",
            _ => "shift=0,sleep=off",
        };
        command
            .args(["-display", "none", "-monitor", "none", "-serial", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-icount", shift])
            .arg("-kernel")
            .arg(program);
        let (model, start) = (model.display(), self.model.start);
        command.arg("-device");
        command.arg(format!("loader,file={model},addr={start:#x},force-raw=on"));
    }
}
