//! The boards that there is firmware for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::serial::SerialBoard;
use super::{example, missing, output, run};

/// The program's folder, with a workspace of its own.
pub(crate) const FIRMWARE: &str = "tools/firmware";

/// A model for the checks of serial lines, for each format of weights.
const MODELS: [(&str, &str); 3] = [
    ("q8", "tests/data/format/v1-q8-bpe.mgpt"),
    ("q8-dsp", "tests/data/format/v2-q8-dsp-bpe.mgpt"),
    ("q4", "tests/data/format/v4-q4-bpe.mgpt"),
];

/// What of a board file matters here.
#[derive(Deserialize)]
pub(crate) struct Board {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) core: String,
    pub(crate) target: String,
    /// The formats of its models' weights; each has a program of its own.
    pub(crate) weights: Vec<String>,
    pub(crate) flash: Partition,
    pub(crate) model: Partition,
    pub(crate) ram: Ram,
    pub(crate) counter: Counter,
    /// QEMU, with text and figures on its standard streams.
    pub(crate) qemu: Option<Qemu>,
    /// QEMU, with the serial line there.
    pub(crate) qemu_serial: Option<Qemu>,
}

#[derive(Deserialize)]
pub(crate) struct Partition {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

#[derive(Deserialize)]
pub(crate) struct Ram {
    pub(crate) size: u64,
}

#[derive(Deserialize)]
pub(crate) struct Counter {
    /// Of a register that counts upward; 0 where there is none.
    #[serde(default)]
    pub(crate) address: u64,
}

#[derive(Deserialize)]
pub(crate) struct Qemu {
    /// The end of the name of its program.
    pub(crate) system: String,
    pub(crate) machine: String,
}

impl Board {
    /// All boards, by name.
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        let boards = files(&Path::new(FIRMWARE).join("boards"), "toml")?;
        let boards = boards.iter().map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let board: Self = read(path)?;
            Ok(Self {
                name: name.into_owned(),
                ..board
            })
        });
        boards.collect()
    }

    /// Whether its target is installed.
    pub(crate) fn has_target(&self) -> Result<bool, String> {
        let targets = output("rustup", &["target", "list", "--installed"]);
        if targets.lines().any(|line| line == self.target) {
            return Ok(true);
        }
        let install = format!("rustup target add {}", self.target);
        missing("targets", &self.target, &install).map(|()| false)
    }

    /// Whether QEMU is the board, and is installed.
    pub(crate) fn has_qemu(&self) -> Result<bool, String> {
        let Some(qemu) = self.qemu.as_ref().or(self.qemu_serial.as_ref()) else {
            return Ok(false);
        };
        let system = format!("qemu-system-{}", qemu.system);
        if !output(&system, &["--version"]).is_empty() {
            return Ok(true);
        }
        let install = "apt-get install --no-install-recommends qemu-system-arm qemu-system-misc";
        missing("qemu", &system, install).map(|()| false)
    }

    /// Its prebuilt program for models of `weights`: of the first the name is the board's.
    pub(crate) fn program(&self, weights: &str) -> PathBuf {
        let name = match self.weights.first() {
            Some(first) if first == weights => format!("{}.elf", self.name),
            _ => format!("{}-{weights}.elf", self.name),
        };
        Path::new(FIRMWARE).join("prebuilt").join(name)
    }

    /// The board at its serial line with the program for models of `weights`, if QEMU is that.
    pub(crate) fn serial(&self, weights: &str) -> Option<SerialBoard<'_>> {
        let qemu = self.qemu_serial.as_ref()?;
        Some(SerialBoard {
            name: &self.name,
            machine: (&qemu.system, &qemu.machine),
            program: self.program(weights),
            address: self.model.start,
        })
    }

    /// A run of cargo on its firmware for models of `weights`.
    pub(crate) fn cargo(&self, args: &[&str], weights: &str) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(FIRMWARE).args(args);
        command.args(["--release", "--target", &self.target]);
        command.env("MINIGPT_BOARD", &self.name);
        command.env("MINIGPT_WEIGHTS", weights);
        command
    }
}

/// The step itself: no warnings on any board, an answer to whatever comes over a serial line, and the example.
pub(crate) fn check() -> Result<(), String> {
    for board in Board::all()? {
        let here = board.has_target()?;
        for weights in board.weights.iter().filter(|_| here) {
            run(board
                .cargo(&["clippy"], weights)
                .args(["--", "--deny=warnings"]))?;
        }
        for weights in &board.weights {
            if let Some(serial) = board.serial(weights)
                && board.has_qemu()?
            {
                let models = MODELS.iter().find(|(format, _)| format == weights);
                let (_, model) = models.ok_or_else(|| format!("no model of {weights}"))?;
                serial.check(Path::new(model))?;
            }
        }
    }
    example::check()
}

/// Reads a TOML file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files of `folder` that end in `extension`, in order.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    Ok(files)
}
