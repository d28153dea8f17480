//! What is said: a table, JSON, settings for `train`, or which number is short.

use core::fmt::Write;
use std::fs;
use std::path::Path;

use minigpt_runtime::{Config, Format};
use minigpt_trainer::durable;
use minigpt_trainer::run_config::{QuantizeAware, RunConfig};
use serde::Serialize;
use toml::{Table, Value};

use super::FitArgs;
use super::place::Place;
use super::search::{Candidate, session};
use crate::failure::{Failure, Outcome};
use crate::output::{grouped, say};

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    board: Option<&'static str>,
    core: Option<&'static str>,
    /// The core on which instructions, program and stack were counted.
    counted_on: Option<&'static str>,
    clock_hz: Option<f64>,
    cycles_per_instruction: Option<f64>,
    cycles_source: Option<&'static str>,
    flash_bytes: u64,
    ram_bytes: u64,
    program_bytes: u64,
    stack_bytes: u64,
    suggestions: Vec<Suggestion>,
}

#[derive(Serialize)]
struct Suggestion {
    tokenizer: String,
    config: Config,
    n_params: u64,
    format: Format,
    kv_format: &'static str,
    weights_bytes: u64,
    /// Header, tokenizer and weights, with room for a name and an origin.
    model_bytes: u64,
    arena_bytes: u64,
    /// Program, where it shares the flash, and model.
    flash_bytes: u64,
    /// Stack, where it shares the RAM, and arena.
    ram_bytes: u64,
    /// Mean over positions 0 to 63.
    instructions_per_token: Option<u64>,
    tokens_per_second: Option<f64>,
    instructions_last_token: Option<u64>,
    tokens_per_second_last: Option<f64>,
}

impl Report {
    pub(super) fn new(place: &Place, best: &[Candidate]) -> Self {
        let core = place.core.as_ref().map(|(core, _)| core);
        Self {
            board: place.board,
            core: core.map(|core| core.name()),
            counted_on: core.map(|core| core.counted_on()),
            clock_hz: place.clock_hz,
            cycles_per_instruction: place.cycles.map(|(cycles, _)| cycles),
            cycles_source: place.cycles.map(|(_, source)| source),
            flash_bytes: place.flash_bytes,
            ram_bytes: place.ram_bytes,
            program_bytes: place.program_bytes,
            stack_bytes: place.stack_bytes,
            suggestions: best.iter().map(|one| Suggestion::new(one, place)).collect(),
        }
    }
}

impl Suggestion {
    fn new(candidate: &Candidate, place: &Place) -> Self {
        let speed = |instructions: Option<f64>| place.tokens_per_second(instructions?);
        let rounded = |instructions: Option<f64>| instructions.map(|n| n.round() as u64);
        Self {
            tokenizer: candidate.choice.to_string(),
            config: candidate.config,
            n_params: candidate.n_params,
            format: place.format,
            kv_format: session(0).kv.name(),
            weights_bytes: candidate.weights_bytes,
            model_bytes: candidate.model_bytes,
            arena_bytes: candidate.arena_bytes,
            flash_bytes: place.program_bytes + candidate.model_bytes,
            ram_bytes: place.stack_bytes + candidate.arena_bytes,
            instructions_per_token: rounded(candidate.instructions),
            tokens_per_second: speed(candidate.instructions),
            instructions_last_token: rounded(candidate.last_instructions),
            tokens_per_second_last: speed(candidate.last_instructions),
        }
    }
}

/// The report for people.
pub(super) fn text(place: &Place, best: &[Candidate]) -> String {
    let mut out = heading(place);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{:10} {:>5} {:>6} {:>5} {:>8} {:>5} {:>7} {:>10} {:>10} {:>8} {:>21} {:>13}",
        "tokenizer",
        "width",
        "layers",
        "heads",
        "kv heads",
        "n_ff",
        "context",
        "parameters",
        "flash",
        "RAM",
        "instructions a token",
        "tokens/s"
    );
    for candidate in best {
        let _ = out.write_str(&line(candidate, place));
    }
    out + "\nflash and RAM in bytes, with program and stack where they share them; instructions and tokens/s of the\n\
           first 64 tokens and of the last of the context; best first, one a vocabulary\n"
}

fn heading(place: &Place) -> String {
    let mut out = String::new();
    if let Some((core, _)) = &place.core {
        out += core.name();
        if core.name() != core.counted_on() {
            out += &format!(", counted on {}, whose program it runs", core.counted_on());
        }
        if let Some(clock) = place.clock_hz {
            out += &format!(", {} MHz", clock / 1e6);
        }
        out += "\n";
    }
    if let Some((cycles, source)) = place.cycles {
        out += &format!("{cycles} cycles an instruction, {source}\n");
    }
    let (flash, ram) = (grouped(place.flash_bytes), grouped(place.ram_bytes));
    out += &match place.board {
        Some(board) => {
            format!(
                "{board}: {flash} bytes of flash for the model, {ram} bytes of RAM for the session\n"
            )
        }
        None => format!(
            "{flash} bytes of flash, of which the program takes {}; {ram} bytes of RAM, of which the stack takes {}\n\
             for your own program with the runtime; for minigpt's firmware use --board\n",
            grouped(place.program_bytes),
            grouped(place.stack_bytes)
        ),
    };
    out + "\n"
}

fn line(candidate: &Candidate, place: &Place) -> String {
    let shape = candidate.config.hyperparameters();
    let of = |n: Option<f64>| n.map_or("?".to_owned(), |n| grouped(n.round() as u64));
    let speed = |n: Option<f64>| {
        let speed = n.and_then(|n| place.tokens_per_second(n));
        speed.map_or("?".to_owned(), |speed| format!("{speed:.1}"))
    };
    let (first, last) = (candidate.instructions, candidate.last_instructions);
    let instructions = format!("{} / {}", of(first), of(last));
    let speeds = format!("{} / {}", speed(first), speed(last));
    format!(
        "{:10} {:>5} {:>6} {:>5} {:>8} {:>5} {:>7} {:>10} {:>10} {:>8} {instructions:>21} {speeds:>13}\n",
        candidate.choice.to_string(),
        shape.n_embd,
        shape.n_layer,
        shape.n_head,
        shape.n_head_kv,
        shape.n_ff,
        shape.n_ctx,
        grouped(candidate.n_params),
        grouped(place.program_bytes + candidate.model_bytes),
        grouped(place.stack_bytes + candidate.arena_bytes),
    )
}

/// The settings for `train` that make `candidate`, and no others.
fn settings(args: &FitArgs, candidate: &Candidate) -> Result<String, Failure> {
    let mut config = RunConfig::default();
    candidate.settle(&mut config);
    config.data.files.clone_from(&args.data);
    if args.format == Format::Q4 {
        config.training.quantize_aware = QuantizeAware::Q4;
    }
    let resolved = config.resolve().map_err(Failure::misuse)?;
    let mut all = Table::try_from(&resolved).map_err(Failure::failed)?;
    let mut kept = Table::new();
    if let Some(Value::Table(mut data)) = all.remove("data") {
        data.retain(|field, _| field == "tokenizer" || field == "files" && !args.data.is_empty());
        kept.insert("data".to_owned(), data.into());
    }
    kept.extend(all.remove("model").map(|model| ("model".to_owned(), model)));
    if let (Format::Q4, Some(Value::Table(mut training))) = (args.format, all.remove("training")) {
        training.retain(|field, _| field == "quantize_aware");
        kept.insert("training".to_owned(), training.into());
    }
    toml::to_string(&kept).map_err(Failure::failed)
}

/// Writes `candidate` to `path` as settings for `train`.
pub(super) fn write_config(path: &Path, args: &FitArgs, candidate: &Candidate) -> Outcome {
    let settings = settings(args, candidate)?;
    let bytes = grouped(candidate.model_bytes);
    let text = format!(
        "# Written by minigpt fit: {} parameters, a model of {bytes} bytes, {} bytes of RAM for a session.\n{settings}",
        grouped(candidate.n_params),
        grouped(candidate.arena_bytes)
    );
    if let Ok(old) = fs::read_to_string(path)
        && RunConfig::from_toml(&old).is_err()
    {
        return Err(Failure::Misuse(format!(
            "{} exists and is no configuration; it is left alone: choose another name with -o",
            path.display()
        )));
    }
    durable::replace_file(path, text.as_bytes()).map_err(|error| Failure::writing(path, &error))?;
    let board = args.board.as_ref();
    let board = board.map_or_else(String::new, |board| format!(" --board {board}"));
    say!(
        "wrote {}; to train it: minigpt train --config {}{board}",
        path.display(),
        path.display()
    );
    Ok(())
}

/// Which number is short, and what would fit; `smallest` is the smallest model there is.
pub(super) fn impossible(place: &Place, smallest: &Candidate) -> Failure {
    let shape = smallest.config.hyperparameters();
    let model = format!(
        "the smallest model ({} tokens, {} x {}, context {})",
        shape.n_vocab, shape.n_layer, shape.n_embd, shape.n_ctx
    );
    let flash = place.program_bytes + smallest.model_bytes;
    let ram = place.stack_bytes + smallest.arena_bytes;
    let place_name = |flag: &str, of_board: &str| match place.board {
        Some(board) => format!("the {of_board} of {board}"),
        None => flag.to_owned(),
    };
    let remedy = |needed: u64, other: &str| match place.board {
        Some(_) => format!("choose a larger board{other}"),
        None => format!("give at least {needed}{other}"),
    };
    Failure::Misuse(if flash > place.flash_bytes {
        format!(
            "{} is {} bytes, and {model} needs {} with the program: {}",
            place_name("--flash", "flash for models"),
            grouped(place.flash_bytes),
            grouped(flash),
            remedy(flash, "")
        )
    } else if ram > place.ram_bytes {
        format!(
            "{} is {} bytes, and {model} needs {} with the stack: {}",
            place_name("--ram", "RAM for sessions"),
            grouped(place.ram_bytes),
            grouped(ram),
            remedy(ram, ", or a shorter --context")
        )
    } else {
        let most = smallest.last_speed(place).unwrap_or(0.0);
        format!(
            "--speed is {}, and {model} makes {most:.2} tokens a second: ask for less, or for a faster clock",
            place.speed.unwrap_or(0.0)
        )
    })
}
