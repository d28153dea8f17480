//! Lists the boards of `firmware/boards` and their programs in `firmware/prebuilt` for
//! `src/board.rs`.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let (boards, programs) = (root.join("firmware/boards"), root.join("firmware/prebuilt"));
    println!("cargo:rerun-if-changed={}", boards.display());
    println!("cargo:rerun-if-changed={}", programs.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    write(
        &out.join("boards.rs"),
        "include_str!",
        &files(&boards, "toml"),
    );
    // Until they are made there is no such folder.
    let programs = if programs.is_dir() {
        files(&programs, "elf")
    } else {
        Vec::new()
    };
    write(&out.join("programs.rs"), "include_bytes!", &programs);
}

/// Writes an expression: names of `files`, without their extensions, and what `include` makes of each.
fn write(out: &Path, include: &str, files: &[PathBuf]) {
    let mut list = String::from("&[\n");
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        list += &format!("    ({name:?}, {include}({path:?})),\n");
    }
    fs::write(out, list + "]\n").unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// The files in `folder` that end in `extension`, by name.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}
