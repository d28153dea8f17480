//! The programs of all boards, as they lie in `tools/firmware/prebuilt` and inside `minigpt`: the same
//! sources and the same compiler make the same bytes, wherever the checkout lies.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::boards::{Board, FIRMWARE};
use super::{missing, output, run};

/// Tells this program that cargo calls it in the place of rustc.
const AS_RUSTC: &str = "MINIGPT_XTASK_AS_RUSTC";

/// Builds all programs anew.
pub(crate) fn write() -> Result<(), String> {
    let mut total = 0;
    for board in Board::all()? {
        if !board.has_target()? {
            continue;
        }
        for weights in &board.weights {
            let program = build(&board, weights)?;
            let path = board.program(weights);
            fs::create_dir_all(path.parent().unwrap_or(Path::new(FIRMWARE)))
                .and_then(|()| fs::write(&path, &program))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            println!("xtask: {}: {} bytes", path.display(), program.len());
            total += program.len();
        }
    }
    println!("xtask: {total} bytes in all");
    Ok(())
}

/// The step: what lies there is what the sources make.
pub(crate) fn check() -> Result<(), String> {
    for board in Board::all()? {
        for weights in &board.weights {
            check_program(&board, weights)?;
        }
    }
    Ok(())
}

fn check_program(board: &Board, weights: &str) -> Result<(), String> {
    let path = board.program(weights);
    let advice = "run cargo xtask prebuilt";
    let found =
        fs::read(&path).map_err(|error| format!("{}: {error}; {advice}", path.display()))?;
    if !is_of_this_compiler(&found)? || !board.has_target()? {
        return Ok(());
    }
    match build(board, weights)? == found {
        true => Ok(()),
        false => Err(format!(
            "{} is not what the sources make; {advice}",
            path.display()
        )),
    }
}

/// Whether `program` was made by the compiler that is here; by another it would be another program.
fn is_of_this_compiler(program: &[u8]) -> Result<bool, String> {
    let version = output("rustc", &["--version"]);
    let version = version.trim().replacen("rustc ", "rustc version ", 1);
    // The linker leaves it in the section `.comment`.
    if program
        .windows(version.len())
        .any(|bytes| bytes == version.as_bytes())
    {
        return Ok(true);
    }
    let what = "the rustc that made tools/firmware/prebuilt";
    let install = "rustup update stable, or make the programs anew with cargo xtask prebuilt";
    missing("targets", what, install).map(|()| false)
}

/// The program of `board` for models of `weights`.
fn build(board: &Board, weights: &str) -> Result<Vec<u8>, String> {
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    let here = env::current_dir().map_err(|error| failed(Path::new("."), error))?;
    let this = env::current_exe().map_err(|error| failed(Path::new("xtask"), error))?;
    let target = here.join("target/prebuilt");
    let args = ["build", "--locked", "--quiet", "--bin", "minigpt-firmware"];
    let mut cargo = board.cargo(&args, weights);
    cargo.arg("--target-dir").arg(&target);
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    run(cargo.env("RUSTC_WRAPPER", this).env(AS_RUSTC, "1"))?;
    let program = target.join(&board.target).join("release/minigpt-firmware");
    fs::read(&program).map_err(|error| failed(&program, error))
}

/// If cargo calls this program in the place of rustc: rustc's exit code, after it was called with
/// nothing in its arguments that tells where the sources lie.
pub(crate) fn as_rustc() -> Option<ExitCode> {
    env::var_os(AS_RUSTC)?;
    let mut args = env::args_os().skip(1);
    let status = Command::new(args.next()?)
        .args(without_places(args.collect()))
        .status();
    let code = status.ok().and_then(|status| status.code());
    Some(ExitCode::from(u8::try_from(code.unwrap_or(1)).unwrap_or(1)))
}

/// `args` of rustc, where sources are named by crate and version, and the metadata of our own crates,
/// which cargo makes of their paths and which the order of functions depends on, by their names.
fn without_places(mut args: Vec<OsString>) -> Vec<OsString> {
    let after = |flag| move |pair: &[OsString]| (pair[0] == flag).then(|| pair[1].clone());
    let name = args.windows(2).find_map(after("--crate-name"));
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    if name.starts_with("minigpt_") {
        for arg in &mut args {
            if arg.to_string_lossy().starts_with("metadata=") {
                *arg = format!("metadata={name}").into();
            }
        }
    }
    let variable = |name| env::var(name).unwrap_or_default();
    let crate_and_version = [variable("CARGO_PKG_NAME"), variable("CARGO_PKG_VERSION")].join("-");
    let places = [
        ("CARGO_MANIFEST_DIR", crate_and_version.as_str()),
        ("OUT_DIR", "out"),
    ];
    for (variable, name) in places {
        if let Some(mut remap) = env::var_os(variable) {
            remap.push(format!("=/{name}"));
            args.push("--remap-path-prefix".into());
            args.push(remap);
        }
    }
    args
}
