//! Builds the firmware of every board and lets it tell the texts of `tests/data/boards.toml` under
//! QEMU.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::serial::SerialBoard;
use super::{missing, output, run, serial};

/// The program's folder, with a workspace of its own.
pub(crate) const FIRMWARE: &str = "tools/firmware";

/// Seconds a board has for all its texts.
const TIME_LIMIT: &str = "120";

/// What of a board file matters here.
#[derive(Deserialize)]
struct Board {
    target: String,
    model: Partition,
    qemu: Option<Qemu>,
    /// The same with the serial line on QEMU's standard streams.
    qemu_serial: Option<Qemu>,
}

#[derive(Deserialize)]
struct Partition {
    start: u64,
}

#[derive(Deserialize)]
struct Qemu {
    system: String,
    machine: String,
}

#[derive(Deserialize)]
struct Texts {
    text: Vec<Text>,
}

/// A text and how it comes about.
#[derive(Deserialize)]
struct Text {
    model: String,
    prompt: String,
    temperature: f64,
    top_p: f64,
    seed: u64,
    max_tokens: u64,
    text: String,
}

/// The step itself.
pub(crate) fn check() -> Result<(), String> {
    let texts: Texts = read(Path::new("tests/data/boards.toml"))?;
    let targets = output("rustup", &["target", "list", "--installed"]);
    for path in files(&Path::new(FIRMWARE).join("boards"))? {
        let board: Board = read(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if targets.lines().any(|line| line == board.target) {
            check_board(&name, &board, &texts.text)?;
        } else {
            let install = format!("rustup target add {}", board.target);
            missing("targets", &board.target, &install)?;
        }
    }
    Ok(())
}

/// Builds the firmware of the board called `name` and compares what it says with `texts`.
fn check_board(name: &str, board: &Board, texts: &[Text]) -> Result<(), String> {
    let target = ["--release", "--target", &board.target];
    cargo(
        name,
        &[&["clippy"], &target[..], &["--", "--deny=warnings"]].concat(),
    )?;
    cargo(name, &[&["build"], &target[..]].concat())?;
    let Some(qemu) = board.qemu.as_ref().or(board.qemu_serial.as_ref()) else {
        return Ok(());
    };
    let system = format!("qemu-system-{}", qemu.system);
    if output(&system, &["--version"]).is_empty() {
        let install = "apt-get install --no-install-recommends qemu-system-arm qemu-system-misc";
        return missing("qemu", &system, install);
    }
    let program = format!(
        "{FIRMWARE}/target/{}/release/minigpt-firmware",
        board.target
    );
    if board.qemu_serial.is_some() {
        return check_serial(name, board, qemu, texts);
    }
    for text in texts {
        let told = tell(board, qemu, Path::new(&program), text)?;
        let expected = format!("{}\n", text.text);
        if told != expected {
            let model = &text.model;
            return Err(format!(
                "{name}: {model} says {told:?} and not {expected:?}"
            ));
        }
    }
    println!("xtask: {name}: {} texts as on the desktop", texts.len());
    Ok(())
}

/// The same over the serial line, and what else comes over it.
fn check_serial(name: &str, board: &Board, qemu: &Qemu, texts: &[Text]) -> Result<(), String> {
    let program = serial::program(&board.target);
    let serial = SerialBoard {
        name,
        machine: (&qemu.system, &qemu.machine),
        program: &program,
        address: board.model.start,
    };
    let model = |text: &Text| Path::new("tests/data/format").join(&text.model);
    for text in texts {
        let settings = [
            format!("/temperature {}", text.temperature),
            format!("/top-p {}", text.top_p),
            format!("/seed {}", text.seed),
            format!("/max-tokens {}", text.max_tokens),
        ];
        let told = serial.tell(&model(text), &settings, &text.prompt)?;
        if told != text.text {
            return Err(format!(
                "{name}: {} says {told:?} and not {:?}",
                text.model, text.text
            ));
        }
    }
    if let Some(text) = texts.first() {
        serial.check(&model(text))?;
    }
    println!(
        "xtask: {name}: {} texts as on the desktop, over the serial line",
        texts.len()
    );
    Ok(())
}

/// Runs cargo on the firmware, for the board called `name`.
fn cargo(name: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(FIRMWARE).args(args);
    run(command.env("MINIGPT_BOARD", name))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// What the board writes when it is asked for `text`.
fn tell(board: &Board, qemu: &Qemu, program: &Path, text: &Text) -> Result<String, String> {
    let model = Path::new("tests/data/format").join(&text.model);
    let mut command = Command::new("timeout");
    command
        .arg(TIME_LIMIT)
        .arg(format!("qemu-system-{}", qemu.system));
    command.args(["-machine", &qemu.machine]);
    if qemu.system != "arm" {
        command.args(["-bios", "none"]);
    }
    command.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    command.arg("-kernel").arg(program);
    command.arg("-device").arg(format!(
        "loader,file={},addr={:#x},force-raw=on",
        model.display(),
        board.model.start
    ));
    let asked = format!(
        "/temperature {}\n/top-p {}\n/seed {}\n/max-tokens {}\n{}\n",
        text.temperature, text.top_p, text.seed, text.max_tokens, text.prompt
    );
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let failed = |error| format!("qemu-system-{}: {error}", qemu.system);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(asked.as_bytes()).map_err(failed)?;
    }
    let out = child.wait_with_output().map_err(failed)?;
    if !out.status.success() {
        return Err(format!("{command:?}: {}", out.status));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
