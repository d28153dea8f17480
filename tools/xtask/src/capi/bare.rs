//! The libraries for bare metal: linked for every target, and the example on its board under QEMU.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{missing, output};
use super::programs::WARNINGS;
use super::texts::{self, Text};
use super::{EVERYTHING, folder_of, is_installed, lay_out, told};

/// A target, and how C is compiled for it.
struct Bare {
    target: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
}

const ARM: &str = "arm-none-eabi-gcc";

const TARGETS: [Bare; 4] = [
    Bare {
        target: "thumbv6m-none-eabi",
        compiler: ARM,
        flags: &["-mcpu=cortex-m0", "-mthumb", "-mfloat-abi=soft"],
    },
    Bare {
        target: BOARD_TARGET,
        compiler: ARM,
        flags: &[
            "-mcpu=cortex-m4",
            "-mthumb",
            "-mfloat-abi=hard",
            "-mfpu=fpv4-sp-d16",
        ],
    },
    Bare {
        target: "thumbv8m.main-none-eabihf",
        compiler: ARM,
        flags: &[
            "-mcpu=cortex-m33",
            "-mthumb",
            "-mfloat-abi=hard",
            "-mfpu=fpv5-sp-d16",
        ],
    },
    Bare {
        target: "riscv32imc-unknown-none-elf",
        compiler: "riscv64-unknown-elf-gcc",
        flags: &["-march=rv32imc", "-mabi=ilp32"],
    },
];

/// The example's target and machine.
const BOARD_TARGET: &str = "thumbv7em-none-eabihf";
const MACHINE: &str = "mps2-an386";

/// Where its linker script leaves room for a model.
const MODEL_ADDRESS: &str = "0x00100000";

/// Lays out and links the library for each target; `caller` is a program that needs every function.
pub(super) fn check(caller: &Path) -> Result<(), String> {
    for bare in &TARGETS {
        let target = bare.target;
        if !is_installed(target) {
            missing("targets", target, &format!("rustup target add {target}"))?;
            continue;
        }
        let installed = folder_of(target);
        lay_out(target, EVERYTHING, &installed)?;
        if !has_compiler(bare.compiler)? {
            continue;
        }
        link(bare, &installed, caller)?;
        if target == BOARD_TARGET {
            board(bare, &installed)?;
        }
    }
    Ok(())
}

fn has_compiler(compiler: &str) -> Result<bool, String> {
    if !output(compiler, &["--version"]).is_empty() {
        return Ok(true);
    }
    let (kind, packages) = match compiler {
        ARM => ("arm-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
        _ => ("riscv-gcc", "gcc-riscv64-unknown-elf"),
    };
    let install = format!("apt-get install --no-install-recommends {packages}");
    missing(kind, compiler, &install)?;
    Ok(false)
}

/// Without a C library: what the library needs, it has.
fn link(bare: &Bare, installed: &Path, caller: &Path) -> Result<(), String> {
    let mut command = Command::new(bare.compiler);
    command.args(bare.flags).args(["-std=c11", "-Os"]);
    command.args(["-nostdlib", "-Wl,--gc-sections,--entry=main"]);
    command.arg("-I").arg(installed.join("include"));
    // The freestanding headers are the compiler's own.
    command.args(["-ffreestanding"]).arg(caller);
    command.arg(installed.join("lib/libminigpt.a"));
    told(command.arg("-o").arg(installed.join("every.elf")))?;
    println!("xtask: {}: every function links from C", bare.target);
    Ok(())
}

/// The example says the texts under QEMU.
fn board(bare: &Bare, installed: &Path) -> Result<(), String> {
    if output("qemu-system-arm", &["--version"]).is_empty() {
        let install = "apt-get install --no-install-recommends qemu-system-arm";
        return missing("qemu", "qemu-system-arm", install);
    }
    let (texts, mut uploaded) = (texts::all()?, BTreeSet::new());
    for text in &texts {
        let program = program_for(bare, installed, text)?;
        text.compare(MACHINE, &told(&mut machine(&program, &text.model()))?)?;
        if uploaded.insert(text.model()) {
            uploads(&program, &text.model(), installed)?;
        }
    }
    println!(
        "xtask: {MACHINE} in C: {} texts as on the desktop, and no damaged upload",
        texts.len()
    );
    Ok(())
}

/// The board with `model` in its partition.
fn machine(program: &Path, model: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["120", "qemu-system-arm", "-machine", MACHINE]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    command.arg("-kernel").arg(program);
    let model = model.display();
    let loader = format!("loader,file={model},addr={MODEL_ADDRESS},force-raw=on");
    command.args(["-device", &loader]);
    command
}

/// Of a `model` that was cut short or damaged on its way the example says so, and nothing else.
fn uploads(program: &Path, model: &Path, installed: &Path) -> Result<(), String> {
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    let whole = fs::read(model).map_err(|error| failed(model, error))?;
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let short = &whole[..whole.len() / 2];
    let uploaded = installed.join("uploaded.mgpt");
    for (how, bytes) in [("damaged", &damaged[..]), ("cut short", short)] {
        fs::write(&uploaded, bytes).map_err(|error| failed(&uploaded, error))?;
        let out = machine(program, &uploaded).output();
        let out = out.map_err(|error| failed(program, error))?;
        let said = String::from_utf8_lossy(&out.stdout);
        if out.status.success() || !said.starts_with("the model is damaged: its checksum") {
            let model = model.display();
            return Err(format!("{MACHINE}: of {model}, {how}, it says {said:?}"));
        }
    }
    Ok(())
}

fn program_for(bare: &Bare, installed: &Path, text: &Text) -> Result<PathBuf, String> {
    let folder = installed.join("examples/bare-metal");
    let program = installed.join("board.elf");
    let mut command = Command::new(bare.compiler);
    command.args(bare.flags);
    command.args(["-std=c11", "-Os"]).args(WARNINGS);
    let (temperature, top_p, seed) = (text.temperature, text.top_p, text.seed);
    let sampling = format!("{{24, {temperature:?}f, 0, {top_p:?}f, {seed}}}");
    command.arg(format!("-DPROMPT=\"{}\"", text.prompt));
    command.arg(format!("-DSAMPLING={sampling}"));
    command.arg(format!("-DMAX_TOKENS={}", text.max_tokens));
    command.arg("-I").arg(installed.join("include"));
    command.args(["main.c", "startup.c"].map(|name| folder.join(name)));
    command.arg(installed.join("lib/libminigpt.a"));
    command.arg("-T").arg(folder.join(format!("{MACHINE}.ld")));
    command.args(["-nostartfiles", "--specs=rdimon.specs", "-Wl,--gc-sections"]);
    told(command.arg("-o").arg(&program))?;
    Ok(program)
}
