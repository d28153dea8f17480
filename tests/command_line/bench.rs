//! `bench`.

use serde_json::Value;

use crate::inference::{json, run, stdout};
use crate::{assert_refused, directory, stderr};

#[test]
fn a_row_for_each_format_and_number_of_threads() {
    let dir = directory();
    let short = ["--prompt", "20", "--tokens", "5", "--repeat", "1"];
    let args = [
        "bench",
        "--shape",
        "260k",
        "--format",
        "q8",
        "q4",
        "--threads",
        "1",
        "2",
        "--kernels",
        "scalar",
        "--json",
    ];
    let rows = json(&run(dir.path(), &[&args[..], &short].concat()));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for (row, (format, threads)) in rows
        .iter()
        .zip([("q8", 1), ("q8", 2), ("q4", 1), ("q4", 2)])
    {
        assert_eq!(
            (&row["format"], &row["threads"], &row["kernels"]),
            (
                &Value::from(format),
                &Value::from(threads),
                &Value::from("scalar")
            )
        );
        for key in [
            "decode_tokens_per_second",
            "prefill_tokens_per_second",
            "bytes_per_token",
            "share_of_bandwidth",
            "first_token_ms",
            "load_ms",
        ] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}: {row}");
        }
    }
    // 260,032 parameters but for 5 * 2 + 1 norms of 64, in blocks of 34 bytes for 32; rows of 172 are filled up.
    let bytes = rows[0]["bytes_per_token"].as_u64().unwrap();
    assert!((275_000..300_000).contains(&bytes), "{bytes}");
    let table = stdout(&run(
        dir.path(),
        &[&["bench", "--shape", "260k", "--format", "f16"], &short[..]].concat(),
    ));
    assert!(
        table.contains("decode tok/s") && table.contains("f16") && table.contains("GB/s"),
        "{table}"
    );
}

#[test]
fn a_model_of_few_characters_is_measured() {
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/format/v1-f16-char.mgpt"
    );
    let args = ["bench", model, "--prompt", "20", "--tokens", "5", "--json"];
    let rows = json(&run(
        directory().path(),
        &[&args[..], &["--threads", "1"]].concat(),
    ));
    assert!(rows[0]["decode_tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = directory();
    for (args, words) in [
        (&["bench", "a.mgpt"][..], "there is no file a.mgpt"),
        (
            &["bench", "--shape", "260k", "--threads", "0"],
            "--threads is 0; it must be 1 to 1024",
        ),
        (
            &["bench", "--shape", "260k", "--repeat", "0"],
            "--repeat is 0; it must be at least 1",
        ),
        (
            &["bench", "--shape", "260k", "--tokens", "400"],
            "are 656 together and the context holds 512",
        ),
        (
            &["bench", "train", "--steps", "0"],
            "--steps is 0; it must be at least 1",
        ),
        (
            &["bench", "train", "--dropout", "1"],
            "--dropout is 1; it must be from 0 up to 1",
        ),
    ] {
        assert_refused(&run(dir.path(), args), 2, &[words]);
    }
    for (args, words) in [
        (&["bench"][..], "MODEL"),
        (&["bench", "--shape", "1b"], "260k"),
        (&["bench", "--shape", "260k", "--kernels", "vax"], "scalar"),
        (&["bench", "train", "--preset", "huge"], "gpt2_1024"),
        (
            &["bench", "a.mgpt", "--shape", "15m"],
            "cannot be used with",
        ),
        (
            &["bench", "a.mgpt", "--format", "q8"],
            "cannot be used with",
        ),
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[test]
fn training_is_measured_as_a_table_and_as_json() {
    let dir = directory();
    let args = [
        "bench",
        "train",
        "--preset",
        "cpu",
        "--batch",
        "2",
        "--steps",
        "2",
        "--threads",
        "1",
    ];
    let table = stdout(&run(dir.path(), &args));
    for words in [
        "cpu: 809856 parameters, 2 sequences of 64 tokens",
        "tokens a second",
        "GFLOP/s",
    ] {
        assert!(table.contains(words), "{table}");
    }
    let report = json(&run(dir.path(), &[&args[..], &["--json"]].concat()));
    let number = |key: &str| report[key].as_f64().unwrap();
    // Tokens are random: nothing can be learned of them.
    assert!((number("loss") / 65f64.ln() - 1.0).abs() < 0.2, "{report}");
    let per_step = number("tokens_per_second") * number("ms_per_step") / 1e3;
    assert!((per_step - 128.0).abs() < 1e-6, "{report}");
    // 12 * 128^2 weights in each of 4 layers and 65 * 128 in the head, 128 numbers of each of 64 positions.
    let flops = 6.0 * f64::from(4 * 12 * 128 * 128 + 65 * 128 + 4 * 64 * 128);
    let gflops = number("tokens_per_second") * flops / 1e9;
    assert!((number("gflops") / gflops - 1.0).abs() < 1e-9, "{report}");
    assert!(number("best_ms") <= number("ms_per_step"));
    assert!(number("model_bytes") > 16.0 * 809_856.0);
}
