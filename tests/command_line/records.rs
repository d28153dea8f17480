//! The record of a run as the programs read it that it is made for.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use minigpt_tests::python;
use minigpt_trainer::metrics::{Metrics, csv};
use serde_json::{Value, from_slice, from_str};

use crate::train::{command, small, wait_for_lines};
use crate::{SMALL, directory, stderr};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/command_line/python");
const CONVERTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wandb/minigpt_wandb.py");

/// The record of `run` as it stands.
fn record(run: &Path) -> Vec<Metrics> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| from_str(line).unwrap()).collect()
}

/// The record as a list of names and numbers a line.
fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| from_str(line).unwrap()).collect()
}

/// What one of our programs in Python prints about `argument`.
fn ask(python: &mut Command, program: &str, argument: &Path) -> Value {
    let output = python
        .arg(Path::new(PROGRAMS).join(program))
        .arg(argument)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    from_slice(&output.stdout).unwrap()
}

#[test]
fn the_table_is_the_record() {
    let dir = directory();
    let output = small(dir.path(), &["--data", "fish.txt", "--out", "run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = dir.path().join("run");
    let table = fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(table, csv(&record(&run)));
    assert_eq!(table.lines().count(), 41);
    assert!(!run.join("tensorboard").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_the_curve_and_is_left_as_it_was() {
    let dir = directory();
    let train = format!(
        "{} train --data fish.txt --out run {} --set=n_embd=64",
        crate::MINIGPT,
        SMALL.join(" ")
    );
    // `script` of util-linux runs a command in a terminal of its own.
    let output = Command::new("script")
        .current_dir(dir.path())
        .args(["--quiet", "--return", "--command", &train, "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let dots = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(
        shown.contains(dots) && shown.contains('┤') && shown.contains('●'),
        "{shown}"
    );
    let (_, after) = shown.split_once("finished 40 steps").unwrap();
    assert!(!after.contains(dots), "{after}");
}

#[test]
fn tensorboard_reads_what_the_record_says() {
    let Some(mut python) = python("tensorboard") else {
        return;
    };
    let dir = directory();
    let run = dir.path().join("run");
    let args = ["--data", "fish.txt", "--steps", "400", "--out", "run"];
    let long = || {
        let mut command = command(dir.path(), &[&SMALL[2..], &args].concat());
        command.arg("--tensorboard").stdout(Stdio::null());
        command
    };
    // Killed between two checkpoints, so that the next start does some steps again.
    let mut child = long().stderr(Stdio::piped()).spawn().unwrap();
    wait_for_lines(&mut child, &run, 60);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = long().output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_dir(run.join("tensorboard")).unwrap().count() >= 2);
    same_as_record(
        &ask(&mut python, "events.py", &run.join("tensorboard")),
        &run,
    );
}

#[test]
fn a_finished_run_can_still_be_shown_in_tensorboard() {
    let Some(mut python) = python("tensorboard") else {
        return;
    };
    let dir = directory();
    let run = dir.path().join("run");
    let args = ["--data", "fish.txt", "--out", "run"];
    assert!(small(dir.path(), &args).status.success());
    let output = small(dir.path(), &[&args[..], &["--tensorboard"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    same_as_record(
        &ask(&mut python, "events.py", &run.join("tensorboard")),
        &run,
    );
}

/// That `events` holds every number of the record once, and nothing else.
fn same_as_record(events: &Value, run: &Path) {
    let mut n_numbers = 0;
    for mut line in lines(run) {
        // The record leaves this out as long as it is 0.
        let fields = line.as_object_mut().unwrap();
        fields.entry("skipped").or_insert_with(|| 0.into());
        for (name, number) in line.as_object().unwrap() {
            if name != "step" {
                let single = number.as_f64().unwrap() as f32;
                let points = events[name].as_array().unwrap();
                let here: Vec<_> = points.iter().filter(|p| p[0] == line["step"]).collect();
                assert_eq!(here.len(), 1, "{name} at {}", line["step"]);
                assert_eq!(here[0][1].as_f64().unwrap() as f32, single, "{name}");
                n_numbers += 1;
            }
        }
    }
    let shown = events.as_object().unwrap().values();
    let n_shown: usize = shown.map(|points| points.as_array().unwrap().len()).sum();
    assert_eq!(n_shown, n_numbers);
    assert!(n_numbers > 200);
}

#[test]
fn weights_and_biases_takes_the_record() {
    let (Some(mut converter), Some(mut reader)) = (python("wandb"), python("wandb")) else {
        return;
    };
    let dir = directory();
    let run = dir.path().join("run");
    assert!(
        small(dir.path(), &["--data", "fish.txt", "--out", "run"])
            .status
            .success()
    );
    let record = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    fs::write(
        run.join("metrics.jsonl"),
        record.clone() + "{\"step\": 41, \"tr",
    )
    .unwrap();
    let output = converter.arg(CONVERTER).arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    fs::write(run.join("metrics.jsonl"), record).unwrap();
    let kept = ask(&mut reader, "wandb_log.py", &run);
    assert_eq!(kept["config"]["model"]["n_embd"], 16);
    assert_eq!(kept["config"]["data"]["files"][0], "fish.txt");
    let history = kept["history"].as_array().unwrap();
    assert_eq!(history.len(), 40);
    for (kept, line) in history.iter().zip(lines(&run)) {
        for (name, number) in line.as_object().unwrap() {
            assert_eq!(kept[name].as_f64(), number.as_f64(), "{name}");
        }
    }
}

#[test]
fn weights_and_biases_is_refused_what_is_no_record() {
    let Some(_) = python("wandb") else {
        return;
    };
    let dir = directory();
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    let refused = |word: &str| {
        let mut python = python("wandb").unwrap();
        let output = python.arg(CONVERTER).arg(&run).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(word) && text.lines().count() == 1, "{text}");
    };
    refused("config.toml: No such file");
    fs::write(run.join("config.toml"), "").unwrap();
    refused("metrics.jsonl: No such file");
    fs::write(run.join("metrics.jsonl"), "{\"step\": 1}\n{\"steps\": 2}\n").unwrap();
    refused("line 2: not a line of a record");
}
