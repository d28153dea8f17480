//! What of the board files matters to the counting of instructions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minigpt_runtime::Format;
use serde::Deserialize;

use super::shape::{SMALL, STORIES, Shape};

/// The folder of the programs, with a workspace of its own.
pub(super) const FIRMWARE: &str = "tools/firmware";

/// The least RAM in which the larger model is measured, in bytes.
const ROOMY: u64 = 64 << 10;

/// A board that QEMU has.
#[derive(Deserialize)]
pub(super) struct Board {
    #[serde(skip)]
    pub(super) name: String,
    pub(super) core: String,
    pub(super) target: String,
    pub(super) model: Partition,
    ram: Ram,
    pub(super) counter: Counter,
    qemu: Option<Qemu>,
}

#[derive(Deserialize)]
pub(super) struct Partition {
    pub(super) start: u64,
    pub(super) size: u64,
}

#[derive(Deserialize)]
struct Ram {
    size: u64,
}

#[derive(Deserialize)]
pub(super) struct Counter {
    /// Of a register that counts upward; 0 where there is none.
    #[serde(default)]
    pub(super) address: u64,
}

#[derive(Deserialize)]
struct Qemu {
    system: String,
    machine: String,
}

impl Board {
    /// The boards of which QEMU has the machine, each machine once, by name.
    pub(super) fn all() -> Result<Vec<Self>, String> {
        let folder = Path::new(FIRMWARE).join("boards");
        let failed = |error| format!("{}: {error}", folder.display());
        let entries = fs::read_dir(&folder).map_err(failed)?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut boards: Vec<Self> = Vec::new();
        for path in paths {
            let board = Self::read(&path)?;
            let machine = board.machine();
            if machine.is_some() && boards.iter().all(|known| known.machine() != machine) {
                boards.push(board);
            }
        }
        Ok(boards)
    }

    fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn core::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let board: Self = toml::from_str(&text).map_err(|error| failed(&error))?;
        Ok(Self {
            name: name.into_owned(),
            ..board
        })
    }

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
            Format::Q8 => true,
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
