//! `minigpt compare` and `minigpt train --dry-run`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use minigpt_tests::{curve, gpu};
use serde_json::{Value, from_slice};

use crate::train::{command, small};
use crate::{MINIGPT, SMALL, assert_refused, devices, directory, stderr};

fn compare(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(MINIGPT);
    command.current_dir(dir).arg("compare").args(args);
    command.output().unwrap()
}

#[test]
fn runs_stand_side_by_side() {
    let dir = directory();
    let dir = dir.path();
    let wide = ["--data", "fish.txt", "--out", "wide"];
    assert!(
        small(dir, &["--data", "fish.txt", "--out", "a"])
            .status
            .success()
    );
    let mut command = command(dir, &wide);
    assert!(
        command
            .args(SMALL)
            .arg("--set=n_embd=32")
            .status()
            .unwrap()
            .success()
    );
    let output = compare(dir, &["a", "wide", "--json", "-o", "both.svg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let runs: Vec<Value> = from_slice(&output.stdout).unwrap();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        let record = curve(&dir.join(run["name"].as_str().unwrap()));
        let losses = record.iter().filter_map(|line| line.val_loss);
        let best = losses.reduce(f64::min).unwrap();
        assert_eq!(run["val_loss"], best);
        assert_eq!(run["perplexity"], best.exp());
        let bits = record.iter().filter_map(|line| line.val_bits_per_byte);
        assert_eq!(run["val_bits_per_byte"], bits.reduce(f64::min).unwrap());
        assert_eq!((&run["steps"], &run["tokens"]), (&40.into(), &1280.into()));
        assert_eq!(run["validations"].as_array().unwrap().len(), 4);
        assert!(run["seconds"].as_f64().unwrap() > 0.0);
    }
    let bits = |i: usize| runs[i]["val_bits_per_byte"].as_f64().unwrap();
    assert!(bits(0) <= bits(1));
    let picture = fs::read_to_string(dir.join("both.svg")).unwrap();
    assert_eq!(picture.matches("<circle").count(), 2 * 8 + 2 + 2);

    let output = compare(dir, &["a", "wide"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.contains("bits per byte") && table.contains("1,280"),
        "{table}"
    );
    assert!(dir.join("compare.svg").is_file());

    fs::write(dir.join("other.txt"), "Other fish. ".repeat(200)).unwrap();
    assert!(
        small(dir, &["--data", "other.txt", "--out", "c"])
            .status
            .success()
    );
    let output = compare(dir, &["a", "c"]);
    assert!(
        stderr(&output).contains("learned another text than a"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn variants_are_trained_once_and_compared() {
    let dir = directory();
    let dir = dir.path();
    let vary = [
        "--vary",
        "positions=learned,rope",
        "--vary",
        "mlp=gelu,swiglu",
    ];
    let args = [
        &vary[..],
        &["--data", "fish.txt", "--out", "v", "--json"],
        &SMALL,
    ]
    .concat();
    let output = compare(dir, &args);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("variant 4 of 4: positions=rope mlp=swiglu"),
        "{said}"
    );
    let runs: Vec<Value> = from_slice(&output.stdout).unwrap();
    assert_eq!(runs.len(), 4);
    let config = dir.join("v/positions=rope,mlp=swiglu/config.toml");
    let config = fs::read_to_string(config).unwrap();
    assert!(config.contains("positions = \"rope\"") && config.contains("mlp = \"swiglu\""));
    let picture = fs::read_to_string(dir.join("v/compare.svg")).unwrap();
    assert!(picture.contains("positions=learned mlp=gelu"));
    // Again: nothing is trained, and the figures are the same.
    let output = compare(dir, &args);
    assert!(output.status.success());
    assert_eq!(from_slice::<Vec<Value>>(&output.stdout).unwrap(), runs);
}

/// Learning rates of which the second cannot work, trained in `v`.
const DIVERGING: [&str; 10] = [
    "--vary",
    "learning_rate=1e-3,1e6,2e-3",
    "--data",
    "fish.txt",
    "--out",
    "v",
    "--set=warmup_steps=0",
    "--set=grad_clip=0",
    "--set=schedule=constant",
    "--json",
];

#[test]
fn a_variant_that_diverges_comes_last_and_the_others_go_on() {
    let dir = directory();
    let dir = dir.path();
    let args = [&DIVERGING[..], &SMALL].concat();
    let output = compare(dir, &args);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("variant 3 of 3"), "{said}");
    assert!(said.contains("training diverged: the "), "{said}");
    assert!(!said.contains("new --out"), "{said}");
    let runs: Vec<Value> = from_slice(&output.stdout).unwrap();
    assert_eq!(runs.len(), 3);
    for run in &runs[..2] {
        assert!(run["diverged"].is_null() && run["steps"] == 40, "{run}");
    }
    let worst = &runs[2];
    assert_eq!(worst["name"], "learning_rate=1e6");
    let step = worst["diverged"]["step"].as_u64().unwrap();
    assert!((1..=40).contains(&step), "{worst}");
    let mark = format!("diverged at step {step}");
    let picture = fs::read_to_string(dir.join("v/compare.svg")).unwrap();
    assert_eq!(picture.matches(&mark).count(), 1);

    // Again: what diverged is not trained a second time, and is what it was.
    let output = compare(dir, &args);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("diverged before: the "), "{said}");
    assert!(!said.contains("training diverged"), "{said}");
    assert_eq!(from_slice::<Vec<Value>>(&output.stdout).unwrap(), runs);

    // Runs that are there are marked alike.
    let output = compare(dir, &["v/learning_rate=1e6", "v/learning_rate=1e-3"]);
    let table = String::from_utf8(output.stdout).unwrap();
    let last = table.lines().last().unwrap();
    assert!(
        last.starts_with("v/learning_rate=1e6 ") && last.ends_with(&mark),
        "{table}"
    );
}

#[test]
fn no_variant_that_finishes_is_a_failure() {
    let dir = directory();
    let dir = dir.path();
    let args = [&DIVERGING[..], &SMALL, &["--vary", "beta2=0.9"]].concat();
    let args: Vec<&str> = args
        .into_iter()
        .map(|arg| {
            arg.strip_prefix("learning_rate=")
                .map_or(arg, |_| "learning_rate=1e6")
        })
        .collect();
    let output = compare(dir, &args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("every variant diverged, learning_rate=1e6 beta2=0.9: "),
        "{said}"
    );
    assert!(!dir.join("v/compare.svg").exists());
}

#[test]
fn what_cannot_be_compared_is_one_sentence() {
    let dir = directory();
    let dir = dir.path();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["absent"], &["there is no run in absent"]),
        (&["fish.txt"], &["fish.txt is not the directory of a run"]),
        (&["--vary", "mlp=gelu,tanh"], &["--set mlp=tanh", "tanh"]),
        (&["--vary", "mpl=gelu,relu"], &["did you mean mlp?"]),
        (&["--vary", "mlp=gelu", "--resume"], &["for minigpt train"]),
    ];
    for (args, words) in cases {
        assert_refused(&compare(dir, args), 2, words);
    }
    assert!(!dir.join("runs").exists());
}

#[test]
fn a_dry_run_says_what_a_run_will_be_and_makes_nothing() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--out", "run", "--tokenizer=bpe:270"];
    let dry = small(dir, &[&args[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    let said = String::from_utf8(dry.stdout).unwrap();
    let real = small(dir, &args);
    assert!(real.status.success(), "{}", stderr(&real));
    let facts = stderr(&real);
    let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    let fact = |name: &str| {
        let line = config
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.unwrap().to_owned()
    };
    let plain = said.replace(',', "");
    for name in ["n_params", "n_vocab", "train_tokens", "val_tokens"] {
        let number = fact(name);
        let has = plain.split_whitespace().any(|word| word == number);
        assert!(has, "{name} {number} is not in {said} of {facts}");
    }
    let bytes = fs::metadata(dir.join("run/model.mgpt")).unwrap().len();
    assert!(
        plain.contains(&format!("{bytes} bytes as q8")),
        "{bytes}: {said}"
    );
    for words in ["memory", "with recompute=on", "tokens/s", "bytes as f32"] {
        assert!(said.contains(words), "{said}");
    }
    // A board that it does not fit is said here, too.
    let huge = [
        "--set=n_embd=512",
        "--set=n_layer=8",
        "--board=microbit",
        "--dry-run",
    ];
    let output = command(dir, &[&args[..], &huge].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_dry_run_measures_the_device_that_would_train() {
    let Some(driver) = gpu::simulator() else {
        return;
    };
    let dir = directory();
    let gpu = [
        "device      simulated GPU (cuda:0)\n",
        " free there; ",
        "host memory at least ",
        "on simulated GPU just now",
    ];
    let cpu = [
        "device      the CPU\n",
        " there are; ",
        "on the CPU just now",
    ];
    let dry = |given: &[(&str, &str)], device| {
        let arguments = ["--dry-run", "--device", device];
        let output = devices::run(dir.path(), &driver, given, &devices::train(&arguments));
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let cases: [(_, &[&str]); 3] = [("cuda", &gpu), ("auto", &gpu), ("cpu", &cpu)];
    for (device, words) in cases {
        let (report, said) = dry(&[], device);
        for words in words {
            assert!(report.contains(words), "{words:?} is not in {report}");
        }
        assert_eq!(report.contains("host memory"), device != "cpu");
        assert!(!said.contains("training on"), "{said}");
    }
    let (report, said) = dry(&[("MINIGPT_FAKE_CAPABILITY", "75")], "auto");
    assert!(report.contains(cpu[0]), "{report}");
    assert!(
        said.contains("on the CPU: simulated GPU has compute capability"),
        "{said}"
    );
}
