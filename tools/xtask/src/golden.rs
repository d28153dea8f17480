//! The texts of `tests/data/golden.toml`, told by everything that runs models here.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minigpt_runtime::Isa;
use rayon::prelude::*;
use serde::Deserialize;

use super::boards::{self, Board};
use super::file::with_file;
use super::kernels::{Processor, command, said};
use super::{capi, cargo, missing, output, run};

/// Seconds a board has for a text, while others want the processor too.
const TIME_LIMIT: &str = "300";

/// Where imported models go.
const IMPORTED: &str = "target/golden";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// How keys and values are kept.
    kv: String,
    text: Vec<Text>,
}

/// A text and how it comes about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    model: Model,
    /// Boards that are too small for the model.
    #[serde(default)]
    without: Vec<String>,
    prompt: String,
    temperature: f32,
    top_k: Option<usize>,
    top_p: f32,
    seed: u64,
    max_tokens: usize,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Model {
    /// A file, as seen from `tests/data/format`.
    Format(String),
    /// A model of llama2.c and its tokenizer, files of `MINIGPT_TEST_DATA`, and the format it is imported as.
    Llama2c {
        llama2c: String,
        tokenizer: String,
        format: String,
    },
}

/// What tells texts.
enum Machine {
    /// A program and its first arguments; models and [`flags`] are further ones.
    Program {
        name: String,
        words: Vec<String>,
    },
    Board(Box<Board>),
}

/// The step itself: prints a table of machines and texts.
pub(crate) fn check() -> Result<(), String> {
    let golden: Golden = boards::read(Path::new("tests/data/golden.toml"))?;
    cargo(&["build", "--package", "minigpt"])?;
    let boards = Board::all()?;
    let known: BTreeSet<_> = boards.iter().map(|board| board.name.as_str()).collect();
    let named = golden.text.iter().flat_map(|text| &text.without);
    if let Some(unknown) = named
        .into_iter()
        .find(|name| !known.contains(name.as_str()))
    {
        return Err(format!(
            "tests/data/golden.toml: there is no board {unknown}"
        ));
    }
    let mut texts = Vec::new();
    for text in &golden.text {
        texts.extend(text.model.path()?.map(|path| (text, path)));
    }
    let mut machines = desktops()?;
    for processor in Processor::all()? {
        let mut words = processor.teller()?;
        words.push(format!("--isa={}", processor.best()));
        let name = format!("{} {}", processor.name, processor.best());
        machines.push(Machine::Program { name, words });
    }
    for board in boards {
        if board.has_qemu()? {
            machines.push(Machine::Board(Box::new(board)));
        }
    }
    machines.extend(wasm()?);
    for (i, (text, _)) in texts.iter().enumerate() {
        println!("{:>3}  {}", i + 1, text.name);
    }
    let told = machines.par_iter().map(|machine| {
        let texts = texts.iter();
        let told = texts.map(|(text, model)| machine.differs(text, model, &golden.kv));
        told.collect()
    });
    let told: Vec<Result<Vec<Option<String>>, String>> = told.collect();
    let (mut wrong, mut failed) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for (machine, told) in machines.iter().zip(told) {
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                failed.push(error);
                continue;
            }
        };
        let mut line = format!("{:24}", machine.name());
        for (i, (told, (text, _))) in told.into_iter().zip(&texts).enumerate() {
            line += match told {
                None if machine.is_without(text) => "   -",
                None => "   =",
                Some(told) => {
                    wrong.entry((i + 1, told)).or_default().push(machine.name());
                    "   X"
                }
            };
        }
        println!("{line}");
    }
    println!("=: the same text, X: another, -: the board is too small for the model");
    failed.extend(wrong.into_iter().map(|((i, told), machines)| {
        let told = toml::Value::String(told);
        format!(
            "text {i} of {} is not what tests/data/golden.toml says: {told}",
            machines.join(", ")
        )
    }));
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}

impl Machine {
    fn name(&self) -> String {
        match self {
            Self::Program { name, .. } => name.clone(),
            Self::Board(board) => board.name.clone(),
        }
    }

    fn is_without(&self, text: &Text) -> bool {
        matches!(self, Self::Board(board) if text.without.contains(&board.name))
    }

    /// What it tells instead of `text`, if it does not tell it.
    fn differs(&self, text: &Text, model: &Path, kv: &str) -> Result<Option<String>, String> {
        if self.is_without(text) {
            return Ok(None);
        }
        let told = match self {
            Self::Board(board) => tell(board, text, model),
            Self::Program { words, .. } => {
                let mut command = command(words)?;
                command.arg(model).arg(format!("--kv={kv}"));
                text_of(command.args(flags(text)))
            }
        };
        let told = told.map_err(|error| format!("{}: {}: {error}", self.name(), text.name))?;
        Ok((told != text.text).then_some(told))
    }
}

impl Model {
    /// Its file, if it is there.
    fn path(&self) -> Result<Option<PathBuf>, String> {
        let (model, tokenizer, format) = match self {
            Self::Format(model) => return Ok(Some(Path::new("tests/data/format").join(model))),
            Self::Llama2c {
                llama2c,
                tokenizer,
                format,
            } => (llama2c, tokenizer, format),
        };
        let folder = env::var_os("MINIGPT_TEST_DATA").map(PathBuf::from);
        let Some(folder) = folder.filter(|folder| folder.join(model).exists()) else {
            let advice = "set MINIGPT_TEST_DATA to a folder that holds it";
            return missing("data", model, advice).map(|()| None);
        };
        fs::create_dir_all(IMPORTED).map_err(|error| format!("{IMPORTED}: {error}"))?;
        let path = Path::new(IMPORTED).join(model);
        let path = path.with_extension(format!("{format}.mgpt"));
        let mut import = minigpt()?;
        import.args(["import", "llama2c"]).arg(folder.join(model));
        import.arg("--tokenizer").arg(folder.join(tokenizer));
        run(import.args(["--format", format, "-o"]).arg(&path))?;
        Ok(Some(path))
    }
}

/// The instruction sets of this machine.
fn desktops() -> Result<Vec<Machine>, String> {
    cargo(&["build", "--package", "minigpt-runtime", "--example", "tell"])?;
    let program = beside("examples/tell")?.to_string_lossy().into_owned();
    let machines = Isa::available().map(|isa| Machine::Program {
        name: format!("{} {}", env::consts::ARCH, isa.name()),
        words: vec![program.clone(), format!("--isa={}", isa.name())],
    });
    Ok(machines.collect())
}

/// The script that runs models in WebAssembly, if it can be made and run here.
fn wasm() -> Result<Option<Machine>, String> {
    const TARGET: &str = "wasm32-unknown-unknown";
    if output("node", &["--version"]).is_empty() {
        return missing("node", "node", "apt-get install nodejs").map(|()| None);
    }
    let installed = output("rustup", &["target", "list", "--installed"]);
    if !installed.lines().any(|line| line == TARGET) {
        let install = format!("rustup target add {TARGET}");
        return missing("targets", TARGET, &install).map(|()| None);
    }
    let folder = Path::new(IMPORTED).join("wasm");
    capi::command(&["--target", TARGET, "-o", &folder.to_string_lossy()])?;
    let script = folder.join("examples/wasm/generate.mjs");
    Ok(Some(Machine::Program {
        name: "wasm32".to_owned(),
        words: vec!["node".to_owned(), script.to_string_lossy().into_owned()],
    }))
}

/// The binary.
pub(crate) fn minigpt() -> Result<Command, String> {
    Ok(Command::new(beside("minigpt")?))
}

/// The program that lies there from where this one does.
fn beside(name: &str) -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|error| format!("xtask: {error}"))?;
    Ok(this.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// A file of what lies in the model partition of `board` when `model` is written there.
fn stored(board: &Board, model: &Path) -> Result<PathBuf, String> {
    let path = |extension| {
        Path::new(IMPORTED)
            .join(&board.name)
            .with_extension(extension)
    };
    let (image, stored) = (path("bin"), path("mgpt"));
    let failed = |error| format!("{}: {error}", image.display());
    fs::create_dir_all(IMPORTED).map_err(failed)?;
    let mut join = minigpt()?;
    join.args(["firmware", "--board", &board.name, "--model"]);
    said(join.arg(model).arg("-o").arg(&image))?;
    let bytes = fs::read(&image).map_err(failed)?;
    let start = (board.model.start - board.flash.start) as usize;
    fs::write(&stored, &bytes[start..]).map_err(failed)?;
    Ok(stored)
}

/// What `board` says under QEMU when it is asked for `text`.
fn tell(board: &Board, text: &Text, model: &Path) -> Result<String, String> {
    if let Some(serial) = board.serial(weights(board, model)?) {
        let settings = [
            format!("/temperature {}", text.temperature),
            format!("/top-k {}", text.top_k.unwrap_or(0)),
            format!("/top-p {}", text.top_p),
            format!("/seed {}", text.seed),
            format!("/max-tokens {}", text.max_tokens),
        ];
        return serial.tell(&stored(board, model)?, &settings, &text.prompt);
    }
    let tool = minigpt()?;
    let mut command = Command::new("timeout");
    command.arg(TIME_LIMIT).arg(tool.get_program());
    command.args(["firmware", "--board", &board.name, "--run", "--model"]);
    command.arg(model);
    text_of(command.args(flags(text)))
}

/// The format in which `board` has `model`.
fn weights<'a>(board: &'a Board, model: &Path) -> Result<&'a str, String> {
    let format = with_file(model, |file| Ok(file.format()))?;
    // The numbers of q8 may be in the order of its first format.
    let mut formats = board.weights.iter().map(String::as_str);
    match formats.clone().find(|name| *name == format.name()) {
        Some(name) => Ok(name),
        None => formats
            .next()
            .ok_or_else(|| format!("{} has no weights", board.name)),
    }
}

/// How `text` is asked for.
fn flags(text: &Text) -> Vec<String> {
    let mut flags = vec![
        format!("--prompt={}", text.prompt),
        format!("--temperature={}", text.temperature),
        format!("--top-p={}", text.top_p),
        format!("--seed={}", text.seed),
        format!("--max-tokens={}", text.max_tokens),
    ];
    flags.extend(text.top_k.map(|k| format!("--top-k={k}")));
    flags
}

/// The text that `command` writes, without the end of line behind it.
pub(crate) fn text_of(command: &mut Command) -> Result<String, String> {
    let told = said(command)?;
    told.strip_suffix('\n')
        .map(str::to_owned)
        .ok_or_else(|| format!("no end of line behind {told:?}"))
}
