//! `cargo xtask cost`: what a token costs on each board, in instructions counted under QEMU.

mod board;
mod image;
mod least_squares;
mod logits;
mod model;
mod program;
pub(crate) mod shape;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use self::program::{FOLDER, Program};
use self::table::Row;
use super::boards::Board;
use super::file::with_file;
use super::output;

/// How it is called.
pub(crate) const USAGE: &str = "\
cost [--json] [--update] [--fit]   counts what a token costs; compares with benches/results/cost.csv, or
                                   rewrites it, and the cost model of `minigpt fit`
cost --model FILE [--board B] [--json]   counts one model, on all boards or one";

/// What the command line asks for.
#[derive(Default)]
struct Asked<'a> {
    json: bool,
    update: bool,
    fit: bool,
    model: Option<&'a Path>,
    board: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn parse(args: &[&'a str]) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().copied().ok_or(format!("{arg} needs a value"));
            match *arg {
                "--json" => asked.json = true,
                "--update" => asked.update = true,
                "--fit" => asked.fit = true,
                "--model" => asked.model = Some(Path::new(value()?)),
                "--board" => asked.board = Some(value()?),
                other => return Err(format!("there is no option {other}; usage:\n{USAGE}")),
            }
        }
        Ok(asked)
    }
}

/// The command with its options.
pub(crate) fn command(args: &[&str]) -> Result<(), String> {
    let asked = Asked::parse(args)?;
    let (boards, all) = boards(asked.board)?;
    if let Some(model) = asked.model {
        return print(&count_file(&boards, model)?, asked.json);
    }
    let rows = count(&boards)?;
    print(&rows, asked.json)?;
    let mut found = Vec::new();
    match asked.update {
        true => table::write(&about("cost --update"), &rows)?,
        false => found.extend(table::growth(&table::committed()?, &rows, all)),
    }
    if asked.fit {
        model::fit(&about("cost --fit"), &boards)?;
    }
    found.extend(model::check(&boards)?);
    match found.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\nwhere that is meant, `cargo xtask cost --update --fit` rewrites the figures",
            found.join("\n")
        )),
    }
}

/// The step of `cargo xtask ci`.
pub(crate) fn check() -> Result<(), String> {
    command(&[])
}

/// The boards that can be measured here, or the one called `name`; and whether they are all.
fn boards(name: Option<&str>) -> Result<(Vec<Board>, bool), String> {
    let mut boards = board::all()?;
    let total = boards.len();
    if let Some(name) = name {
        boards.retain(|board| board.name == name);
        if boards.is_empty() {
            return Err(format!(
                "QEMU has no board {name}; see tools/firmware/boards"
            ));
        }
    }
    let mut here = Vec::new();
    for board in boards {
        if board.has_target()? && board.has_qemu()? {
            here.push(board);
        }
    }
    let all = here.len() == total;
    Ok((here, all))
}

/// The rows of the table.
fn count(boards: &[Board]) -> Result<Vec<Row>, String> {
    let mut programs = Vec::new();
    for board in boards {
        for format in board.formats() {
            let shape = board.shape();
            let program = Program::build(board, &board.target, format, &shape.features())?;
            let model = shape.write(FOLDER.as_ref(), format)?;
            programs.push((board, format, program, model));
        }
    }
    let rows = programs.par_iter().map(|(board, format, program, model)| {
        let measured = program.measure(model)?;
        program.tell(model)?;
        let shape = board.shape().name;
        let names = [&board.name, &board.core, shape, format.name()];
        Ok(Row::new(names, program, &measured))
    });
    let rows = rows.collect::<Result<_, String>>()?;
    let images = programs.iter().map(|(_, _, program, _)| &program.image);
    let forbidden: BTreeSet<&String> = images.flat_map(|image| &image.forbidden).collect();
    for function in forbidden {
        eprintln!("xtask: a program has {function}");
    }
    Ok(rows)
}

/// A row for each board with the model at `path`.
fn count_file(boards: &[Board], path: &Path) -> Result<Vec<Row>, String> {
    let failed = |error: &dyn core::fmt::Display| format!("{}: {error}", path.display());
    let (format, features) = with_file(path, |file| {
        let features = file.header().features().map(str::to_owned);
        Ok((file.format(), features.collect::<Vec<_>>()))
    })?;
    let features: Vec<&str> = features.iter().map(String::as_str).collect();
    let len = fs::metadata(path).map_err(|error| failed(&error))?.len();
    let mut rows = Vec::new();
    for board in boards {
        let (name, room) = (&board.name, board.model.size);
        if len > room {
            let message =
                format!("its {len} bytes do not fit into the {room} of {name}; use --board");
            return Err(failed(&message));
        }
        let program = Program::build(board, &board.target, format, &features)?;
        let measured = program.measure(path)?;
        let model = path.file_stem().unwrap_or_default().to_string_lossy();
        let names = [name, &board.core, &*model, format.name()];
        rows.push(Row::new(names, &program, &measured));
    }
    Ok(rows)
}

/// Writes `rows` to standard output.
fn print(rows: &[Row], json: bool) -> Result<(), String> {
    if !json {
        print!("{}", table::text(rows));
        return Ok(());
    }
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|error| error.to_string())?;
    println!("[\n{}\n]", lines.join(",\n"));
    Ok(())
}

/// The lines before a table: what made it.
pub(crate) fn about(command: &str) -> String {
    let first = |program: &str, args: &[&str]| {
        let text = output(program, args);
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    let (date, commit) = (
        first("date", &["-I"]),
        first("git", &["rev-parse", "--short", "HEAD"]),
    );
    let (rustc, qemu) = (
        first("rustc", &["--version"]),
        first("qemu-system-arm", &["--version"]),
    );
    format!("# {date}, commit {commit}, {rustc}, {qemu}: cargo xtask {command}\n")
}
