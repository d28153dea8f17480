//! Lists the boards of `firmware/boards` and their programs in `firmware/prebuilt` for
//! `src/board.rs`.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let (boards, programs) = (root.join("firmware/boards"), root.join("firmware/prebuilt"));
    println!("cargo:rerun-if-changed={}", boards.display());
    println!("cargo:rerun-if-changed={}", programs.display());
    let mut list = String::from("&[\n");
    for path in files(&boards) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let program = programs.join(format!("{name}.elf"));
        let program = match program.is_file() {
            true => format!("Some(include_bytes!({program:?}))"),
            false => "None".to_owned(),
        };
        list += &format!("    ({name:?}, include_str!({path:?}), {program}),\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let out = out.join("boards.rs");
    fs::write(&out, list + "]\n").unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// The TOML files in `folder`, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}
