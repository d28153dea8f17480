//! What the integration tests share.

pub mod reference;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

/// A file of the real texts and models that tests may use, from the folder that
/// `MINIGPT_TEST_DATA` names.
///
/// Says so and returns nothing where there is none, unless `MINIGPT_REQUIRE` lists `data`.
///
/// # Panics
/// If the data is required and not there.
#[must_use]
pub fn data(name: &str) -> Option<PathBuf> {
    let required = env::var("MINIGPT_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|kind| kind == "data");
    let path = env::var_os("MINIGPT_TEST_DATA").map(|folder| PathBuf::from(folder).join(name));
    match path {
        Some(path) if path.exists() => Some(path),
        _ => {
            let message = format!("no {name}: set MINIGPT_TEST_DATA to a folder that holds it");
            assert!(!required, "{message}");
            // Past the test harness, which hides what passing tests print.
            let line = format!("skipped: {message}\n");
            let _ = io::stderr().write_all(line.as_bytes());
            None
        }
    }
}
