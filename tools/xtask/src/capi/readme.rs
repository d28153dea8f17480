//! The README's commands, run as they are written, and the programs it shows.

use std::path::Path;
use std::process::Command;

use super::super::{missing, output};
use super::{FOLDER, read, told};

/// Programs that commands of the README need: how they are called there, what `MINIGPT_REQUIRE` calls them, the
/// package.
const NEEDED: [(&str, &str, &str); 7] = [
    ("gcc", "cc", "gcc"),
    ("g++", "cc", "g++"),
    ("pkg-config", "cmake", "pkg-config"),
    ("cmake", "cmake", "cmake"),
    (
        "arm-none-eabi-gcc",
        "arm-gcc",
        "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    ),
    ("qemu-system-arm", "qemu", "qemu-system-arm"),
    ("node", "node", "nodejs"),
];

/// Programs that the README shows whole.
const SHOWN: [&str; 2] = ["examples/c/minimal.c", "examples/bare-metal/main.c"];

/// The step's part.
pub(super) fn check() -> Result<(), String> {
    let path = Path::new(FOLDER).join("README.md");
    let readme = read(&path)?;
    for name in SHOWN {
        let program = read(&Path::new(FOLDER).join(name))?;
        if !readme.contains(&format!("```c\n{program}```\n")) {
            return Err(format!(
                "{} shows another {name} than there is",
                path.display()
            ));
        }
    }
    let mut script = String::from("set -e\n");
    let blocks = blocks(&readme);
    let n = blocks.len();
    for block in blocks {
        if installed(block)? {
            script.push_str(block);
        }
    }
    told(Command::new("sh").args(["-c", &script]))?;
    println!("xtask: {}: {n} blocks of commands", path.display());
    Ok(())
}

/// What stands between "```sh" and "```".
fn blocks(readme: &str) -> Vec<&str> {
    let parts = readme.split("```sh\n").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("```")?.0))
        .collect()
}

/// Whether the programs that `block` calls are there.
fn installed(block: &str) -> Result<bool, String> {
    let words: Vec<&str> = block
        .split(|c: char| c.is_whitespace() || c == '(')
        .collect();
    for (program, kind, package) in NEEDED {
        if words.contains(&program) && output(program, &["--version"]).is_empty() {
            let install = format!("apt-get install --no-install-recommends {package}");
            missing(kind, program, &install)?;
            return Ok(false);
        }
    }
    Ok(true)
}
