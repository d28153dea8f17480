//! The committed table of figures.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::program::{Measured, Program};

/// Where it is.
const PATH: &str = "benches/results/cost.csv";

/// By how much a figure may grow.
const TOLERANCE: f64 = 0.02;

const COLUMNS: &str = "board,core,model,format,instructions_per_token,program_bytes,stack_bytes,\
                       arena_bytes,forbidden_functions";

/// What a model costs on a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) board: String,
    pub(super) core: String,
    pub(super) model: String,
    pub(super) format: String,
    pub(super) instructions_per_token: u64,
    pub(super) program_bytes: u64,
    pub(super) stack_bytes: u64,
    pub(super) arena_bytes: u64,
    /// Functions of the program that panic, format or allocate.
    #[serde(skip)]
    pub(super) forbidden_functions: u64,
}

impl Row {
    /// The figures of `measured`; the names are given.
    pub(super) fn new(names: [&str; 4], program: &Program<'_>, measured: &Measured) -> Self {
        let [board, core, model, format] = names.map(str::to_owned);
        Self {
            board,
            core,
            model,
            format,
            instructions_per_token: measured.mean().round() as u64,
            program_bytes: program.image.flash_bytes,
            stack_bytes: measured.stack_bytes,
            arena_bytes: measured.arena_bytes,
            forbidden_functions: program.image.forbidden.len() as u64,
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[board, core, model, format, ref figures @ ..] = &fields[..] else {
            return None;
        };
        let figures: Option<Vec<u64>> = figures.iter().map(|text| text.parse().ok()).collect();
        let &[instructions, program, stack, arena, forbidden] = &figures?[..] else {
            return None;
        };
        let [board, core, model, format] = [board, core, model, format].map(str::to_owned);
        Some(Self {
            board,
            core,
            model,
            format,
            instructions_per_token: instructions,
            program_bytes: program,
            stack_bytes: stack,
            arena_bytes: arena,
            forbidden_functions: forbidden,
        })
    }

    fn names(&self) -> [&str; 4] {
        [&self.board, &self.core, &self.model, &self.format]
    }

    fn figures(&self) -> [(&'static str, u64); 5] {
        [
            ("instructions_per_token", self.instructions_per_token),
            ("program_bytes", self.program_bytes),
            ("stack_bytes", self.stack_bytes),
            ("arena_bytes", self.arena_bytes),
            ("forbidden_functions", self.forbidden_functions),
        ]
    }

    fn line(&self) -> String {
        let figures = self.figures().map(|(_, figure)| figure.to_string());
        format!("{},{}", self.names().join(","), figures.join(","))
    }
}

/// The rows that were committed.
pub(super) fn committed() -> Result<Vec<Row>, String> {
    let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    let lines = text.lines().enumerate();
    let rows = lines.filter(|(_, line)| !line.starts_with('#') && *line != COLUMNS);
    rows.map(|(i, line)| {
        Row::parse(line).ok_or_else(|| format!("{PATH}, line {}: no row: {line}", i + 1))
    })
    .collect()
}

/// Replaces the table.
pub(super) fn write(about: &str, rows: &[Row]) -> Result<(), String> {
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    let text = format!("{about}{COLUMNS}\n{}\n", lines.join("\n"));
    fs::write(Path::new(PATH), text).map_err(|error| format!("{PATH}: {error}"))
}

/// What grew from `old` to `new` by more than it may, and what stands in one of them only.
///
/// Rows of `old` whose boards are not in `new` count only if `all` boards were measured.
pub(super) fn growth(old: &[Row], new: &[Row], all: bool) -> Vec<String> {
    let mut found = Vec::new();
    for row in new {
        let Some(before) = old.iter().find(|old| old.names() == row.names()) else {
            found.push(format!("{} is new", row.names().join(", ")));
            continue;
        };
        for ((name, now), (_, before)) in row.figures().into_iter().zip(before.figures()) {
            if now as f64 > before as f64 * (1.0 + TOLERANCE) {
                let row = row.names().join(", ");
                found.push(format!("{row}: {name} grew from {before} to {now}"));
            }
        }
    }
    for row in old {
        if all && new.iter().all(|new| new.names() != row.names()) {
            found.push(format!(
                "{} is not measured any more",
                row.names().join(", ")
            ));
        }
    }
    found
}

/// The table for people.
pub(super) fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:15} {:11} {:12} {:6} {:>12} {:>8} {:>6} {:>8} {:>9}\n",
        "board",
        "core",
        "model",
        "format",
        "instructions",
        "program",
        "stack",
        "arena",
        "forbidden"
    );
    for row in rows {
        let [board, core, model, format] = row.names();
        let [a, b, c, d, e] = row.figures().map(|(_, figure)| figure);
        text += &format!(
            "{board:15} {core:11} {model:12} {format:6} {a:>12} {b:>8} {c:>6} {d:>8} {e:>9}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "mps2-an386,Cortex-M4F,stories260K,q8,1000,2000,300,4000,0";

    #[test]
    fn lines_come_back() {
        assert_eq!(Row::parse(LINE).unwrap().line(), LINE);
        assert_eq!(Row::parse(&LINE.replace("300", "many")), None);
        assert_eq!(Row::parse(&LINE.replace(",0", "")), None);
    }

    #[test]
    fn growth_is_found() {
        let row = |text: &str| Row::parse(text).unwrap();
        let old = [row(LINE)];
        for (new, grew) in [
            (LINE.replace("1000", "1020"), 0),
            (LINE.replace("1000", "1021"), 1),
            (LINE.replace("1000", "500"), 0),
            (LINE.replace("4000,0", "4200,1"), 2),
            (LINE.replace("q8", "q4"), 2),
        ] {
            assert_eq!(growth(&old, &[row(&new)], true).len(), grew, "{new}");
        }
        assert_eq!(growth(&old, &[], true).len(), 1);
        assert!(growth(&old, &[], false).is_empty());
    }
}
