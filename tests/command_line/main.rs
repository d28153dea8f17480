//! The commands as a person meets them: the real binary, its words and exit codes.
//!
//! This is a test target of the package `minigpt`, because only to those does cargo tell where the
//! binary lies; a build from inside a test would compile everything a second time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Output;

use tempfile::TempDir;

mod attention;
mod bench;
mod chat;
mod compare;
mod data;
mod devices;
mod evaluation;
mod fine_tuning;
mod firmware;
mod fit;
mod generation;
mod inference;
mod mistakes;
mod models;
mod readme;
mod records;
mod train;

/// The binary.
pub(crate) const MINIGPT: &str = env!("CARGO_BIN_EXE_minigpt");

/// A model small enough for a test.
pub(crate) const SMALL: [&str; 14] = [
    "--steps",
    "40",
    "--batch",
    "2",
    "--threads",
    "1",
    "--set=n_layer=1",
    "--set=n_embd=16",
    "--set=n_head=2",
    "--set=n_ctx=16",
    "--set=checkpoint_interval=7",
    "--set=eval_interval=10",
    "--set=eval_batches=2",
    "--set=dropout=0.1",
];

/// A directory with `fish.txt`, 1640 bytes.
pub(crate) fn directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    let text = "One fish, two fish, red fish, blue fish. ".repeat(40);
    fs::write(dir.path().join("fish.txt"), text).unwrap();
    dir
}

/// A text of 60 KB that a vocabulary of some thousand tokens can be learned of.
pub(crate) fn words() -> String {
    let mut state = 1u32;
    let letters = (0..60_000).map(|i| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let letter = b'a' + (state >> 24) as u8 % 26;
        if i % 8 == 7 { ' ' } else { char::from(letter) }
    });
    letters.collect()
}

/// What it said on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code, and that standard error is one sentence with these words.
pub(crate) fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
}
