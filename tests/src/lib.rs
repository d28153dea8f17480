//! What the integration tests share.

pub mod reference;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

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
            eprintln!("skipped: {message}");
            None
        }
    }
}

/// Path of the binary `minigpt`, built with the profile that the tests were built with.
///
/// Cargo tells the path only to tests of the same package, so it is derived from where this test
/// itself lies, `target/<profile>/deps`; the build does nothing where it is up to date.
///
/// # Panics
/// If the binary cannot be built.
#[must_use]
pub fn minigpt() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps");
    let release = profile.ends_with("release");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "minigpt",
            "--bin",
            "minigpt",
        ])
        .args(["--profile", if release { "release" } else { "test" }])
        .arg("--target-dir")
        .arg(
            profile
                .parent()
                .expect("the profile lies in the target directory"),
        )
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the binary minigpt cannot be built");
    profile.join(format!("minigpt{}", env::consts::EXE_SUFFIX))
}
