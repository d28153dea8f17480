//! What the integration tests share.

pub mod gpu;
pub mod reference;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minigpt_trainer::metrics::Metrics;

/// A file of the real texts and models that tests may use, from the folder that
/// `MINIGPT_TEST_DATA` names.
///
/// Says so and returns nothing where there is none, unless `MINIGPT_REQUIRE` lists `data`.
///
/// # Panics
/// If the data is required and not there.
#[must_use]
pub fn data(name: &str) -> Option<PathBuf> {
    let path = env::var_os("MINIGPT_TEST_DATA").map(|folder| PathBuf::from(folder).join(name));
    match path {
        Some(path) if path.exists() => Some(path),
        _ => {
            missing(
                "data",
                &format!("no {name}: set MINIGPT_TEST_DATA to a folder that holds it"),
            );
            None
        }
    }
}

/// Python with the package `package` from PyPI.
///
/// Says so and returns nothing where there is none, unless `MINIGPT_REQUIRE` lists the package.
///
/// # Panics
/// If the package is required and not there.
#[must_use]
pub fn python(package: &str) -> Option<Command> {
    let import = format!("import {package}");
    let mut found = Command::new("python3");
    found.args(["-c", &import]).stderr(Stdio::null());
    // Where tests run, the folder of the converter for W&B would pass for its package.
    found.current_dir(env::temp_dir());
    if found.status().is_ok_and(|status| status.success()) {
        return Some(Command::new("python3"));
    }
    missing(
        package,
        &format!("python3 has no {package}; to get it: pip install {package}"),
    );
    None
}

/// Says what is not there; panics if `MINIGPT_REQUIRE` lists `kind`.
fn missing(kind: &str, message: &str) {
    let required = env::var("MINIGPT_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == kind);
    assert!(!required, "{message}");
    // Past the test harness, which hides what passing tests print.
    let line = format!("skipped: {message}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The lines of the record of the run in the directory `run`, without speed and time, which no two
/// runs share.
///
/// # Panics
/// If there is no record, or a line of it is none.
#[must_use]
pub fn curve(run: &Path) -> Vec<Metrics> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("a run has a record");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of a record"));
    lines
        .map(|line| Metrics {
            seconds: 0.0,
            tokens_per_second: 0.0,
            ..line
        })
        .collect()
}
