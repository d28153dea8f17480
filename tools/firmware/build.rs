//! Turns the board file that `MINIGPT_BOARD` names into a linker script, constants and the cfg `hal`, and
//! `MINIGPT_WEIGHTS`, one of the formats that stand there, into the cfg `weights`.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "build/board.rs"]
mod board;

use board::{ALIGNMENT, Board, HALS, SEMIHOSTING, WEIGHTS, check};

fn main() {
    let name = env::var("MINIGPT_BOARD").unwrap_or_else(|_| "mps2-an386".to_owned());
    let path = format!("boards/{name}.toml");
    println!("cargo:rerun-if-env-changed=MINIGPT_BOARD");
    println!("cargo:rerun-if-changed={path}");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let board: Board = toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let target = env::var("TARGET").expect("cargo sets it");
    if let Err(error) = check(&board, &target) {
        panic!("{path}: {error}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let riscv = target.starts_with("riscv");
    write(&out, "memory.x", &linker_script(&board, riscv));
    write(&out, "board.rs", &constants(&name, &board));
    let hal = HALS.iter().find(|hal| hal.name == board.hal);
    let vectors = hal.is_some_and(|hal| hal.vectors);
    if !vectors {
        println!("cargo:rustc-link-search={}", no_interrupts(&out).display());
    }
    println!("cargo:rustc-link-search={}", out.display());
    if riscv {
        println!("cargo:rustc-link-arg=-Tmemory.x");
    } else {
        println!("cargo:rustc-link-arg=--nmagic");
    }
    println!("cargo:rustc-link-arg=-Tlink.x");
    let hals = HALS.map(|hal| format!("{:?}", hal.name)).join(", ");
    println!("cargo:rustc-check-cfg=cfg(hal, values({hals}, {SEMIHOSTING:?}))");
    println!("cargo:rustc-check-cfg=cfg(hal_vectors)");
    let formats = WEIGHTS.map(|name| format!("{name:?}")).join(", ");
    println!("cargo:rustc-check-cfg=cfg(weights, values({formats}))");
    println!("cargo:rerun-if-env-changed=MINIGPT_WEIGHTS");
    let asked = env::var("MINIGPT_WEIGHTS").ok();
    match board.chosen(asked.as_deref()) {
        Ok(weights) => println!("cargo:rustc-cfg=weights={weights:?}"),
        Err(error) => panic!("{path}: {error}"),
    }
    println!("cargo:rustc-cfg=hal={:?}", board.hal);
    if vectors {
        println!("cargo:rustc-cfg=hal_vectors");
    }
}

/// A folder with the linker script of a chip without interrupts to name.
fn no_interrupts(out: &Path) -> PathBuf {
    let folder = out.join("no-interrupts");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    write(&folder, "device.x", "");
    folder
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Bytes at the beginning of the RP2040's flash that its boot ROM runs from RAM.
const BOOT2: u32 = 0x100;

/// Where the linker puts what.
fn linker_script(board: &Board, riscv: bool) -> String {
    let (flash, ram) = (&board.flash, &board.ram);
    let boot2 = if board.hal == "rp2040" { BOOT2 } else { 0 };
    let boot2_region = match boot2 {
        0 => String::new(),
        _ => format!(
            "  BOOT2 : ORIGIN = {:#x}, LENGTH = {boot2:#x}\n",
            flash.start
        ),
    };
    let sections = match board.hal.as_str() {
        "rp2040" => {
            "SECTIONS { .boot2 ORIGIN(BOOT2) : { KEEP(*(.boot2)); } > BOOT2 } INSERT BEFORE .text;\n"
        }
        // The boot ROM looks for this block in the first 4 KB.
        "rp235x" => {
            "SECTIONS { .start_block : ALIGN(4) { KEEP(*(.start_block)); } > FLASH } INSERT AFTER .vector_table;\n\
             _stext = ADDR(.start_block) + SIZEOF(.start_block);\n"
        }
        _ => "",
    };
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
    let (aliases, end_of_variables) = if riscv {
        (aliases.concat(), "_ebss")
    } else {
        (String::new(), "__ebss")
    };
    format!(
        "MEMORY {{\n{boot2_region}  FLASH : ORIGIN = {:#x}, LENGTH = {:#x}\n  RAM : ORIGIN = {:#x}, LENGTH = {:#x}\n}}\n\
         {aliases}{sections}\
         ASSERT({end_of_variables} + {:#x} <= ORIGIN(RAM) + LENGTH(RAM),\n\
         \"the program has more variables than the board file says: raise `variables` under [ram]\")\n",
        flash.start + boot2,
        flash.size - boot2,
        ram.start,
        ram.size,
        ram.stack,
    )
}

/// What the program knows of its board.
fn constants(name: &str, board: &Board) -> String {
    let Board {
        model,
        ram,
        counter,
        clock_hz,
        crystal_hz,
        ..
    } = board;
    let arena = (ram.size - ram.stack - ram.variables) / ALIGNMENT * ALIGNMENT;
    let counter_kind = match counter.kind.as_str() {
        "none" => "Counter::None".to_owned(),
        "register" => format!("Counter::Register({:#x} as *const u32)", counter.address),
        "instret" => "Counter::Instret".to_owned(),
        "timer" => "Counter::Timer".to_owned(),
        other => panic!("counter kind {other}: none, register, instret or timer"),
    };
    let uart = board.uart.as_ref().map(|uart| {
        // Pins that are numbers: P0.06 is 6.
        let pin = |pin: &str| pin.strip_prefix("P0.").and_then(|n| n.parse::<u32>().ok());
        let (tx, rx) = (pin(&uart.tx).unwrap_or(0), pin(&uart.rx).unwrap_or(0));
        format!(
            "pub(crate) const BAUD: u32 = {};\npub(crate) const PINS: (u32, u32) = ({tx}, {rx});\n",
            uart.baud
        )
    });
    format!(
        "pub(crate) const NAME: &str = {name:?};\n\
         pub(crate) const CLOCK_HZ: u32 = {clock_hz};\n\
         pub(crate) const CRYSTAL_HZ: u32 = {crystal_hz};\n\
         pub(crate) const MODEL: (usize, usize) = ({:#x}, {:#x});\n\
         pub(crate) const STACK_TOP: usize = {:#x};\n\
         pub(crate) const STACK_BYTES: usize = {:#x};\n\
         pub(crate) const ARENA_BYTES: usize = {arena:#x};\n\
         pub(crate) const COUNTER: Counter = {counter_kind};\n\
         pub(crate) const COUNTER_HZ: u32 = {};\n{}",
        model.start,
        model.size,
        ram.start + ram.size,
        ram.stack,
        counter.hz,
        uart.unwrap_or_default(),
    )
}
