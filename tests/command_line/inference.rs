//! The commands that run models.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use minigpt_tests::data;
use serde_json::Value;
use tempfile::TempDir;

use crate::{MINIGPT, SMALL, assert_refused, directory, stderr};

/// What llama2.c's `run` prints for `stories260K.bin`, greedy, 200 steps.
const LILY: &str = "\
Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I want to play with your ball, but I can't find it.\"
Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"
Lily didn't want to help her mom, so she
";

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(MINIGPT)
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// A directory with a trained run `runs/fish`, made once for all tests.
pub(crate) fn trained() -> &'static Path {
    static TRAINED: OnceLock<TempDir> = OnceLock::new();
    let dir = TRAINED.get_or_init(|| {
        let dir = directory();
        let args = [&["train", "--data", "fish.txt"], &SMALL[..]].concat();
        stdout(&run(dir.path(), &args));
        dir
    });
    dir.path()
}

fn imported(dir: &Path, format: &str) -> Option<PathBuf> {
    let (model, tokenizer) = (data("stories260K.bin")?, data("tok512.bin")?);
    let out = dir.join(format!("{format}.mgpt"));
    let args = [
        "import",
        "llama2c",
        model.to_str()?,
        "--tokenizer",
        tokenizer.to_str()?,
    ];
    stdout(&run(
        dir,
        &[&args[..], &["--format", format, "-o", out.to_str()?]].concat(),
    ));
    Some(out)
}

#[test]
fn llama2c_s_model_tells_llama2c_s_story() {
    let dir = TempDir::new().unwrap();
    let Some(model) = imported(dir.path(), "f32") else {
        return;
    };
    let args = [
        "generate",
        model.to_str().unwrap(),
        "--temperature",
        "0",
        "--max-tokens",
        "200",
    ];
    assert_eq!(stdout(&run(dir.path(), &args)), LILY);
}

#[test]
fn formats_cost_little() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("lily.txt"), LILY).unwrap();
    let bits = |format: &str| {
        let model = imported(dir.path(), format)?;
        let args = ["eval", model.to_str()?, "--data", "lily.txt", "--json"];
        json(&run(dir.path(), &args))["bits_per_byte"].as_f64()
    };
    let (Some(f32), Some(f16), Some(q8)) = (bits("f32"), bits("f16"), bits("q8")) else {
        return;
    };
    assert!((f16 / f32 - 1.0).abs() < 0.001, "{f16} {f32}");
    assert!((q8 / f32 - 1.0).abs() < 0.005, "{q8} {f32}");
}

#[test]
fn the_same_seed_tells_the_same_text() {
    let dir = trained();
    let text = |seed: &str| {
        let args = [
            "generate",
            "runs/fish/model.mgpt",
            "--max-tokens",
            "60",
            "--seed",
            seed,
        ];
        stdout(&run(dir, &args))
    };
    assert_eq!(text("5"), text("5"));
    assert_ne!(text("5"), text("6"));
    let args = [
        "generate",
        "runs/fish/model.mgpt",
        "--prompt",
        "red fish",
        "--max-tokens",
        "9",
    ];
    let output = run(
        dir,
        &[&args[..], &["--json", "--seed", "1", "--top-k", "3"]].concat(),
    );
    let report = json(&output);
    assert!(report["text"].as_str().unwrap().starts_with("red fish"));
    assert_eq!(
        (&report["tokens"], &report["stop"]),
        (&9.into(), &"max_tokens".into())
    );
}

/// The same texts, from the same file, as `cargo xtask golden` has every board tell.
#[test]
fn the_desktop_tells_what_boards_tell() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let golden = fs::read_to_string(data.join("golden.toml")).unwrap();
    let golden: toml::Table = toml::from_str(&golden).unwrap();
    let kv = format!("--kv={}", golden["kv"].as_str().unwrap());
    for text in golden["text"].as_array().unwrap() {
        let Some(model) = text["model"].as_str() else {
            continue; // to be imported, as xtask does
        };
        let number = |name: &str| format!("--{}={}", name.replace('_', "-"), text[name]);
        let model = Path::new("format").join(model);
        let prompt = format!("--prompt={}", text["prompt"].as_str().unwrap());
        let mut args = vec!["generate", model.to_str().unwrap(), "--json", &kv, &prompt];
        let numbers = ["temperature", "top_p", "seed", "max_tokens"].map(number);
        args.extend(numbers.iter().map(String::as_str));
        assert_eq!(
            json(&run(&data, &args))["text"],
            text["text"].as_str().unwrap()
        );
    }
}

#[test]
fn a_text_may_outgrow_the_context() {
    let args = [
        "generate",
        "runs/fish/model.mgpt",
        "--max-tokens",
        "100",
        "--temperature",
        "0",
    ];
    let text = stdout(&run(trained(), &args));
    assert_eq!(text.chars().count(), 100 + 1, "{text:?}");
}

#[test]
fn a_run_is_exported_and_measured() {
    let dir = trained();
    for format in ["f32", "f16", "q8"] {
        let out = format!("{format}.mgpt");
        let output = run(
            dir,
            &["export", "runs/fish", "--format", format, "-o", &out],
        );
        stdout(&output);
        assert!(
            stderr(&output).contains("bits per byte"),
            "{}",
            stderr(&output)
        );
        let report = json(&run(dir, &["inspect", &out, "--json"]));
        assert_eq!(report["format"], format);
        let tensors = report["tensors"].as_array().unwrap();
        let bytes: u64 = tensors.iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
        let file = fs::metadata(dir.join(&out)).unwrap().len();
        assert_eq!(report["bytes"], file);
        assert!(bytes < file && file < bytes + 2000, "{bytes} {file}");
        let plan = &report["memory_plan"][0];
        let parts = ["kv_cache", "activation", "quant", "score", "logit"];
        let sum = parts.map(|part| plan[format!("{part}_bytes")].as_u64().unwrap());
        assert_eq!(plan["total_bytes"], sum.iter().sum::<u64>());
    }
    let output = run(dir, &["export", "runs/fish", "-o", "fish.txt"]);
    assert_refused(&output, 2, &["fish.txt exists and is not a model"]);
    assert_refused(
        &run(dir, &["export", "runs/none", "-o", "x.mgpt"]),
        2,
        &["runs/none"],
    );
    let output = run(dir, &["export", ".", "-o", "x.mgpt"]);
    assert_refused(&output, 2, &["not the directory of a run"]);
    assert!(!stderr(&output).contains("--out"));
    let output = run(
        dir,
        &["export", "runs/fish", "-o", "q8.mgpt", "--measure=0"],
    );
    assert!(stderr(&output).starts_with("replaced q8.mgpt"));
}

#[test]
fn a_model_file_is_stored_otherwise() {
    let dir = directory();
    let dir = dir.path();
    let fish = trained().join("runs/fish");
    let run_dir = fish.to_str().unwrap();
    let export = |source: &str, format: &str| {
        let out = format!("{format}.mgpt");
        let args = ["export", source, "--format", format, "-o", &out];
        let output = run(dir, &args);
        stdout(&output);
        (fs::read(dir.join(out)).unwrap(), stderr(&output))
    };
    let (exact, _) = export(run_dir, "f32");
    let (rounded, said) = export("f32.mgpt", "q8");
    assert!(exact.len() > rounded.len() && !said.contains("had rounded"));
    // The order of one kind of board, and back.
    export("q8.mgpt", "q8-dsp");
    let text = |model: &str| stdout(&run(dir, &["generate", model, "--seed=3", "--kv=q8"]));
    assert_eq!(text("q8.mgpt"), text("q8-dsp.mgpt"));
    let (again, _) = export("q8-dsp.mgpt", "q8");
    assert_eq!(rounded, again);
    let (_, said) = export("q8.mgpt", "f16");
    assert!(said.contains("what q8 had rounded stays so"), "{said}");
    let measured = ["export", "q8.mgpt", "--measure=9", "-o", "x.mgpt"];
    let words = ["is a model file and has no validation text"];
    assert_refused(&run(dir, &measured), 2, &words);
}

#[test]
fn a_run_directory_stands_for_its_model() {
    let dir = trained();
    let args = ["--max-tokens", "9", "--seed", "3"];
    let text = |path| stdout(&run(dir, &[&["generate", path], &args[..]].concat()));
    assert_eq!(text("runs/fish"), text("runs/fish/model.mgpt"));
    let json = json(&run(dir, &["inspect", "runs/fish", "--json"]));
    assert_eq!(json["config"]["n_embd"], 16);
    assert!(
        json["features"]
            .as_array()
            .unwrap()
            .contains(&"gelu".into())
    );
    let report = stdout(&run(dir, &["inspect", "runs/fish"]));
    for line in [
        "norm       layer_norm\n",
        "mlp        gelu\n",
        "tied_head  true\n",
        "\nfeatures of minigpt-runtime that it needs: layer-norm, gelu",
    ] {
        assert!(report.contains(line), "{line:?} is not in {report}");
    }
    for command in ["generate", "inspect"] {
        let words = ["runs is a directory; give the .mgpt file in it"];
        assert_refused(&run(dir, &[command, "runs"]), 2, &words);
    }
}

#[test]
fn a_text_of_unknown_characters_is_a_misuse() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("other.txt"), "1234").unwrap();
    let model = trained().join("runs/fish");
    let args = ["eval", model.to_str().unwrap(), "--data", "other.txt"];
    let words = ["other.txt: character '1' at byte 0", "--tokenizer byte"];
    assert_refused(&run(dir.path(), &args), 2, &words);
}

#[test]
fn evaluation_agrees_with_training() {
    let dir = trained();
    let args = [
        "eval",
        "runs/fish/model.mgpt",
        "--data",
        "fish.txt",
        "--json",
    ];
    let report = json(&run(dir, &args));
    let (loss, bits) = (
        report["loss"].as_f64().unwrap(),
        report["bits_per_byte"].as_f64().unwrap(),
    );
    assert!(
        (loss / core::f64::consts::LN_2 - bits).abs() < 1e-9,
        "a byte a token"
    );
    assert_eq!(
        report["tokens"],
        fs::metadata(dir.join("fish.txt")).unwrap().len() - 1
    );
    let perplexity = report["perplexity"].as_f64().unwrap();
    assert!((perplexity.ln() - loss).abs() < 1e-9);
}

#[test]
fn bad_options_are_one_sentence() {
    let model = "runs/fish/model.mgpt";
    let long = "one fish ".repeat(4);
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--max-tokens", "-1"], &["--max-tokens is -1"]),
        (&["--top-k", "-2"], &["top-k is -2"]),
        (&["--seed", "-3"], &["--seed is -3"]),
        (&["--prompt", "-ß"], &["'-'", "--prompt"]),
        (&["--temperature", "-1"], &["temperature is -1"]),
        (&["--temperature", "nan"], &["temperature is NaN"]),
        (&["--top-p", "0"], &["top-p is 0"]),
        (&["--top-p", "1.5"], &["top-p is 1.5"]),
        (&["--top-k", "0"], &["top-k is 0"]),
        (&["--prompt", "fishß"], &["'ß'", "byte 4", "--prompt"]),
        (&["--prompt", &long], &["36 tokens", "holds 16"]),
        (
            &["--context", "17"],
            &["--context is 17", "between 1 and 16"],
        ),
    ];
    for (args, words) in cases {
        let args = [&["generate", model], args].concat();
        assert_refused(&run(trained(), &args), 2, words);
    }
}

#[test]
fn bad_models_are_one_sentence() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let good = fs::read(trained().join("runs/fish/model.mgpt")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() - 9] ^= 4;
    let mut newer = good.clone();
    newer[4] = 77;
    let cases: [(&str, &[u8], &str); 5] = [
        ("cut", &good[..good.len() - 1], "cut short"),
        ("flipped", &flipped, "its checksum is"),
        ("newer", &newer, "version 77"),
        ("foreign", b"GGUF and more", "not a minigpt model"),
        ("empty", b"", "not a minigpt model"),
    ];
    for (name, bytes, words) in cases {
        fs::write(dir.join(name), bytes).unwrap();
        for command in ["generate", "inspect"] {
            assert_refused(&run(dir, &[command, name]), 1, &[name, words]);
        }
    }
    assert_refused(
        &run(dir, &["inspect", "absent"]),
        2,
        &["there is no file absent"],
    );
    let args = [
        "import",
        "llama2c",
        "foreign",
        "--tokenizer",
        "cut",
        "-o",
        "new.mgpt",
    ];
    assert_refused(&run(dir, &args), 1, &["foreign", "llama2.c"]);
    assert!(!dir.join("new.mgpt").exists());
}

#[test]
fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
    let generate = |stdout: Stdio| {
        let mut command = Command::new(MINIGPT);
        command
            .current_dir(trained())
            .stdout(stdout)
            .stderr(Stdio::piped());
        command.args([
            "generate",
            "runs/fish/model.mgpt",
            "--max-tokens",
            "2000",
            "--seed",
            "1",
        ]);
        command.spawn().unwrap()
    };
    let mut child = generate(Stdio::piped());
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let output = generate(full.into()).wait_with_output().unwrap();
        assert_refused(&output, 1, &["standard output", "No space left"]);
    }
}

#[test]
fn any_number_of_threads_tells_the_same_text() {
    let dir = trained();
    let text = |threads: &str| {
        let args = [
            "generate",
            "runs/fish",
            "--seed",
            "1",
            "--max-tokens",
            "40",
            "--threads",
            threads,
        ];
        stdout(&run(dir, &args))
    };
    assert_eq!(text("1"), text("3"));
    let refused = run(dir, &["generate", "runs/fish", "--threads", "-1"]);
    assert_refused(&refused, 2, &["--threads is -1; it must be 1 to 1024"]);
}
