//! `minigpt eval`: its figures, and what it shows of each token.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::inference::{json, run, stdout, trained};
use crate::{assert_refused, stderr};

const TEXT: &str = "One fish, red fish. two fish, blue One fish. blue two red, fish fish";

fn written() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("fish.txt"), TEXT).unwrap();
    let model = trained().join("runs/fish");
    (dir, model.to_str().unwrap().to_owned())
}

/// What the model thinks of `next` behind `prompt`, in bits.
fn surprise(dir: &Path, model: &str, prompt: &str, next: char) -> f64 {
    let bias = format!("{next}=1000");
    let args = [
        "generate",
        model,
        "--prompt",
        prompt,
        "--logit-bias",
        &bias,
        "--max-tokens",
        "1",
        "--json",
    ];
    let report = json(&run(dir, &args));
    assert_eq!(report["text"], format!("{prompt}{next}"));
    -report["logprobs"][0].as_f64().unwrap() / core::f64::consts::LN_2
}

#[test]
fn a_stride_decides_what_a_token_is_predicted_from() {
    let (dir, model) = written();
    let dir = dir.path();
    let characters: Vec<char> = TEXT.chars().collect();
    for (stride, contexts) in [(1, [16, 16, 16]), (5, [16, 12, 16]), (16, [16, 1, 5])] {
        let stride = stride.to_string();
        let args = [
            "eval",
            &model,
            "--data",
            "fish.txt",
            "--stride",
            &stride,
            "--per-token",
            "--json",
        ];
        let report = json(&run(dir, &args));
        assert_eq!(report["stride_tokens"].to_string(), stride);
        assert_eq!(report["tokens"], TEXT.len() - 1);
        let tokens = report["per_token"].as_array().unwrap();
        let bits = |index: usize| tokens[index - 1]["bits"].as_f64().unwrap();
        // Tokens 16, 17 and 21 and how many stand before them in their windows.
        for (index, context) in [16, 17, 21].into_iter().zip(contexts) {
            let prompt: String = characters[index - context..index].iter().collect();
            let expected = surprise(dir, &model, &prompt, characters[index]);
            assert!(
                (bits(index) - expected).abs() < 1e-5,
                "stride {stride}, token {index}"
            );
        }
        let sum: f64 = (1..TEXT.len()).map(bits).sum();
        let total = report["bits_per_byte"].as_f64().unwrap() * report["bytes"].as_f64().unwrap();
        assert!((sum - total).abs() < 1e-6);
        let likeliest = tokens.iter().filter(|token| token["rank"] == 0).count();
        let accuracy = report["top_1_accuracy"].as_f64().unwrap();
        assert!((accuracy - likeliest as f64 / tokens.len() as f64).abs() < 1e-12);
        assert!(accuracy > 0.2, "{accuracy}");
    }
    for stride in ["0", "17", "-1"] {
        let args = ["eval", &model, "--data", "fish.txt", "--stride", stride];
        assert_refused(
            &run(dir, &args),
            2,
            &["--stride is", "between 1 and the context of 16"],
        );
    }
}

#[test]
fn tokens_are_shown_as_a_table_and_as_a_page() {
    let (dir, model) = written();
    let dir = dir.path();
    let args = [
        "eval",
        &model,
        "--data",
        "fish.txt",
        "--per-token",
        "--html",
        "fish.html",
    ];
    let output = run(dir, &args);
    let table = stdout(&output);
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("index\tid\tbits\trank\ttext"));
    let mut text = TEXT[..1].to_owned();
    for (i, line) in lines.enumerate() {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns[0], (i + 1).to_string());
        assert!(columns[2].parse::<f64>().unwrap() > 0.0);
        text += &serde_json::from_str::<String>(columns[4]).unwrap();
    }
    assert_eq!(text, TEXT);
    assert!(stderr(&output).contains("accuracy") && stderr(&output).contains("wrote fish.html"));
    assert!(stderr(&output).contains("16 tokens, 16 apart"));
    let page = fs::read_to_string(dir.join("fish.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<h1>fish.txt</h1>"));
    assert_eq!(page.matches("<span style").count(), TEXT.len() - 1);
    assert!(stderr(&run(dir, &args)).contains("replaced fish.html"));
    let args = ["eval", &model, "--data", "fish.txt", "--html", "fish.txt"];
    assert_refused(&run(dir, &args), 2, &["fish.txt exists and is not a page"]);
}
