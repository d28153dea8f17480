//! The models of `models/` are what their cards say.
//!
//! A card is the Markdown file beside the model: rows of a table with what can be checked, a
//! `minigpt generate` command, and the story that it tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minigpt_runtime::{Format, KvFormat, MemoryPlan, ModelFile, SessionOptions};
use minigpt_trainer::data::sources;
use minigpt_trainer::inference::ModelBytes;
use minigpt_trainer::run_config::RunConfig;
use serde_json::Value;

use crate::{MINIGPT, stderr};

/// A card and its file.
struct Card {
    name: String,
    text: String,
    model: PathBuf,
}

impl Card {
    /// What stands beside `row` in the table.
    fn row(&self, row: &str) -> &str {
        let mut cells = self.text.lines().filter_map(|line| {
            line.strip_prefix("| ")?
                .strip_suffix(" |")?
                .split_once(" | ")
        });
        let cell = cells.find(|(name, _)| *name == row);
        cell.unwrap_or_else(|| panic!("the card of {} has no row {row:?}", self.name))
            .1
    }

    /// The number that begins that cell.
    fn number(&self, row: &str) -> u64 {
        let cell = self.row(row).split(' ').next().unwrap_or_default();
        cell.replace(',', "").parse().unwrap()
    }

    /// The block of `language` that holds `words`.
    fn block(&self, language: &str, words: &str) -> &str {
        let mut blocks = self.text.split("```").skip(1).step_by(2);
        let block = blocks.find_map(|block| {
            let text = block.strip_prefix(language)?.trim();
            text.contains(words).then_some(text)
        });
        block.unwrap_or_else(|| panic!("the card of {} has no {words:?}", self.name))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cards() -> Vec<Card> {
    let mut models: Vec<_> = fs::read_dir(root().join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "mgpt"))
        .collect();
    models.sort();
    assert!(models.len() >= 3, "{models:?}");
    let card = |model: PathBuf| Card {
        name: model.file_stem().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(model.with_extension("md")).unwrap(),
        model,
    };
    models.into_iter().map(card).collect()
}

#[test]
fn models_have_the_checksum_and_the_shape_of_their_cards() {
    for card in cards() {
        let files = sources::read(core::slice::from_ref(&card.model)).unwrap();
        let print = files[0].fingerprint();
        assert_eq!(print.xxh64, card.row("xxHash64"), "{}", card.name);
        assert_eq!(print.bytes, card.number("File"), "{}", card.name);

        let bytes = ModelBytes::open(&card.model).unwrap();
        let file = bytes.file().unwrap();
        file.verify().unwrap();
        assert_eq!(file.header().metadata.name, card.name);
        let path = card.model.with_extension("toml");
        let settings = RunConfig::from_toml(&fs::read_to_string(path).unwrap()).unwrap();
        let n_vocab = file.config().n_vocab() as u32;
        assert_eq!(
            file.config().hyperparameters(),
            settings.model.hyperparameters(n_vocab),
            "{}",
            card.name
        );
        assert_eq!(
            settings.data.tokenizer.to_string(),
            format!("bpe:{n_vocab}")
        );
        let seed = format!(", seed {}", settings.training.seed);
        assert!(file.header().metadata.made_by.ends_with(&seed));
    }
}

/// Arena and partition of the model, as the board file has them.
fn room(board: &str) -> (u64, u64) {
    let path = root().join("tools/firmware/boards").join(board);
    let table: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let number = |section: &str, name: &str| table[section][name].as_integer().unwrap() as u64;
    let ram = |name| number("ram", name);
    (
        ram("size") - ram("stack") - ram("variables"),
        number("model", "size"),
    )
}

/// The context of a session on the card's board, and its bytes.
fn fitted(card: &Card, file: &ModelFile<'_>) -> (usize, u64) {
    let options = SessionOptions {
        kv: KvFormat::Q8,
        ..SessionOptions::DEFAULT
    };
    let options = options.fitted(file.config(), Format::Q8, card.number("Arena"));
    let plan = MemoryPlan::new(file.config(), Format::Q8, &options);
    (options.n_ctx, plan.total())
}

#[test]
fn models_fit_their_boards() {
    for card in cards() {
        let bytes = ModelBytes::open(&card.model).unwrap();
        let file = bytes.file().unwrap();
        assert_eq!(file.format(), Format::Q8);
        let (arena, partition) = (card.number("Arena"), card.number("Partition"));
        assert!(card.number("File") <= partition, "{}", card.name);
        let (context, total) = fitted(&card, &file);
        assert_eq!(context as u64, card.number("Context"), "{}", card.name);
        assert!(total <= arena, "{}", card.name);
        if let Some(board) = card.row("Board").split('`').nth(1) {
            let (board_arena, board_partition) = room(board);
            assert!(
                arena <= board_arena && partition <= board_partition,
                "{board}"
            );
        }
    }
}

#[test]
fn models_tell_the_stories_of_their_cards() {
    for card in cards() {
        let line = card.block("sh", "minigpt generate ");
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("minigpt"));
        let output = Command::new(MINIGPT)
            .current_dir(root())
            .args(words)
            .arg("--json")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let told =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let text = report["text"].as_str().unwrap();
        assert_eq!(told(text), told(card.block("text", "")), "{}", card.name);
        assert_eq!(report["stop"], "end_of_text");
        // Never longer than what the board holds: nothing is forgotten.
        assert!(report["tokens"].as_u64().unwrap() < card.number("Context"));
        for option in ["--kv q8", &format!("--context {}", card.number("Context"))] {
            assert!(line.contains(option), "{}: {option}", card.name);
        }
    }
}
