//! `minigpt firmware`.

mod image;
#[path = "../../firmware/src/options.rs"]
mod options;
mod plan;
mod qemu;

use std::path::{Path, PathBuf};

use clap::Args;
use minigpt_runtime::{Format, ModelFile, layout};
use minigpt_trainer::export;
use minigpt_trainer::inference::ModelBytes;

use self::image::Image;
pub(crate) use self::plan::{Misfit, Plan};
use self::qemu::RunArgs;
use super::open_model;
use crate::board::{Board, ImageFormat};
use crate::failure::{Failure, Outcome};
use crate::output::{self, grouped, say};

/// Join a prebuilt program and a model into an image for a board, or run it under QEMU.
///
/// No compiler is needed: the programs of all boards are inside minigpt. The model is q8 or q4. Says what
/// program, model and memory take of the board.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt firmware --list
  minigpt firmware --board mps2-an500 --model runs/stories -o stories.elf
  minigpt firmware --board mps2-an500 --model model.mgpt -o stories.hex
  minigpt firmware --board mps2-an500 --model model.mgpt --run --prompt \"Once upon a time\" --seed 7
  minigpt firmware --board mps2-an500 --model model.mgpt --run       # lines from the terminal
  minigpt generate model.mgpt --kv q8 --prompt \"Once upon a time\" --seed 7       # the board's text, on this machine")]
pub(crate) struct FirmwareArgs {
    /// List the boards with their memory and the images they take
    #[arg(long, exclusive = true)]
    list: bool,
    /// The board, see --list
    #[arg(long, value_name = "BOARD", required_unless_present = "list")]
    board: Option<String>,
    /// The model file, or a run directory
    #[arg(long, value_name = "MODEL.mgpt", required_unless_present = "list")]
    model: Option<PathBuf>,
    /// Where to write the image; an image that is there is replaced
    #[arg(short, long, value_name = "IMAGE", required_unless_present_any = ["list", "run"])]
    output: Option<PathBuf>,
    /// Format of the image [default: as --output ends, or the board's first in --list]
    #[arg(long, value_name = "FORMAT", requires = "output")]
    format: Option<ImageFormat>,
    #[command(flatten)]
    run: RunArgs,
}

pub(crate) fn run(args: &FirmwareArgs) -> Outcome {
    let (Some(board), Some(path)) = (&args.board, &args.model) else {
        return list();
    };
    let board = Board::named(board)?;
    let format = args.format(&board)?;
    let telling = args.run.check(&board)?;
    let model = for_board(&board, path)?;
    let (image, figures) = joined(&board, path, &model)?;
    say!("{figures}");
    if let Some(path) = &args.output {
        write(path, &image, format)?;
    }
    match telling {
        Some(telling) => telling.run(&board, &image.write(ImageFormat::Elf)?),
        None => Ok(()),
    }
}

/// Writes the image of `model`, which lies at `path`, for `board` to `output`, and says the figures.
pub(crate) fn make(board: &Board, path: &Path, output: &Path) -> Outcome {
    let model = for_board(board, path)?;
    let (image, figures) = joined(board, path, &model)?;
    say!("{figures}");
    write(output, &image, board.usual_image())
}

/// The model at `path` with its numbers in the order that the program of `board` multiplies them in.
fn for_board(board: &Board, path: &Path) -> Result<ModelBytes, Failure> {
    let model = open_model(path)?;
    let file = model.file().map_err(|error| Failure::with(path, error))?;
    let with_path = |error| match error {
        Failure::Misuse(text) => Failure::Misuse(format!("{}: {text}", path.display())),
        other => other,
    };
    match board.stored(file.format()).map_err(with_path)? {
        format if format == file.format() => Ok(model),
        _ => export::reordered(&file).map_err(|error| Failure::with(path, error)),
    }
}

/// The image of `model`, which lies at `path`, and its figures.
fn joined<'a>(
    board: &'a Board,
    path: &Path,
    model: &'a ModelBytes,
) -> Result<(Image<'a>, String), Failure> {
    let file = model.file().map_err(|error| Failure::with(path, error))?;
    let plan = match Plan::new(board, file.config(), file.format(), file.len() as u64) {
        Ok(plan) => plan,
        Err(misfit) => return Err(refusal(board, path, &file, misfit)?),
    };
    let image = Image::new(board, file.format(), model.bytes())?;
    let figures = plan.text(board, file.config(), image.program_bytes());
    Ok((
        image,
        format!("{board} with {}:\n{figures}", path.display()),
    ))
}

/// Why the model `file` at `path` is not for `board`, and which boards it is for.
fn refusal(
    board: &Board,
    path: &Path,
    file: &ModelFile<'_>,
    misfit: Misfit,
) -> Result<Failure, Failure> {
    let weights = |format| layout::weights_bytes(file.config(), format);
    let overhead = file.len() as u64 - weights(file.format());
    let kind = match file.format() {
        Format::Q8Dsp => Format::Q8,
        format => format,
    };
    let mut names = Vec::new();
    for other in Board::all()? {
        let Ok(format) = other.stored(kind) else {
            continue;
        };
        let bytes = overhead + weights(format);
        if Plan::new(&other, file.config(), format, bytes).is_ok() {
            names.push(other.name);
        }
    }
    let elsewhere = match names.is_empty() {
        true => String::new(),
        false => format!("; this one fits {}", names.join(", ")),
    };
    Ok(Failure::Misuse(format!(
        "{}: {}: minigpt fit --board {board} says which models fit{elsewhere}",
        path.display(),
        misfit.text(board)
    )))
}

fn write(path: &Path, image: &Image<'_>, format: ImageFormat) -> Outcome {
    let bytes = image.write(format)?;
    let kind = format!("{} image", format.name());
    let done = output::replace_alike(path, &bytes, &kind)?;
    let len = grouped(bytes.len() as u64);
    say!("{done} {}: {kind} of {len} bytes", path.display());
    Ok(())
}

impl FirmwareArgs {
    /// The format that was asked for, or that the name of the image means.
    fn format(&self, board: &Board) -> Result<ImageFormat, Failure> {
        let extension = self.output.as_deref().and_then(Path::extension);
        let by_name = extension.and_then(|name| ImageFormat::named(&name.to_string_lossy()));
        let format = self.format.or(by_name);
        let format = format.unwrap_or_else(|| board.usual_image());
        if board.images.contains(&format) {
            return Ok(format);
        }
        Err(Failure::Misuse(format!(
            "{board} does not take {} images: name it otherwise with -o, or choose with --format; it takes {}",
            format.name(),
            names(board)
        )))
    }
}

fn names(board: &Board) -> String {
    board
        .images
        .iter()
        .map(|format| format.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Prints a table of the boards.
fn list() -> Outcome {
    let mut text = format!(
        "{:16} {:14} {:>12} {:>12}  {:14} tested\n",
        "board", "core", "model bytes", "arena bytes", "images"
    );
    for board in Board::all()? {
        text += &format!(
            "{:16} {:14} {:>12} {:>12}  {:14} {}\n",
            board.name,
            board.core,
            grouped(board.model.size.into()),
            grouped(board.arena_bytes()),
            names(&board),
            board.tested()
        );
    }
    text += "\nmodel: flash for the model file; arena: RAM for its context and activations\n";
    output::print(&text)
}
