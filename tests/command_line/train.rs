//! `minigpt train`: going on, stopping and being stopped.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use minigpt_tests::curve;
use tempfile::TempDir;

use crate::{MINIGPT, SMALL, assert_refused, directory, stderr};

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(MINIGPT);
    command.current_dir(dir).arg("train").args(args);
    command
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

pub(crate) fn small(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).args(SMALL).output().unwrap()
}

#[test]
fn the_same_command_again_and_another_one() {
    let dir = directory();
    let dir = dir.path();
    let again = ["--data", "fish.txt", "--out", "run"];
    let output = small(dir, &again);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!output.stdout.is_empty());
    let run = dir.join("run");
    for file in [
        "config.toml",
        "tokenizer",
        "metrics.jsonl",
        "loss.svg",
        "model.mgpt",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(run.join("samples/step-000040.txt").is_file());
    let model = fs::read(run.join("model.mgpt")).unwrap();
    let output = small(dir, &again);
    assert!(output.status.success());
    assert!(stderr(&output).contains("this run is finished (40 steps)"));
    assert_eq!(fs::read(run.join("model.mgpt")).unwrap(), model);

    let mut other = command(dir, &again);
    let other = other.args(SMALL).arg("--set=n_layer=2").output().unwrap();
    assert_refused(
        &other,
        2,
        &["n_layer is 1 there and 2 here", "another --out"],
    );
    let mut longer = command(dir, &again);
    let longer = longer.args(SMALL).arg("--set=steps=50");
    assert_refused(
        &longer.output().unwrap(),
        2,
        &["steps is 40 there and 50 here", "--resume"],
    );
    let output = command(dir, &["--out", "run", "--resume", "--steps", "50"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(curve(&run).len(), 50);
    assert!(!stderr(&output).contains("goes on with the tokens"));

    fs::write(dir.join("fish.txt"), "Other fish. ".repeat(200)).unwrap();
    let output = small(dir, &again);
    assert_refused(&output, 2, &["data file is fish.txt (1640 bytes"]);
    for (steps, change) in [
        ("60", "fish.txt is not what it was"),
        ("70", "there is no file fish.txt"),
    ] {
        let mut longer = command(dir, &["--out", "run", "--resume", "--steps", steps]);
        let output = longer.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(change), "{said}");
        assert!(
            said.contains("goes on with the tokens that it keeps"),
            "{said}"
        );
        fs::remove_file(dir.join("fish.txt")).unwrap_or_default();
    }
}

#[test]
fn a_run_for_a_format_ends_with_a_model_of_it() {
    let dir = directory();
    let dir = dir.path();
    let aware = [
        "--data",
        "fish.txt",
        "--set=quantize_aware=q4",
        "--out",
        "run",
    ];
    let output = small(dir, &aware);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let switch =
        "from step 31 on with weights as q4 stores them; validated with those from the start";
    assert!(said.contains(switch), "{said}");
    let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    for line in ["quantize_aware = \"q4\"", "quantize_fraction = 0.25"] {
        assert!(config.contains(line), "{line} is not in {config}");
    }
    let export = |args: &[&str]| {
        let mut command = Command::new(MINIGPT);
        let command = command.current_dir(dir).args(["export", "run", "-o"]);
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = export(&["run.mgpt"]);
    assert!(said.contains("bytes as q4"), "{said}");
    assert!(said.contains("which nothing was trained to use"), "{said}");
    assert!(export(&["f16.mgpt", "--format", "f16"]).contains("bytes as f16"));
    let bytes = |name| fs::metadata(dir.join(name)).unwrap().len();
    assert!(bytes("run/model.mgpt").abs_diff(bytes("run.mgpt")) < 16);
    let mut other = small(dir, &[&aware[..], &["--set=quantize_aware=q8"]].concat());
    let words = ["quantize_aware is \"q4\" there and \"q8\" here"];
    assert_refused(&other, 2, &words);
    other = small(dir, &[&aware[..], &["--set=recompute=on"]].concat());
    assert!(other.status.success(), "{}", stderr(&other));
}

#[test]
fn a_configuration_follows_what_is_laid_over_it() {
    let dir = directory();
    let dir = dir.path();
    let output = small(dir, &["--data", "fish.txt", "--out", "a"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = ["--config", "a/config.toml"];
    let args = [
        &config[..],
        &["--set=n_head=4", "--steps", "20", "--out", "b"],
    ]
    .concat();
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(dir.join("b/config.toml")).unwrap();
    for line in ["n_head_kv = 4", "warmup_steps = 2", "n_embd = 16"] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    // A flag wins over the file, a preset too; what is not of a preset does not bear its name.
    assert!(!text.contains("preset ="), "{text}");
    let small = [
        "--preset", "tiny", "--steps", "1", "--batch", "1", "--out", "c",
    ];
    let small = [&config[..], &small, &["--set=n_ctx=16"]].concat();
    let output = run(dir, &small);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(dir.join("c/config.toml")).unwrap();
    assert!(
        text.contains("n_embd = 128") && !text.contains("preset ="),
        "{text}"
    );
}

#[test]
fn a_run_on_stories_is_not_one_on_files() {
    let dir = directory();
    let dir = dir.path();
    let output = small(dir, &["--data", "fish.txt", "--preset=cpu", "--out", "a"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = small(dir, &["--preset=cpu", "--tokenizer=char", "--out", "a"]);
    let words = ["data is fish.txt there and the built-in stories here"];
    assert_refused(&output, 2, &words);
}

#[test]
fn an_empty_directory_is_taken_and_nothing_beside_it() {
    let dir = directory();
    let dir = dir.path();
    fs::create_dir(dir.join("here")).unwrap();
    fs::create_dir(dir.join("slash.partial")).unwrap();
    let here = dir.join("here");
    let output = small(&here, &["--data", "../fish.txt", "--out", "."]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = small(dir, &["--data", "fish.txt", "--out", "slash/"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(here.join("model.mgpt").is_file() && dir.join("slash/model.mgpt").is_file());
    assert!(dir.join("slash.partial").is_dir());
}

#[test]
fn a_picture_that_cannot_be_drawn_is_no_end() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--out", "a"];
    assert!(small(dir, &args).status.success());
    fs::remove_file(dir.join("a/loss.svg")).unwrap();
    fs::create_dir(dir.join("a/loss.svg")).unwrap();
    let output = command(dir, &["--out", "a", "--resume", "--steps", "50"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: cannot use a/loss.svg"));
    assert_eq!(curve(&dir.join("a")).len(), 50);
}

#[test]
fn a_run_without_a_checkpoint_is_begun_anew() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--out", "a"];
    assert!(small(dir, &args).status.success());
    fs::remove_dir_all(dir.join("a/checkpoints")).unwrap();
    let mut other = command(dir, &args);
    let output = other.args(SMALL).arg("--seed=2").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("has no checkpoint yet: it is begun anew"));
}

#[cfg(unix)]
#[test]
fn stopped_before_the_first_step_nothing_stays() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let mut command = command(dir, &["--tokenizer", "bpe:8000", "--out", "run"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !dir.join("run").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no progress");
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_millis(50));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("stopped before the first step; nothing saved"),
        "{text}"
    );
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn training_needs_nobody_who_listens() {
    let dir = directory();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(dir.path(), &["--data", "fish.txt", "--out", "run"]);
    let output = command.args(SMALL).stderr(full()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(curve(&dir.path().join("run")).len(), 40);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_training_and_loses_nothing() {
    let dir = directory();
    let args = ["--data", "fish.txt", "--out", "run"];
    // A limit on the size of files stands in for the disk: a checkpoint does not fit.
    let limited = Command::new("sh")
        .current_dir(dir.path())
        .args(["-c", "trap '' XFSZ; ulimit -f 9; exec \"$0\" train \"$@\""])
        .arg(MINIGPT)
        .args(args)
        .args(SMALL)
        .arg("--set=n_embd=32")
        .output()
        .unwrap();
    let text = stderr(&limited);
    assert_eq!(limited.status.code(), Some(1), "{text}");
    for words in [
        "cannot save the checkpoint",
        "File too large",
        "run the same command again",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let mut whole = command(dir.path(), &args);
    let whole = whole.args(SMALL).arg("--set=n_embd=32").output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert_eq!(curve(&dir.path().join("run")).len(), 40);
}

/// Waits until the record of `run` has `n` lines.
pub(crate) fn wait_for_lines(child: &mut Child, run: &Path, n: usize) {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= n {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no progress");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before its time"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn killed_and_interrupted_runs_go_on_bit_for_bit() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--steps", "400", "--out"];
    let long = |out| {
        let mut command = command(dir, &[&SMALL[2..], &args, &[out]].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let whole = long("whole").output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));

    let run = dir.join("parts");
    let mut child = long("parts").spawn().unwrap();
    wait_for_lines(&mut child, &run, 60);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let mut child = long("parts").spawn().unwrap();
    wait_for_lines(&mut child, &run, 150);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("minigpt train --out parts --resume"),
        "{text}"
    );
    let output = long("parts").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    assert_eq!(curve(&run), curve(&dir.join("whole")));
    let model = |run: &str| {
        fs::read(
            dir.join(run)
                .join("checkpoints/step-000400/model.safetensors"),
        )
    };
    assert_eq!(model("parts").unwrap(), model("whole").unwrap());
}
