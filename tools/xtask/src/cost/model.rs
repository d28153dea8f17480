//! The cost model: how it is fitted, and how far it is off.

use std::fs;
use std::path::PathBuf;

use minigpt_models::cost::{COLUMNS, CoreCost, KINDS, WORK, parse, work};
use minigpt_runtime::Format;
use rayon::prelude::*;

use super::least_squares;
use super::program::{ANY_MODEL, FOLDER, Measured, Program};
use super::shape::{FITTED, HELD_OUT, ODD, Shape};
use crate::boards::Board;

/// Where the model is.
const PATH: &str = "models/src/cost/cores.csv";

/// By how much a prediction may be off.
const TOLERANCE: f64 = 0.05;

/// By how much sizes of the program may differ from the table.
const SIZE_TOLERANCE: f64 = 0.02;

/// A core and the program that measures it.
struct Bench<'a> {
    core: &'a str,
    format: Format,
    program: Program<'a>,
}

/// Every core once with each of its formats. One whose own board has no room for the shapes is
/// measured in the memory of another board of its family: instructions are the same there.
fn benches(boards: &[Board]) -> Result<Vec<Bench<'_>>, String> {
    let mut benches: Vec<Bench<'_>> = Vec::new();
    for board in boards {
        let roomy = |other: &&Board| other.is_roomy() && other.system() == board.system();
        let Some(place) = boards
            .iter()
            .find(|one| one.name == board.name && one.is_roomy())
            .or_else(|| boards.iter().find(roomy))
        else {
            continue;
        };
        for format in board.formats() {
            let known = |bench: &Bench<'_>| bench.core == board.core && bench.format == format;
            if !benches.iter().any(known) {
                let program = Program::build(place, &board.target, format, &ANY_MODEL)?;
                benches.push(Bench {
                    core: &board.core,
                    format,
                    program,
                });
            }
        }
    }
    Ok(benches)
}

impl Bench<'_> {
    /// Measures models of all `shapes`, some at a time.
    fn measure(&self, shapes: &[Shape]) -> Result<Vec<Measured>, String> {
        let models: Vec<PathBuf> = shapes
            .iter()
            .map(|shape| shape.write(FOLDER.as_ref(), self.format))
            .collect::<Result<_, _>>()?;
        let measured = models.par_iter().map(|model| self.program.measure(model));
        measured.collect()
    }

    /// Fits the instructions of each kind of work.
    fn fit(&self) -> Result<CoreCost<'_>, String> {
        let (mut rows, mut wanted): (Vec<[f64; KINDS]>, _) = (Vec::new(), Vec::new());
        let mut stack_bytes = 0;
        for (shape, measured) in FITTED.iter().zip(self.measure(&FITTED)?) {
            let config = shape.config()?;
            for (position, instructions) in measured.instructions.iter().enumerate() {
                rows.push(work(&config, self.format, position));
                wanted.push(*instructions);
            }
            stack_bytes = stack_bytes.max(measured.stack_bytes);
        }
        Ok(CoreCost {
            core: self.core,
            format: self.format.name(),
            program_bytes: self.program.image.flash_bytes,
            stack_bytes,
            instructions: least_squares::fit(&rows, &wanted),
        })
    }

    /// What of `cost` is off by more than it may be.
    fn check(&self, cost: &CoreCost<'_>) -> Result<Vec<String>, String> {
        let (core, format) = (self.core, self.format);
        let mut found = Vec::new();
        let (program, known) = (self.program.image.flash_bytes, cost.program_bytes);
        if program.abs_diff(known) as f64 > SIZE_TOLERANCE * known as f64 {
            found.push(format!(
                "{core}, {}: the program has {program} bytes and not {known}",
                format.name()
            ));
        }
        // Measuring compares logits, which is all that these are for.
        if format.is_integer() {
            self.measure(&ODD)?;
        }
        for (shape, measured) in HELD_OUT.iter().zip(self.measure(&HELD_OUT)?) {
            let (counted, positions) = (measured.mean(), measured.instructions.len());
            let predicted = cost.mean_instructions(&shape.config()?, format, positions);
            let error = predicted / counted - 1.0;
            let line = format!(
                "{core:11} {:6} {:14} {predicted:>10.0} predicted, {counted:>10.0} counted: {:+.1}%",
                format.name(),
                shape.name,
                100.0 * error
            );
            eprintln!("{line}");
            if error.abs() > TOLERANCE {
                found.push(line);
            }
        }
        Ok(found)
    }
}

/// Measures all cores and writes the model.
pub(super) fn fit(about: &str, boards: &[Board]) -> Result<(), String> {
    let mut text = about.to_owned();
    let columns: Vec<&str> = COLUMNS.iter().chain(&WORK).copied().collect();
    text += &(columns.join(",") + "\n");
    for bench in benches(boards)? {
        let cost = bench.fit()?;
        let figures = cost
            .instructions
            .map(|instructions| format!("{instructions:.3}"));
        text += &format!(
            "{},{},{},{},{}\n",
            cost.core,
            cost.format,
            cost.program_bytes,
            cost.stack_bytes,
            figures.join(",")
        );
        eprintln!("xtask: fitted {}, {}", cost.core, cost.format);
    }
    fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))
}

/// Where the model is off by more than it may be, on shapes that it was not fitted on.
pub(super) fn check(boards: &[Board]) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    let mut found = Vec::new();
    for bench in benches(boards)? {
        let of_bench =
            |cost: &CoreCost<'_>| cost.core == bench.core && cost.format == bench.format.name();
        match parse(&text).find(of_bench) {
            Some(cost) => found.extend(bench.check(&cost)?),
            None => found.push(format!(
                "{PATH} has no row for {}, {}",
                bench.core,
                bench.format.name()
            )),
        }
    }
    Ok(found)
}
