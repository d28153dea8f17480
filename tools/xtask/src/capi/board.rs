//! The bare-metal example on its board under QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{missing, output};
use super::programs::WARNINGS;
use super::texts::{self, Text};
use super::told;

/// The example's target and machine.
pub(super) const TARGET: &str = "thumbv7em-none-eabihf";
const MACHINE: &str = "mps2-an386";

/// Where its linker script leaves room for a model.
const MODEL_ADDRESS: &str = "0x00100000";

/// The board's example says the texts under QEMU.
pub(super) fn check(installed: &Path) -> Result<(), String> {
    if !installed.is_dir() {
        return Ok(()); // Its target is not installed, which was said.
    }
    if output("arm-none-eabi-gcc", &["--version"]).is_empty() {
        let install =
            "apt-get install --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi";
        return missing("arm-gcc", "arm-none-eabi-gcc", install);
    }
    if output("qemu-system-arm", &["--version"]).is_empty() {
        let install = "apt-get install --no-install-recommends qemu-system-arm";
        return missing("qemu", "qemu-system-arm", install);
    }
    let texts = texts::all()?;
    for text in &texts {
        let program = program_for(installed, text)?;
        let model = text.model();
        let mut command = Command::new("timeout");
        command.args([
            "120",
            "qemu-system-arm",
            "-machine",
            MACHINE,
            "-display",
            "none",
        ]);
        command.args(["-monitor", "none", "-serial", "none"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        command.arg("-kernel").arg(program);
        let loader = format!(
            "loader,file={},addr={MODEL_ADDRESS},force-raw=on",
            model.display()
        );
        text.compare(MACHINE, &told(command.args(["-device", &loader]))?)?;
    }
    println!(
        "xtask: {MACHINE} in C: {} texts as on the desktop",
        texts.len()
    );
    Ok(())
}

fn program_for(installed: &Path, text: &Text) -> Result<PathBuf, String> {
    let folder = installed.join("examples/bare-metal");
    let program = installed.join("board.elf");
    let mut command = Command::new("arm-none-eabi-gcc");
    command.args([
        "-mcpu=cortex-m4",
        "-mthumb",
        "-mfloat-abi=hard",
        "-mfpu=fpv4-sp-d16",
    ]);
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
