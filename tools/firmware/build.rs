//! Turns the board file that `MINIGPT_BOARD` names into a linker script and constants.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Board {
    flash: Region,
    model: Region,
    ram: Ram,
    clock_hz: u32,
    counter: Counter,
}

#[derive(Deserialize)]
struct Region {
    start: u32,
    size: u32,
}

#[derive(Deserialize)]
struct Ram {
    start: u32,
    size: u32,
    /// Bytes for the stack; the arena gets what the program's own variables leave.
    stack: u32,
    /// Bytes of the program's own variables.
    variables: u32,
}

/// What counts time or instructions, `hz` a second.
#[derive(Deserialize)]
struct Counter {
    /// `none`, `register` or `instret`.
    kind: String,
    #[serde(default)]
    address: u32,
    hz: u32,
}

fn main() {
    let name = env::var("MINIGPT_BOARD").unwrap_or_else(|_| "mps2-an386".to_owned());
    let path = format!("boards/{name}.toml");
    println!("cargo:rerun-if-env-changed=MINIGPT_BOARD");
    println!("cargo:rerun-if-changed={path}");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let board: Board = toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    write(&out, "memory.x", &linker_script(&board, &target));
    write(&out, "board.rs", &constants(&name, &board));
    println!("cargo:rustc-link-search={}", out.display());
    if target == "riscv32" {
        println!("cargo:rustc-link-arg=-Tmemory.x");
    } else {
        println!("cargo:rustc-link-arg=--nmagic");
    }
    println!("cargo:rustc-link-arg=-Tlink.x");
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Where the linker puts what.
fn linker_script(board: &Board, target: &str) -> String {
    let (flash, ram) = (&board.flash, &board.ram);
    let memory = format!(
        "MEMORY {{\n  FLASH : ORIGIN = {:#010x}, LENGTH = {:#x}\n  RAM : ORIGIN = {:#010x}, LENGTH = {:#x}\n}}\n",
        flash.start, flash.size, ram.start, ram.size
    );
    if target != "riscv32" {
        return memory;
    }
    let regions = [
        ("TEXT", "FLASH"),
        ("RODATA", "FLASH"),
        ("DATA", "RAM"),
        ("BSS", "RAM"),
        ("HEAP", "RAM"),
        ("STACK", "RAM"),
    ];
    let aliases =
        regions.map(|(name, region)| format!("REGION_ALIAS(\"REGION_{name}\", {region});\n"));
    memory + &aliases.concat()
}

/// What the program knows of its board.
fn constants(name: &str, board: &Board) -> String {
    let Board {
        model,
        ram,
        counter,
        clock_hz,
        ..
    } = board;
    let arena = (ram.size - ram.stack - ram.variables) / 16 * 16;
    let counter_kind = match counter.kind.as_str() {
        "none" => "Counter::None".to_owned(),
        "register" => format!("Counter::Register({:#x} as *const u32)", counter.address),
        "instret" => "Counter::Instret".to_owned(),
        other => panic!("counter kind {other}: none, register or instret"),
    };
    format!(
        "pub(crate) const NAME: &str = {name:?};\n\
         pub(crate) const CLOCK_HZ: u32 = {clock_hz};\n\
         pub(crate) const MODEL: (usize, usize) = ({:#x}, {:#x});\n\
         pub(crate) const STACK_TOP: usize = {:#x};\n\
         pub(crate) const STACK_BYTES: usize = {:#x};\n\
         pub(crate) const ARENA_BYTES: usize = {arena:#x};\n\
         pub(crate) const COUNTER: Counter = {counter_kind};\n\
         pub(crate) const COUNTER_HZ: u32 = {};\n",
        model.start,
        model.size,
        ram.start + ram.size,
        ram.stack,
        counter.hz
    )
}
