//! `--device` and `minigpt doctor`, on simulated GPUs and on none.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use minigpt_tests::gpu;

use crate::{MINIGPT, SMALL, assert_refused, directory, stderr};

/// Runs the binary in `dir` where `libcuda.so` is the one in `driver`, with the environment `given`.
pub(crate) fn run(dir: &Path, driver: &Path, given: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(MINIGPT);
    command
        .current_dir(dir)
        .args(args)
        .env("LD_LIBRARY_PATH", driver);
    command.envs(given.iter().copied()).output().unwrap()
}

/// Arguments of a small training on the text of [`directory`]; of as many steps as `more` says, if it does.
pub(crate) fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let stated = more.contains(&"--steps");
    let small = if stated { &SMALL[2..] } else { &SMALL[..] };
    [&["train", "--data", "fish.txt"], small, more].concat()
}

#[test]
fn devices_that_cannot_be_are_one_sentence() {
    let dir = directory();
    let (dir, nothing) = (dir.path(), Path::new("."));
    let misspelt = run(dir, nothing, &[], &train(&["--device", "gpu"]));
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(stderr(&misspelt).contains("there are auto, cpu, cuda and cuda:N"));
    let Some(driver) = gpu::simulator() else {
        return;
    };
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 5] = [
        (
            "cuda",
            &[("MINIGPT_FAKE_DEVICES", "0")],
            &["no GPU that it can use"],
        ),
        (
            "cuda:1",
            &[],
            &["there is no cuda:1; the only one is cuda:0"],
        ),
        (
            "cuda:7",
            &[("MINIGPT_FAKE_DEVICES", "3")],
            &["there is no cuda:7", "cuda:0 to cuda:2"],
        ),
        (
            "cuda",
            &[("MINIGPT_FAKE_DRIVER", "11080")],
            &["knows CUDA 11.8", "12.2 is needed", "535"],
        ),
        (
            "cuda",
            &[("MINIGPT_FAKE_CAPABILITY", "75")],
            &["simulated GPU has compute capability 7.5, and 8.0 is needed"],
        ),
    ];
    for (device, given, words) in cases {
        let output = run(dir, &driver, given, &train(&["--device", device]));
        assert_refused(&output, 2, words);
    }
    assert!(!dir.join("runs").exists());
}

#[test]
fn a_machine_without_a_driver_trains_on_the_cpu_and_says_why() {
    // Only where there is none.
    if minigpt_trainer::backend::cuda::find().is_ok() {
        return;
    }
    let dir = directory();
    let output = run(dir.path(), Path::new("."), &[], &["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("there is ") && text.contains("train uses the CPU"),
        "{text}"
    );
    let output = run(
        dir.path(),
        Path::new("."),
        &[],
        &train(&["--device", "cuda"]),
    );
    assert_refused(&output, 2, &["there is "]);
    let output = run(dir.path(), Path::new("."), &[], &train(&[]));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_gpu_trains_goes_on_from_the_cpu_and_back() {
    let Some(driver) = gpu::simulator() else {
        return;
    };
    let dir = directory();
    let dir = dir.path();
    let output = run(dir, &driver, &[], &["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("are the CPU's within rounding"), "{text}");
    assert!(
        text.contains("minigpt train uses simulated GPU (cuda:0)"),
        "{text}"
    );
    for (steps, device, words) in [
        ("6", "cpu", ""),
        ("12", "cuda:0", "on simulated GPU"),
        ("15", "cpu", ""),
    ] {
        let more = [
            "--out", "run", "--resume", "--steps", steps, "--device", device,
        ];
        let more = if steps == "6" {
            [&more[..2], &more[3..]].concat()
        } else {
            more.to_vec()
        };
        let output = run(dir, &driver, &[], &train(&more));
        let said = stderr(&output);
        assert!(output.status.success() && said.contains(words), "{said}");
    }
    let record = fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap();
    assert_eq!(record.lines().count(), 15);
}

#[test]
fn training_on_a_gpu_is_measured_in_groups_of_steps() {
    let Some(driver) = gpu::simulator() else {
        return;
    };
    let dir = directory();
    // Fewer steps than groups, and more.
    for steps in ["1", "7"] {
        let args = [
            "bench", "train", "--preset", "cpu", "--batch", "1", "--device", "cuda", "--steps",
            steps, "--json",
        ];
        let since = Instant::now();
        let output = run(dir.path(), &driver, &[], &args);
        let most = since.elapsed().as_secs_f64() * 1e3;
        assert!(output.status.success(), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |key: &str| report[key].as_f64().unwrap();
        let (median, best) = (number("ms_per_step"), number("best_ms"));
        let steps: f64 = steps.parse().unwrap();
        assert!(0.0 < best && best <= median, "{report}");
        assert!(best * steps <= most, "{report}");
        // The last step is the one that a CPU ends with.
        let args = [&args[..6], &args[8..]].concat();
        let output = run(dir.path(), &driver, &[], &args);
        let other: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let loss = other["loss"].as_f64().unwrap();
        assert!(
            (number("loss") / loss - 1.0).abs() < 0.02,
            "{report} {other}"
        );
    }
}

#[test]
fn too_little_memory_says_which_batch_fits_and_a_lost_device_what_is_left() {
    let Some(driver) = gpu::simulator() else {
        return;
    };
    let dir = directory();
    let dir = dir.path();
    let arguments = ["--out", "run", "--device", "cuda", "--set=batch=4000"];
    let small = [("MINIGPT_FAKE_MEMORY", "30000000")];
    let output = run(dir, &driver, &small, &train(&arguments));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("simulated GPU has 29"), "{said}");
    assert!(!dir.join("run").exists());
    let batch = said
        .split("; at most --batch ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let batch: usize = batch.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!((10..4000).contains(&batch), "{said}");
    // The vocabulary, which is not known yet, takes some, too.
    let fitting = format!("--set=batch={}", batch * 9 / 10);
    let fitting = [
        "--out", "fits", "--device", "cuda", "--steps", "1", &fitting,
    ];
    let output = run(dir, &driver, &small, &train(&fitting));
    assert!(output.status.success(), "{}", stderr(&output));
    // Auto takes the CPU and says so.
    let auto = ["--out", "auto", "--steps", "1", "--set=batch=4000"];
    let output = run(dir, &driver, &small, &train(&auto));
    assert!(stderr(&output).contains("training on the CPU: simulated GPU has"));
    let lost = [("MINIGPT_FAKE_LOST", "1000")];
    let output = run(
        dir,
        &driver,
        &lost,
        &train(&["--out", "lost", "--device", "cuda"]),
    );
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("simulated GPU failed at"), "{said}");
    assert!(said.contains("the same command goes on from"), "{said}");
    let again = ["--out", "lost", "--device", "cpu"];
    let output = run(dir, &driver, &[], &train(&again));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn products_by_the_library_are_a_setting_of_the_run_and_want_the_library() {
    let Some(driver) = gpu::simulator() else {
        return;
    };
    let dir = directory();
    let dir = dir.path();
    let wanted = |name, device, steps| {
        let more = [
            "--out",
            name,
            "--device",
            device,
            "--steps",
            steps,
            "--set=cublaslt=true",
        ];
        train(&more)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let go = |folders: &str, arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(dir, Path::new(folders), &[], &arguments)
    };
    let alone = driver.display().to_string();
    // Unless the machine has one of its own.
    if !Command::new("sh")
        .args(["-c", "ldconfig -p | grep -q libcublasLt"])
        .status()
        .is_ok_and(|s| s.success())
    {
        let output = go(&alone, &wanted("none", "cuda", "4"));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the loader finds no libcublasLt"), "{said}");
    }
    let with = format!("{alone}:{alone}/products");
    let doctor = String::from_utf8(go(&with, &["doctor".to_owned()]).stdout).unwrap();
    assert!(doctor.contains("cublaslt there is one"), "{doctor}");
    for (folders, device) in [(&with, "cuda"), (&alone, "cpu")] {
        let output = go(folders, &wanted(device, device, "4"));
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // What was begun with it does not go on without.
    let other = train(&[
        "--out",
        "cuda",
        "--device",
        "cuda",
        "--steps",
        "4",
        "--set=cublaslt=false",
    ]);
    let output = run(dir, Path::new(&with), &[], &other);
    assert_refused(&output, 2, &["cublaslt"]);
}
