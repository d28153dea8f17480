//! `minigpt fit`: its figures against those of models that were made, and demands that cannot be met.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{MINIGPT, assert_refused, directory, stderr, words};

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(MINIGPT)
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fit(dir: &Path, args: &[&str]) -> Value {
    json(&run(dir, &[&["fit", "--json"], args].concat()))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// A demand that is met by models small enough for a test.
const SMALL: [&str; 12] = [
    "--data",
    "fish.txt",
    "--flash",
    "96K",
    "--ram",
    "16K",
    "--core",
    "m0",
    "--clock",
    "48M",
    "--context",
    "16",
];

#[test]
fn bytes_are_those_of_the_model() {
    let dir = directory();
    let dir = dir.path();
    for tokenizer in ["byte", "char", "bpe:300"] {
        let args = [&SMALL[..], &["--tokenizer", tokenizer, "-o", "fit.toml"]].concat();
        let fitted = fit(dir, &args);
        let best = &fitted["suggestions"][0];
        let out = tokenizer.replace(':', "");
        let train = [
            "train",
            "--config",
            "fit.toml",
            "--steps",
            "1",
            "--batch",
            "1",
            "--set=eval_batches=1",
            "--out",
            &out,
        ];
        let trained = run(dir, &train);
        assert!(trained.status.success(), "{}", stderr(&trained));
        let model = json(&run(dir, &["inspect", &out, "--json"]));
        assert_eq!(model["config"], best["config"]);
        assert_eq!(model["n_params"], best["n_params"]);
        let last = model["tensors"].as_array().unwrap().last().unwrap();
        let weights = number(&last["offset_bytes"]) + number(&last["bytes"]);
        assert_eq!(weights.next_multiple_of(16), number(&best["weights_bytes"]));
        let (made, planned) = (number(&model["bytes"]), number(&best["model_bytes"]));
        // Name and origin of the model are as yet unknown, and have 256 bytes.
        assert!(made <= planned && planned <= made + 272, "{made} {planned}");
        let plans = model["memory_plan"].as_array().unwrap();
        let plan = plans
            .iter()
            .find(|plan| plan["kv_format"] == best["kv_format"]);
        assert_eq!(plan.unwrap()["total_bytes"], best["arena_bytes"]);
    }
}

#[test]
fn suggestions_keep_to_the_demand() {
    let dir = directory();
    let dir = dir.path();
    let slow = fit(dir, &SMALL);
    // Faster than the best without a demand for speed.
    let speed = 2.0
        * slow["suggestions"][0]["tokens_per_second_last"]
            .as_f64()
            .unwrap();
    let demand = format!("{speed:.1}");
    let fast = fit(dir, &[&SMALL[..], &["--speed", &demand]].concat());
    for fitted in [&slow, &fast] {
        let suggestions = fitted["suggestions"].as_array().unwrap();
        assert!(!suggestions.is_empty());
        for one in suggestions {
            assert!(number(&one["flash_bytes"]) <= 96 << 10);
            assert!(number(&one["ram_bytes"]) <= 16 << 10);
            let model = number(&one["model_bytes"]) + number(&fitted["program_bytes"]);
            assert_eq!(model, number(&one["flash_bytes"]));
            let instructions = number(&one["instructions_per_token"]) as f64;
            let cycles = fitted["cycles_per_instruction"].as_f64().unwrap();
            let speed = one["tokens_per_second"].as_f64().unwrap();
            assert!((speed / (48e6 / (cycles * instructions)) - 1.0).abs() < 1e-5);
            assert!(
                one["instructions_last_token"].as_u64() > one["instructions_per_token"].as_u64()
            );
        }
    }
    let first = |fitted: &Value| number(&fitted["suggestions"][0]["n_params"]);
    assert!(first(&fast) < first(&slow));
    for one in fast["suggestions"].as_array().unwrap() {
        assert!(one["tokens_per_second_last"].as_f64().unwrap() >= speed - 0.1);
    }
}

#[test]
fn boards_are_demands() {
    let dir = directory();
    let dir = dir.path();
    let args = [
        "--board",
        "microbit",
        "--data",
        "fish.txt",
        "--tokenizer",
        "byte",
    ];
    let fitted = fit(dir, &args);
    assert_eq!(
        (&fitted["core"], &fitted["clock_hz"]),
        (&"Cortex-M0".into(), &16e6.into())
    );
    for one in fitted["suggestions"].as_array().unwrap() {
        assert!(number(&one["model_bytes"]) <= number(&fitted["flash_bytes"]));
        assert!(number(&one["arena_bytes"]) <= number(&fitted["ram_bytes"]));
    }
    let table = run(dir, &[&["fit"], &args[..]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("microbit: ") && table.contains("estimated: "),
        "{table}"
    );
}

#[test]
fn four_bits_leave_room_for_more_parameters() {
    let dir = directory();
    let dir = dir.path();
    let args = ["--data", "fish.txt", "--tokenizer", "byte"];
    let board = |name, format| {
        let place = ["--board", name, "--format", format];
        fit(dir, &[&args[..], &place].concat())
    };
    for (name, format) in [("microbit", "q8"), ("nrf52840-dk", "q8_dsp")] {
        let [q8, q4] = ["q8", "q4"].map(|format| board(name, format)["suggestions"][0].clone());
        assert_eq!(
            (&q8["format"], &q4["format"]),
            (&format.into(), &"q4".into())
        );
        let [more, fewer] = [&q4, &q8].map(|one| number(&one["n_params"]));
        assert!(more > fewer * 5 / 4, "{name}: {more} {fewer}");
        assert!(q4["instructions_per_token"].is_u64());
    }
    let refused = run(dir, &["fit", "--board", "microbit", "--format", "f32"]);
    assert_refused(&refused, 2, &["f32", "q8, q4"]);
}

/// A model that fits the board as q4 alone is trained for q4, and ends as the image.
#[test]
fn settings_for_four_bits_are_trained_for_them() {
    let dir = directory();
    let dir = dir.path();
    let place = ["fit", "--board", "microbit", "--format", "q4"];
    let text = ["--data", "fish.txt", "--tokenizer", "byte", "-o", "q4.toml"];
    let fitted = run(dir, &[&place[..], &text].concat());
    let said = stderr(&fitted);
    let train = "minigpt train --config q4.toml --board microbit";
    assert!(said.contains(train), "{said}");
    let train: Vec<&str> = train.split(' ').skip(1).collect();
    let short = ["--steps=1", "--batch=1", "--set=eval_batches=1"];
    let trained = run(dir, &[&train[..], &short].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    let model = json(&run(dir, &["inspect", "runs/fish", "--json"]));
    assert_eq!(model["format"], "q4");
    assert!(dir.join("runs/fish/microbit.elf").exists());
}

/// A text with fewer pairs to merge than were asked for: the settings say what the model has, and make it again.
#[test]
fn a_vocabulary_is_as_large_as_the_text_allows() {
    let dir = directory();
    let dir = dir.path();
    let place = ["--flash", "256K", "--ram", "64K", "--context", "4"];
    let asked = [
        "--data",
        "fish.txt",
        "--tokenizer",
        "bpe:70000",
        "-o",
        "fit.toml",
    ];
    let fitted = fit(dir, &[&place[..], &asked].concat());
    let best = &fitted["suggestions"][0];
    let n_vocab = number(&best["config"]["n_vocab"]);
    assert!((257..1000).contains(&n_vocab), "{n_vocab}");
    assert_eq!(best["tokenizer"], format!("bpe:{n_vocab}"));
    let settings = fs::read_to_string(dir.join("fit.toml")).unwrap();
    assert!(
        settings.contains(&format!("\"bpe:{n_vocab}\"")),
        "{settings}"
    );
    let again = fit(
        dir,
        &[
            &place[..],
            &[
                "--data",
                "fish.txt",
                "--tokenizer",
                &format!("bpe:{n_vocab}"),
            ],
        ]
        .concat(),
    );
    assert_eq!(again["suggestions"], fitted["suggestions"]);
    let table = run(
        dir,
        &[
            &["fit", "--data", "fish.txt", "--tokenizer=byte"],
            &place[..],
        ]
        .concat(),
    );
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("for minigpt's firmware use --board"),
        "{table}"
    );
}

/// A text and a board are enough: where the usual model is too large, the best that fits is taken, and the same
/// command goes on.
#[test]
fn a_small_board_has_a_model_that_fits() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("words.txt"), words()).unwrap();
    let bare = [
        "train",
        "--data",
        "words.txt",
        "--board",
        "microbit",
        "--steps=1",
        "--batch=1",
        "--set=eval_batches=1",
    ];
    let output = run(dir, &bare);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let chosen = said
        .lines()
        .find(|line| line.contains("too large for microbit"));
    let chosen = chosen.unwrap_or_else(|| panic!("{said}"));
    for word in [
        "layers of",
        "context",
        "bytes of flash",
        "minigpt fit --board microbit --data words.txt",
        "--preset",
    ] {
        assert!(chosen.contains(word), "{word:?} is not in: {chosen}");
    }
    assert!(dir.join("runs/words/microbit.elf").exists());
    // It is what fit suggests.
    let fitted = fit(dir, &["--board=microbit", "--data", "words.txt"]);
    let model = json(&run(dir, &["inspect", "runs/words", "--json"]));
    assert_eq!(model["config"], fitted["suggestions"][0]["config"]);
    let again = run(dir, &bare);
    assert!(again.status.success(), "{}", stderr(&again));

    // A shape that was asked for stays, and is refused.
    for shape in [
        &["--preset", "cpu"][..],
        &["--set", "n_layer=4"],
        &["--set=model.n_embd=128"],
    ] {
        let args = [&bare[..], shape, &["--out", "runs/asked"]].concat();
        let fit = "minigpt fit --board microbit --data words.txt -o fit.toml";
        let words = [
            "holds 163,840",
            fit,
            "minigpt train --config fit.toml --board microbit",
        ];
        assert_refused(&run(dir, &args), 2, &words);
    }
    // A board with room has the usual model, and a tokenizer that was asked for is kept.
    let dry = |args: &[&str]| {
        let output = run(
            dir,
            &[
                &["train", "--data=words.txt", "--dry-run", "--batch=1"],
                args,
            ]
            .concat(),
        );
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stderr(&output);
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let (_, said) = dry(&["--board=mps2-an500"]);
    assert!(!said.contains("too large"), "{said}");
    let (told, said) = dry(&["--board=microbit", "--tokenizer=byte"]);
    assert!(
        said.contains("too large for microbit") && told.contains(" byte\n"),
        "{said}{told}"
    );
}

#[test]
fn a_speed_without_a_core_is_unknown() {
    let dir = directory();
    let args = [
        "--data",
        "fish.txt",
        "--flash",
        "128K",
        "--ram",
        "16K",
        "--tokenizer",
        "byte",
    ];
    let fitted = fit(dir.path(), &args);
    assert!(fitted["core"].is_null());
    assert!(fitted["suggestions"][0]["tokens_per_second"].is_null());
    let of_riscv = [&args[..], &["--core", "rv32imc", "--clock", "160M"]].concat();
    assert!(fit(dir.path(), &of_riscv)["suggestions"][0]["tokens_per_second"].is_null());
    let measured = [&of_riscv[..], &["--cycles", "1.5", "--speed", "1"]].concat();
    assert_eq!(fit(dir.path(), &measured)["cycles_source"], "as given");
}

#[test]
fn impossible_demands_are_one_sentence() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("letter.txt"), "Dear all").unwrap();
    let cases: [(&[&str], &[&str]); 15] = [
        (
            &["--flash", "1M", "--ram", "64K", "--clock", "16M"],
            &["--clock needs --core, or --board"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--cycles", "1"],
            &["--cycles needs --core, or --board"],
        ),
        (
            &["--flash", "20K", "--ram", "64K"],
            &["--flash is 20,480 bytes", "give at least"],
        ),
        (
            &["--flash", "1M", "--ram", "2K"],
            &["--ram is 2,048 bytes", "give at least", "--context"],
        ),
        (
            &[
                "--flash", "1M", "--ram", "64K", "--core", "m0", "--clock", "16M", "--speed",
                "1000",
            ],
            &["--speed is 1000", "tokens a second"],
        ),
        (
            &["--board", "microbit", "--context", "60000"],
            &["RAM for sessions of microbit", "shorter"],
        ),
        (
            &["--board", "arduino"],
            &["there is no board arduino", "microbit"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--core", "z80"],
            &["there is no core z80", "m4f"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--speed", "5"],
            &["--speed needs --core"],
        ),
        (
            &[
                "--flash", "1M", "--ram", "64K", "--speed", "5", "--core", "m3",
            ],
            &["--speed needs --clock"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--speed", "-5"],
            &["--speed is -5", "above 0"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--context", "0"],
            &["--context is 0", "between 1"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "-o", "letter.txt"],
            &["letter.txt exists and is no configuration"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--tokenizer", "bpe:9"],
            &["9 is too small"],
        ),
        (
            &["--flash", "1M", "--ram", "64K", "--data", "absent"],
            &["there is no file absent"],
        ),
    ];
    for (args, words) in cases {
        let data = if args.contains(&"absent") {
            &[][..]
        } else {
            &["--data", "fish.txt"]
        };
        assert_refused(&run(dir, &[&["fit"], args, data].concat()), 2, words);
    }
    assert_eq!(
        fs::read_to_string(dir.join("letter.txt")).unwrap(),
        "Dear all"
    );
    let output = run(dir, &["fit", "--flash", "1G", "--ram", "64K"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("1G is no amount from 1 to 4096M, such as 256K or 1M"));
}
