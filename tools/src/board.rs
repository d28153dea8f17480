//! Boards: their files and their programs, both inside this binary.

use core::fmt;

use clap::ValueEnum;
use minigpt_runtime::Format;
use serde::Deserialize;

use crate::failure::Failure;

/// Name and file of every board.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// The prebuilt programs: ELF by name, see [`Board::program`].
static PROGRAMS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// A board, as its file in `firmware/boards` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Board {
    /// What `--board` takes.
    #[serde(skip)]
    pub(crate) name: &'static str,
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
    /// How matrices of its models are stored, by name; one at least.
    weights: Vec<String>,
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

    fn read(&(name, text): &(&'static str, &str)) -> Result<Self, Failure> {
        let board: Self = toml::from_str(text)
            .map_err(|error| Failure::Failed(format!("the file of board {name}: {error}")))?;
        Ok(Self { name, ..board })
    }

    /// ELF of its program for models of `format`, one of [`Self::formats`]: that of the first has the board's name,
    /// the others their format behind it.
    pub(crate) fn program(&self, format: Format) -> Result<&'static [u8], Failure> {
        let name = match self.weights.first() {
            Some(first) if first == format.name() => self.name.to_owned(),
            _ => format!("{self}-{}", format.name()),
        };
        let found = PROGRAMS.iter().find(|(known, _)| *known == name);
        found.map(|(_, program)| *program).ok_or_else(|| {
            Failure::Failed(format!(
                "this minigpt was built without a program of {self} for {}; build it again after `cargo xtask prebuilt`",
                format.name()
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

    /// How matrices of its models are stored, the usual one first.
    pub(crate) fn formats(&self) -> Result<Vec<Format>, Failure> {
        let named = |name: &String| {
            let format = Format::ALL.into_iter().find(|format| format.name() == name);
            format.ok_or_else(|| {
                Failure::Failed(format!(
                    "the file of board {self}: there are no weights {name}"
                ))
            })
        };
        self.weights.iter().map(named).collect()
    }

    /// The format in which it has a model of `format`: the same, or its numbers in the order that suits it.
    pub(crate) fn stored(&self, format: Format) -> Result<Format, Failure> {
        let formats = self.formats()?;
        let same = |stored: &&Format| {
            **stored == format || **stored == Format::Q8Dsp && format == Format::Q8
        };
        formats.iter().find(same).copied().ok_or_else(|| {
            let named = |format: &Format| match format {
                Format::Q8Dsp => Format::Q8.name(),
                format => format.name(),
            };
            let names: Vec<_> = formats.iter().map(named).collect();
            Failure::Misuse(format!(
                "{self} runs {}, and the model is {}: make one with minigpt export RUN --format q8, or import it with --format q8",
                names.join(" or "),
                format.name()
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
