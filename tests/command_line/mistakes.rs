//! `minigpt train` on what it cannot train on: one sentence, and nothing is lost.

use std::fs;

use crate::train::{run, small};
use crate::{assert_refused, directory, stderr};

#[test]
fn bad_data_is_one_sentence() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("empty.txt"), "").unwrap();
    fs::write(dir.join("short.txt"), "a short text").unwrap();
    fs::write(dir.join("binary"), [0xff, 0xfe, 0x00].repeat(100)).unwrap();
    fs::create_dir(dir.join("nothing")).unwrap();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--data", "absent.txt"], &["there is no file absent.txt"]),
        (&["--data", "empty.txt"], &["empty.txt is empty"]),
        (
            &["--data", "nothing"],
            &["directory nothing holds no files"],
        ),
        (
            &["--data", "short.txt"],
            &["has 11 tokens", "n_ctx 64 needs 65"],
        ),
        (
            &["--data", "binary", "--tokenizer", "char"],
            &["binary is not UTF-8 at byte 0", "--tokenizer byte"],
        ),
        (
            &["--data", "fish.txt", "--val-data", "absent"],
            &["there is no file absent"],
        ),
    ];
    for (args, words) in cases {
        assert_refused(&run(dir, args), 2, words);
    }
    assert!(!dir.join("runs").exists() || fs::read_dir(dir.join("runs")).unwrap().count() == 0);
}

#[test]
fn bad_settings_name_themselves() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("bad.toml"), "[model]\nn_layer = 2\nn_heads = 2\n").unwrap();
    fs::write(dir.join("bad.yaml"), "model:\n  n_layer: two\n").unwrap();
    fs::write(dir.join("broken.toml"), "[model\n").unwrap();
    let cases: [(&[&str], &[&str]); 18] = [
        (&["--config", "bad.toml"], &["bad.toml, line 3", "n_heads"]),
        (
            &["--config", "bad.yaml"],
            &["bad.yaml", "line 2", "n_layer"],
        ),
        (&["--config", "broken.toml"], &["broken.toml, line 1"]),
        (&["--config", "absent.toml"], &["cannot read absent.toml"]),
        (
            &["--set", "n_layers=2"],
            &["no such setting; did you mean n_layer?"],
        ),
        (
            &["--set", "n_layer=two"],
            &["--set n_layer=two", "expected u32"],
        ),
        (
            &["--preset", "cpu", "--set", "n_head=5"],
            &["n_embd 128 is not a multiple of n_head 5"],
        ),
        (&["--set", "n_vocab=5"], &["--tokenizer bpe:N"]),
        (&["--preset", "huge"], &["no preset huge", "stories, cpu"]),
        (
            &["--learning-rate", "-1"],
            &["learning_rate is -1", "above 0"],
        ),
        (&["--steps", "0"], &["steps is 0", "at least 1"]),
        (
            &["--set", "schedule=linear"],
            &["--set schedule=linear", "`cosine`, `constant`, `wsd`"],
        ),
        (
            &["--set", "optimizer=sgd"],
            &["--set optimizer=sgd", "`adamw` or `muon`"],
        ),
        (
            &["--set", "muon_momentum=1"],
            &["muon_momentum is 1", "below 1"],
        ),
        (
            &["--set", "muon_learning_rate=0"],
            &["muon_learning_rate is 0", "above 0"],
        ),
        (&["--set", "skip_z=0.5"], &["skip_z is 0.5", "at least 1"]),
        (&["--set", "ema_decay=1"], &["ema_decay is 1", "below 1"]),
        (
            &["--set", "decay_steps=-1"],
            &["--set decay_steps=-1", "-1"],
        ),
    ];
    for (args, words) in cases {
        assert_refused(&run(dir, args), 2, words);
    }
    let output = run(dir, &["--tokenizer", "words"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no tokenizer words"));
    assert!(!dir.join("runs").exists());
}

#[test]
fn mistakes_are_located() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("zero.TOML"), "[training]\n\nbatch = 0\n").unwrap();
    let huge = ["--data", "fish.txt", "--batch", "4000000000"];
    let cases: [(&[&str], &[&str]); 11] = [
        (
            &["--config", "zero.TOML"],
            &["zero.TOML, line 3: batch is 0"],
        ),
        (
            &["--set", "n_layers=2"],
            &["--set n_layers=2: ", "did you mean n_layer?"],
        ),
        (
            &["--set", "dropout=0.99999999"],
            &["--set dropout=0.99999999: ", "below 1"],
        ),
        (&["--steps", "-3"], &["--steps: ", "-3"]),
        (&["--seed", "-1"], &["--seed: ", "-1"]),
        (&["--batch", "5000000000"], &["--batch: "]),
        (
            &["--learning-rate", "1e-50"],
            &["--learning-rate: learning_rate is"],
        ),
        (
            &huge,
            &[
                "bytes of memory, ",
                " with recompute=off, and there are",
                "lower --batch",
            ],
        ),
        (
            &["--set", "quantize_aware=q5"],
            &["--set quantize_aware=q5: unknown variant `q5`, expected one of `off`, `q8`, `q4`"],
        ),
        (
            &["--set", "quantize_fraction=0"],
            &[
                "--set quantize_fraction=0: quantize_fraction is 0; it must be above 0 and at most 1",
            ],
        ),
        (
            &["--set", "stories_bytes=99999999999"],
            &["stories_bytes", "at most"],
        ),
    ];
    for (args, words) in cases {
        assert_refused(&run(dir, args), 2, words);
    }
    assert!(!dir.join("runs").exists() || fs::read_dir(dir.join("runs")).unwrap().count() == 0);
}

#[test]
fn damage_is_told_from_misuse() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--out", "a"];
    assert!(small(dir, &args).status.success());
    let file = dir.join("a/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("batch = 2", "batch = two")).unwrap();
    assert_refused(&small(dir, &args), 1, &["a/config.toml, line "]);
    fs::write(&file, text.replace("batch = 2", "batch = 0")).unwrap();
    assert_refused(&small(dir, &args), 1, &["batch is 0"]);
    fs::write(&file, text).unwrap();
    fs::remove_file(dir.join("a/data/train.u16")).unwrap();
    assert_refused(&small(dir, &args), 1, &["train.u16", "new --out"]);
    fs::create_dir(dir.join("b")).unwrap();
    fs::write(dir.join("b/config.toml"), "title = 1\n").unwrap();
    let output = small(dir, &["--data", "fish.txt", "--out", "b"]);
    assert_refused(&output, 2, &["choose another --out"]);
}

#[test]
fn directories_that_are_no_runs_are_left_alone() {
    let dir = directory();
    let dir = dir.path();
    fs::create_dir(dir.join("letters")).unwrap();
    fs::write(dir.join("letters/one"), "dear").unwrap();
    let output = small(dir, &["--data", "fish.txt", "--out", "letters"]);
    assert_refused(&output, 2, &["letters exists and is no run directory"]);
    let output = small(dir, &["--data", "fish.txt", "--out", "fish.txt"]);
    assert_refused(&output, 2, &["fish.txt exists and is no run directory"]);
    let output = small(dir, &["--out", "absent", "--resume"]);
    assert_refused(&output, 2, &["there is no run in absent"]);
    assert_eq!(fs::read_dir(dir.join("letters")).unwrap().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written_are_named() {
    let dir = directory();
    // Nobody writes to /proc, not even root.
    let output = small(dir.path(), &["--data", "fish.txt", "--out", "/proc/run"]);
    assert_refused(&output, 1, &["cannot use /proc/run"]);
}
