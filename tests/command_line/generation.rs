//! `minigpt generate`: what its options do to the text that comes out.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::inference::{json, run, stdout, trained};
use crate::{MINIGPT, SMALL, assert_refused, stderr};

/// A trained model with a BPE, a start token and an end token.
pub(crate) fn storyteller() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/board-64k.mgpt");
    path.to_str().unwrap().to_owned()
}

/// What `minigpt generate` prints as JSON about a story, a value a line.
fn told(args: &[&str]) -> Vec<Value> {
    let model = storyteller();
    let args = [
        &["generate", &model, "--prompt", "Once upon a time", "--json"],
        args,
    ]
    .concat();
    let text = stdout(&run(Path::new("."), &args));
    let lines = serde_json::Deserializer::from_str(&text).into_iter();
    lines.map(Result::unwrap).collect()
}

fn one(args: &[&str]) -> Value {
    let mut told = told(args);
    assert_eq!(told.len(), 1);
    told.remove(0)
}

fn ids(report: &Value) -> Vec<u64> {
    let ids = report["token_ids"].as_array().unwrap();
    assert_eq!(report["tokens"], ids.len());
    assert_eq!(report["logprobs"].as_array().unwrap().len(), ids.len());
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}

const GREEDY: [&str; 2] = ["--temperature", "0"];

#[test]
fn biases_bans_and_penalties_change_what_is_said() {
    let greedy = ids(&one(&GREEDY));
    let banned = greedy[3].to_string();
    let other = ids(&one(&[&GREEDY[..], &["--ban", &banned]].concat()));
    assert_eq!(greedy[..3], other[..3]);
    assert!(!other.contains(&greedy[3]));
    let bias = format!("{banned}=1000");
    let always = ids(&one(&[
        &GREEDY[..],
        &["--logit-bias", &bias, "--max-tokens", "5"],
    ]
    .concat()));
    assert_eq!(always, [greedy[3]; 5]);
    let named = one(&[&GREEDY[..], &["--ban", " was"]].concat());
    assert!(one(&GREEDY)["text"].as_str().unwrap().contains(" was "));
    assert!(!named["text"].as_str().unwrap().contains(" was "));
    assert_eq!(ids(&one(&["--min-p", "1", "--seed", "1"])), greedy);
    for penalty in [
        ["--repetition-penalty", "1e9"],
        ["--presence-penalty", "1e9"],
        ["--frequency-penalty", "1e9"],
    ] {
        let args = [
            &GREEDY[..],
            &penalty,
            &["--max-tokens", "50", "--min-tokens", "50"],
        ]
        .concat();
        let mut said = ids(&one(&args));
        let n = said.len();
        said.sort_unstable();
        said.dedup();
        assert_eq!((n, said.len()), (50, 50), "{penalty:?}");
        let short = [&args[..], &["--penalty-window", "0"]].concat();
        assert_eq!(ids(&one(&short)), greedy[..50]);
    }
}

#[test]
fn several_texts_are_those_of_their_seeds() {
    let told = told(&["--seed", "5", "--n", "3", "--max-tokens", "300"]);
    assert_eq!(told.len(), 3);
    for (i, report) in told.iter().enumerate() {
        let seed = (5 + i).to_string();
        let alone = one(&["--seed", &seed, "--max-tokens", "300"]);
        assert_eq!(
            (&report["text"], &report["seed"]),
            (&alone["text"], &alone["seed"])
        );
        assert_eq!(report["logprobs"], alone["logprobs"]);
    }
    assert_ne!(told[0]["text"], told[1]["text"]);
}

#[test]
fn stop_strings_span_tokens() {
    let whole = one(&GREEDY);
    let text = whole["text"].as_str().unwrap();
    // From the middle of a word to the middle of another.
    let at = text.match_indices(' ').nth(12).unwrap().0 - 2;
    let word = &text[at..at + 6];
    assert_eq!(text.find(word), Some(at), "the first of its kind");
    let stopped = one(&[&GREEDY[..], &["--stop", "never said", "--stop", word]].concat());
    assert_eq!(stopped["text"], text[..at]);
    assert_eq!(stopped["stop"], "stop_string");
    assert!(ids(&stopped).len() < ids(&whole).len());
    let all = whole["tokens"].to_string();
    let late = one(&[&GREEDY[..], &["--stop", word, "--min-tokens", &all]].concat());
    assert!(late["text"].as_str().unwrap().starts_with(text));
    // Streamed, the same.
    let model = storyteller();
    let args = [
        &[
            "generate",
            &model,
            "--prompt",
            "Once upon a time",
            "--stop",
            word,
        ],
        &GREEDY[..],
    ]
    .concat();
    assert_eq!(
        stdout(&run(Path::new("."), &args)),
        format!("{}\n", &text[..at])
    );
}

#[test]
fn a_text_is_as_long_as_it_may_and_must_be() {
    let whole = one(&GREEDY);
    assert_eq!(whole["stop"], "end_of_text");
    let n = ids(&whole).len();
    let longer = (n + 7).to_string();
    let long = one(&[&GREEDY[..], &["--min-tokens", &longer]].concat());
    assert!(ids(&long).len() >= n + 7);
    let exact = one(&[
        &GREEDY[..],
        &["--min-tokens", &longer, "--max-tokens", &longer],
    ]
    .concat());
    assert_eq!(
        (ids(&exact).len(), &exact["stop"]),
        (n + 7, &"max_tokens".into())
    );
}

/// A model that has learned to repeat a fish and a sign, byte by byte.
fn fish() -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("fish.txt"), "🐟魚".repeat(300)).unwrap();
        let args = ["train", "--data", "fish.txt", "--tokenizer", "byte"];
        let more = ["--steps", "300", "--batch", "8"];
        stdout(&run(dir.path(), &[&args[..], &more, &SMALL[4..]].concat()));
        dir
    });
    dir.path().join("runs/fish")
}

#[test]
fn characters_are_never_broken() {
    let model = fish();
    let model = model.to_str().unwrap();
    let expected = "🐟魚".repeat(4);
    let mut lengths = Vec::new();
    for n in 1..=14 {
        let n = n.to_string();
        let args = [
            "generate",
            model,
            "--prompt",
            "🐟",
            "--temperature",
            "0",
            "--max-tokens",
            &n,
        ];
        let text = stdout(&run(Path::new("."), &args));
        let text = text.strip_suffix('\n').unwrap();
        assert!(expected.starts_with(text), "{text:?} after {n}");
        lengths.push(text.chars().count());
    }
    assert_eq!(lengths, [1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5]);
}

#[test]
fn text_comes_as_it_is_made_and_a_reader_may_leave() {
    let mut child = Command::new(MINIGPT)
        .args([
            "generate",
            fish().to_str().unwrap(),
            "--prompt",
            "🐟",
            "--max-tokens",
            "1000000000",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 40];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output)
            .lines()
            .all(|line| line.starts_with("seed "))
    );
}

#[test]
fn a_batch_is_in_order_whatever_the_threads() {
    let dir = TempDir::new().unwrap();
    let prompts = [
        "Once upon a time",
        "",
        "One day",
        "Lily \"the\" girl\\",
        "One day",
    ];
    fs::write(dir.path().join("p.txt"), prompts.join("\n") + "\n").unwrap();
    let lines = prompts.map(|prompt| Value::from(prompt).to_string());
    fs::write(dir.path().join("p.jsonl"), lines.join("\n")).unwrap();
    let model = storyteller();
    let batch = |file: &str, threads: &str| -> Vec<Value> {
        let args = [
            "generate",
            &model,
            "--prompts",
            file,
            "--threads",
            threads,
            "--seed",
            "3",
            "--n",
            "2",
        ];
        let text = stdout(&run(
            dir.path(),
            &[&args[..], &["--max-tokens", "60"]].concat(),
        ));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let strip = |mut lines: Vec<Value>| {
        for line in &mut lines {
            for timing in ["seconds", "prompt_seconds", "tokens_per_second"] {
                let seconds = line.as_object_mut().unwrap().remove(timing).unwrap();
                assert!(seconds.as_f64().unwrap() >= 0.0);
            }
        }
        lines
    };
    let made = strip(batch("p.txt", "1"));
    assert_eq!(made, strip(batch("p.txt", "3")));
    assert_eq!(made, strip(batch("p.jsonl", "2")));
    assert_eq!(made.len(), 10);
    for (i, line) in made.iter().enumerate() {
        assert_eq!(
            (&line["index"], &line["seed"]),
            (&(i / 2).into(), &(3 + i).into())
        );
        assert_eq!(line["prompt"], prompts[i / 2]);
        let seed = (3 + i).to_string();
        let args = [
            "generate",
            &model,
            "--prompt",
            prompts[i / 2],
            "--seed",
            &seed,
            "--max-tokens",
            "60",
            "--json",
        ];
        let alone = json(&run(dir.path(), &args));
        assert_eq!(
            (&line["text"], &line["logprobs"]),
            (&alone["text"], &alone["logprobs"])
        );
    }
}

#[test]
fn log_probabilities_are_those_of_the_evaluation() {
    let dir = TempDir::new().unwrap();
    let model = trained().join("runs/fish");
    let model = model.to_str().unwrap();
    let args = [
        "generate",
        model,
        "--prompt",
        "red",
        "--max-tokens",
        "12",
        "--temperature",
        "2",
        "--top-k",
        "9",
    ];
    let report = json(&run(
        dir.path(),
        &[&args[..], &["--seed", "1", "--json"]].concat(),
    ));
    fs::write(
        dir.path().join("told.txt"),
        report["text"].as_str().unwrap(),
    )
    .unwrap();
    let args = ["eval", model, "--data", "told.txt", "--per-token", "--json"];
    let measured = json(&run(dir.path(), &args));
    let bits = measured["per_token"].as_array().unwrap();
    let logprobs = report["logprobs"].as_array().unwrap();
    assert_eq!(bits.len(), logprobs.len() + 2);
    for (bits, logprob) in bits[2..].iter().zip(logprobs) {
        let nats = bits["bits"].as_f64().unwrap() * core::f64::consts::LN_2;
        assert!(
            (nats + logprob.as_f64().unwrap()).abs() < 1e-6,
            "{bits} {logprob}"
        );
    }
}

#[test]
fn beams_find_likelier_texts() {
    let greedy = one(&[&GREEDY[..], &["--max-tokens", "40"]].concat());
    let beams = |width: &str, n: &str, penalty: &str| {
        told(&[
            "--beams",
            width,
            "--n",
            n,
            "--length-penalty",
            penalty,
            "--max-tokens",
            "40",
        ])
    };
    let single = beams("1", "1", "1");
    assert_eq!(single[0]["token_ids"], greedy["token_ids"]);
    let number = |report: &Value, name: &str| report[name].as_f64().unwrap();
    for penalty in ["0", "1"] {
        let found = beams("4", "4", penalty);
        assert_eq!(found.len(), 4);
        for (i, report) in found.iter().enumerate() {
            let logprobs = report["logprobs"].as_array().unwrap();
            let sum: f64 = logprobs
                .iter()
                .map(|logprob| logprob.as_f64().unwrap())
                .sum();
            assert!((number(report, "logprob") - sum).abs() < 1e-9);
            let length = f64::powf(ids(report).len() as f64, penalty.parse().unwrap());
            assert!((number(report, "score") - sum / length).abs() < 1e-9);
            assert_eq!(report["rank"], i + 1);
            assert!(
                report["text"]
                    .as_str()
                    .unwrap()
                    .starts_with("Once upon a time")
            );
        }
        assert!(found.is_sorted_by(|a, b| number(a, "score") >= number(b, "score")));
        let alone = &beams("1", "1", penalty)[0];
        assert!(number(&found[0], "score") >= number(alone, "score"));
    }
}

#[test]
fn what_cannot_be_is_one_sentence() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    fs::write(dir.join("empty.txt"), "").unwrap();
    fs::write(dir.join("broken.txt"), b"One\n\xff\n").unwrap();
    fs::write(
        dir.join("long.txt"),
        "One\n".to_owned() + &"fish ".repeat(200),
    )
    .unwrap();
    fs::write(dir.join("odd.jsonl"), "\"One\"\n{\"text\": 1}\n").unwrap();
    let model = storyteller();
    let cases: [(&[&str], &[&str]); 29] = [
        (
            &["--prompt", "a", "--prompts", "b"],
            &["--prompt and --prompts contradict"],
        ),
        (
            &["--beams", "2", "--top-k", "3"],
            &["--beams and --top-k contradict"],
        ),
        (
            &["--beams", "2", "--seed", "3"],
            &["--beams and --seed contradict"],
        ),
        (
            &["--beams", "2", "--prompts", "b"],
            &["--beams and --prompts contradict"],
        ),
        (
            &["--beams", "2", "--n", "3"],
            &["--n 3 and --beams 2 contradict"],
        ),
        (
            &["--min-tokens", "9", "--max-tokens", "3"],
            &["--min-tokens 9 and --max-tokens 3"],
        ),
        (
            &["--length-penalty", "1"],
            &["--length-penalty does nothing without --beams"],
        ),
        (
            &["--max-tokens", "0"],
            &["--max-tokens is 0; it must be at least 1"],
        ),
        (&["--n", "0"], &["--n is 0"]),
        (&["--beams", "0"], &["--beams is 0"]),
        (
            &["--beams", "2", "--length-penalty", "inf"],
            &["--length-penalty is inf"],
        ),
        (&["--stop", "a", "--stop", ""], &["stop string 2 is empty"]),
        (
            &["--seed", "18446744073709551616"],
            &["--seed is 18446744073709551616", "18446744073709551615"],
        ),
        (&["--seed", "seven"], &["'seven'", "--seed"]),
        (&["--temperature", "inf"], &["temperature is inf"]),
        (
            &["--top-k", "1025"],
            &["top-k is 1025; it must be between 1 and 1024"],
        ),
        (
            &["--min-p", "1.5"],
            &["min-p is 1.5; it must be between 0 and 1"],
        ),
        (
            &["--repetition-penalty", "0"],
            &["the repetition penalty is 0"],
        ),
        (
            &["--presence-penalty", "nan"],
            &["the presence penalty is NaN"],
        ),
        (&["--penalty-window", "-1"], &["--penalty-window is -1"]),
        (
            &["--logit-bias", "17"],
            &["--logit-bias is \"17\"", "17=-2.5"],
        ),
        (&["--ban", "99999"], &["--ban names token 99999"]),
        (
            &["--ban", "hippopotamus"],
            &[
                "\"hippopotamus\", which is no token",
                "spelled by the tokens",
            ],
        ),
        (&["--sed", "1"], &["'--sed'", "'--seed'"]),
        (
            &["--prompts", "absent.txt"],
            &["there is no file absent.txt"],
        ),
        (&["--prompts", "empty.txt"], &["empty.txt holds no prompts"]),
        (
            &["--prompts", "broken.txt"],
            &["broken.txt is not UTF-8 from byte 4 on"],
        ),
        (
            &["--prompts", "long.txt"],
            &["line 2 of long.txt has", "tokens and the context holds 192"],
        ),
        (
            &["--prompts", "odd.jsonl"],
            &["line 2 of odd.jsonl", "\"prompt\""],
        ),
    ];
    for (args, words) in cases {
        let args = [&["generate", &model], args].concat();
        assert_refused(&run(dir, &args), 2, words);
    }
    let bans: Vec<String> = "One fish, two red blue."
        .chars()
        .map(|c| format!("--ban={c}"))
        .collect();
    let fish = trained().join("runs/fish");
    let mut args = vec!["generate", fish.to_str().unwrap()];
    args.extend(bans.iter().map(String::as_str));
    assert_refused(&run(dir, &args), 2, &["every token is banned"]);
}

#[cfg(unix)]
#[test]
fn a_prompt_that_is_no_text_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let output = Command::new(MINIGPT)
        .args(["generate", &storyteller(), "--prompt"])
        .arg(OsStr::from_bytes(b"fish \xf0\x9f"))
        .output()
        .unwrap();
    assert_refused(&output, 2, &["--prompt is not UTF-8 from byte 5 on"]);
}

/// The session of this model takes half a terabyte.
#[test]
fn a_model_that_is_larger_than_memory_says_how_much_it_needs() {
    use minigpt_runtime::config::{Hyperparameters, Mlp, Norm, Positions};
    use minigpt_runtime::format::{Header, Metadata, WriteError, file_bytes, write};
    use minigpt_runtime::{Format, Tokenizer};

    let header = Header {
        hyperparameters: Hyperparameters {
            n_vocab: 256,
            n_ctx: 1 << 24,
            n_embd: 64,
            n_head: 1,
            n_head_kv: 1,
            n_layer: 64,
            n_ff: 64,
            positions: Positions::Rope,
            rope_theta: 10000.0,
            norm: Norm::RmsNorm,
            mlp: Mlp::Relu,
            bias: false,
            tied_head: true,
        },
        format: Format::Q8,
        tokenizer: Tokenizer::Byte,
        metadata: Metadata::default(),
    };
    let mut bytes = vec![0; file_bytes(&header).unwrap() as usize];
    write::<WriteError>(&mut bytes, &header, |_, _| Ok(())).unwrap();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("huge.mgpt"), bytes).unwrap();
    for command in ["generate", "chat"] {
        let words = [
            "huge.mgpt needs 549,",
            "bytes of memory",
            "lower --context",
            "--kv q8",
        ];
        assert_refused(&run(dir.path(), &[command, "huge.mgpt"]), 1, &words);
    }
    let args = [
        "generate",
        "huge.mgpt",
        "--context",
        "64",
        "--max-tokens",
        "3",
    ];
    assert!(run(dir.path(), &args).status.success());
}
