//! `minigpt train --from`: beginning with another model's weights.

use std::fs;
use std::path::Path;
use std::process::Output;

use minigpt_tests::curve;

use crate::train::{command, small};
use crate::{assert_refused, directory, stderr};

/// The first 20 steps of a run from `base`, with `more` arguments.
fn tuned(dir: &Path, base: &str, out: &str, more: &[&str]) -> Output {
    let args = ["--from", base, "--data", "birds.txt", "--out", out];
    let common = [
        "--steps",
        "20",
        "--batch",
        "2",
        "--threads",
        "1",
        "--set",
        "eval_interval=10",
    ];
    let mut command = command(dir, &args);
    command.args(common).args(more).output().unwrap()
}

#[test]
fn a_run_and_its_model_file_are_begun_with_and_keep_their_tokenizer() {
    let dir = directory();
    let dir = dir.path();
    let text = "Two birds, blue birds, one red bird, fed fish. ".repeat(40);
    fs::write(dir.join("birds.txt"), text).unwrap();
    let base = ["--data", "fish.txt", "--out", "base", "--steps", "300"];
    let mut long = command(dir, &base);
    let long = long.args(&crate::SMALL[2..]).output().unwrap();
    assert!(long.status.success(), "{}", stderr(&long));
    // One letter is not in the alphabet of the fish.
    let output = tuned(dir, "base", "wrong", &[]);
    assert_refused(
        &output,
        2,
        &["is not in the tokenizer's alphabet", "--tokenizer char"],
    );
    let text = "two blue fish, one red fish, one blue fish. ".repeat(40);
    fs::write(dir.join("birds.txt"), text).unwrap();

    let output = tuned(dir, "base", "tuned", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = fs::read_to_string(dir.join("tuned/loaded.txt")).unwrap();
    assert!(
        table.lines().all(|line| line.ends_with(" loaded")),
        "{table}"
    );
    let n = table.lines().count();
    assert!(stderr(&output).contains(&format!("{n} of {n} tensors from base as they are")));
    let config = fs::read_to_string(dir.join("tuned/config.toml")).unwrap();
    for line in [
        "from = \"base\"",
        "tokenizer = \"kept\"",
        "n_embd = 16",
        "learning_rate = 0.0003",
    ] {
        assert!(config.contains(line), "{line} is not in {config}");
    }
    let tokenizer = |run: &str| fs::read(dir.join(run).join("tokenizer")).unwrap();
    assert!(tokenizer("tuned") == tokenizer("base"));
    // What it begins with is what was learned.
    let loss = |run: &str| curve(&dir.join(run))[0].train_loss;
    assert!(loss("tuned") < loss("base") / 2.0, "{}", loss("tuned"));

    let output = tuned(dir, "base/model.mgpt", "from_file", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!((loss("from_file") / loss("tuned") - 1.0).abs() < 0.02);
    // The same command again is the same run; from other weights it is another one.
    let again = tuned(dir, "base", "tuned", &[]);
    assert!(
        stderr(&again).contains("this run is finished"),
        "{}",
        stderr(&again)
    );
    let other = tuned(dir, "base/model.mgpt", "tuned", &[]);
    assert_refused(&other, 2, &["from is base (", "base/model.mgpt ("]);
}

#[test]
fn what_does_not_fit_is_said_and_nothing_at_all_refused() {
    let dir = directory();
    let dir = dir.path();
    fs::copy(dir.join("fish.txt"), dir.join("birds.txt")).unwrap();
    assert!(
        small(dir, &["--data", "fish.txt", "--out", "base"])
            .status
            .success()
    );
    let more = ["--set=n_ctx=24", "--set=n_layer=2"];
    let output = tuned(dir, "base", "larger", &more);
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    for words in [
        "the first 16 rows loaded, the rest fresh",
        "h.1.ln_1.weight",
        "fresh: there is none",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (
            "base/checkpoints/step-000040/model.safetensors",
            &[],
            &["does not say its shape", "n_embd=16 --set n_layer=1 "],
        ),
        ("absent", &[], &["cannot begin with absent"]),
        (
            "fish.txt",
            &[],
            &["cannot begin with fish.txt", "give a model file"],
        ),
        (
            "base",
            &["--set=n_embd=32"],
            &["nothing in base fits this model", "wte.weight"],
        ),
        ("base", &["--set=n_layer=two"], &["--set n_layer=two"]),
        ("base", &["--tokenizer=kep"], &["kept with --from"]),
    ];
    for (base, more, words) in cases {
        let output = tuned(dir, base, "refused", more);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!dir.join("refused").exists(), "{text}");
    }
    let none = command(dir, &["--tokenizer", "kept", "--data", "fish.txt"]).output();
    assert_refused(&none.unwrap(), 2, &["--tokenizer kept needs --from"]);
}
