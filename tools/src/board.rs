//! Boards: their files and their programs, both inside this binary.

use core::fmt;

use clap::ValueEnum;
use minigpt_runtime::Format;
use serde::Deserialize;

use crate::failure::Failure;

/// Name, board file and program of every board.
static FILES: &[(&str, &str, Option<&[u8]>)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// A board, as its file in `firmware/boards` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Board {
    /// What `--board` takes.
    #[serde(skip)]
    pub(crate) name: &'static str,
    /// ELF of the prebuilt program.
    #[serde(skip)]
    program: Option<&'static [u8]>,
    pub(crate) core: String,
    pub(crate) clock_hz: u32,
    /// Where the program lies.
    pub(crate) flash: Partition,
    /// Where the model lies.
    pub(crate) model: Partition,
    ram: Ram,
    /// Formats of images that suit it, the usual one first.
    #[serde(default = "ImageFormat::usual")]
    pub(crate) images: Vec<ImageFormat>,
    /// What its boot loader knows it by in a UF2 file.
    pub(crate) uf2_family: Option<u32>,
    /// How matrices of its models are stored, by name.
    #[serde(default)]
    weights: Option<String>,
    /// The machine of QEMU that is this board, with text and figures on its standard streams.
    pub(crate) qemu: Option<Qemu>,
    tested: Option<Tested>,
}

/// A part of the flash.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Partition {
    pub(crate) start: u32,
    pub(crate) size: u32,
}

#[derive(Debug, Deserialize)]
struct Ram {
    size: u32,
    stack: u32,
    variables: u32,
}

/// How QEMU is called.
#[derive(Debug, Deserialize)]
pub(crate) struct Qemu {
    /// The end of the program's name.
    pub(crate) system: String,
    pub(crate) machine: String,
}

/// How far a board was tried.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tested {
    Qemu,
    Build,
}

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ImageFormat {
    /// Program and model as segments, for debuggers, probe-rs and QEMU
    Elf,
    /// The flash as it is to be, from the program's first byte to the model's last
    Bin,
    /// Intel HEX
    Hex,
    /// For boot loaders that show up as a drive
    Uf2,
}

impl ImageFormat {
    const ALL: [Self; 4] = [Self::Elf, Self::Bin, Self::Hex, Self::Uf2];

    fn usual() -> Vec<Self> {
        vec![Self::Elf, Self::Bin, Self::Hex]
    }

    /// As written on the command line, and the extension of such files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Bin => "bin",
            Self::Hex => "hex",
            Self::Uf2 => "uf2",
        }
    }

    /// The format called `name`, in letters of any size.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| name.eq_ignore_ascii_case(format.name()))
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Board {
    /// All boards, by name.
    pub(crate) fn all() -> Result<Vec<Self>, Failure> {
        FILES.iter().map(Self::read).collect()
    }

    /// The board called `name`.
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        match FILES.iter().find(|(known, ..)| *known == name) {
            Some(file) => Self::read(file),
            None => Err(Failure::Misuse(format!(
                "there is no board {name}; there are {}",
                FILES
                    .iter()
                    .map(|(name, ..)| *name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    fn read(
        &(name, text, program): &(&'static str, &str, Option<&'static [u8]>),
    ) -> Result<Self, Failure> {
        let board: Self = toml::from_str(text)
            .map_err(|error| Failure::Failed(format!("the file of board {name}: {error}")))?;
        Ok(Self {
            name,
            program,
            ..board
        })
    }

    /// ELF of its program.
    pub(crate) fn program(&self) -> Result<&'static [u8], Failure> {
        self.program.ok_or_else(|| {
            Failure::Failed(format!(
                "this minigpt was built without a program for {self}; build it again after `cargo xtask prebuilt`"
            ))
        })
    }

    /// Bytes of RAM that the program keeps for sessions.
    pub(crate) const fn arena_bytes(&self) -> u64 {
        let Ram {
            size,
            stack,
            variables,
        } = self.ram;
        ((size - stack - variables) / 16 * 16) as u64
    }

    /// How matrices of its models are stored.
    pub(crate) fn weights(&self) -> Result<Format, Failure> {
        let name = self.weights.as_deref().unwrap_or(Format::Q8.name());
        let format = Format::ALL.into_iter().find(|format| format.name() == name);
        format.ok_or_else(|| {
            Failure::Failed(format!(
                "the file of board {self}: there are no weights {name}"
            ))
        })
    }

    /// The format of its images where none is asked for.
    pub(crate) fn usual_image(&self) -> ImageFormat {
        self.images.first().copied().unwrap_or(ImageFormat::Elf)
    }

    /// How far it was tried, for people.
    pub(crate) const fn tested(&self) -> &'static str {
        match (self.tested, &self.qemu) {
            (_, Some(_)) => "under QEMU, --run",
            (Some(Tested::Qemu), None) => "under QEMU, serial line",
            (Some(Tested::Build) | None, None) => "no: built only",
        }
    }
}
