//! Runs: what they promise about interruption, threads, stopping and keeping.

use std::fs;
use std::path::{Path, PathBuf};

use minigpt_tests::curve;
use minigpt_trainer::Cpu;
use minigpt_trainer::checkpoint;
use minigpt_trainer::device::Choice;
use minigpt_trainer::run::{Inputs, Run, Trained};
use minigpt_trainer::run_config::{Overlay, RunConfig};
use minigpt_trainer::train::{Ending, Observer, Summary, TrainError, train};
use tempfile::TempDir;

/// A small model on a small text.
const SMALL: [&str; 9] = [
    "n_layer=2",
    "n_embd=16",
    "n_head=2",
    "n_ctx=16",
    "batch=4",
    "steps=24",
    "eval_interval=6",
    "checkpoint_interval=5",
    "learning_rate=0.01",
];

fn text(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("text.txt");
    let mut text = String::new();
    for i in 0..200 {
        text += &format!("{i} sheep and {} wolves met on the hill. ", i * i % 17);
    }
    fs::write(&path, text).unwrap();
    path
}

pub(crate) fn settings(dir: &TempDir, more: &[&str]) -> RunConfig {
    let mut overlay = Overlay::new(&RunConfig::default());
    for assignment in SMALL.iter().chain(more) {
        overlay.assign(assignment).unwrap();
    }
    let mut settings = overlay.finish().unwrap().resolve().unwrap();
    settings.data.files = vec![text(dir)];
    settings
}

pub(crate) fn create(dir: &TempDir, name: &str, more: &[&str]) -> Run {
    let settings = settings(dir, more);
    let inputs = Inputs::read(&settings.data).unwrap();
    Run::create(
        &dir.path().join(name),
        settings,
        &inputs,
        Choice::Cpu,
        &mut |_| (),
    )
    .unwrap()
}

/// A run whose validation gets worse and worse: a fresh model likes to repeat what it reads, and
/// unlearns it on a text that does not.
fn create_hopeless(dir: &TempDir, more: &[&str]) -> Run {
    let val = dir.path().join("val.txt");
    fs::write(&val, "Q".repeat(120)).unwrap();
    let mut settings = settings(dir, more);
    settings.data.val_files = vec![val];
    let inputs = Inputs::read(&settings.data).unwrap();
    Run::create(
        &dir.path().join("run"),
        settings,
        &inputs,
        Choice::Cpu,
        &mut |_| (),
    )
    .unwrap()
}

pub(crate) fn go(run: &mut Run, threads: usize) -> Summary {
    train(run, Cpu::new(Some(threads)), false, &mut ()).unwrap()
}

/// The weights, the moments and the average, if there is one, of the last checkpoint, byte for byte.
pub(crate) fn last_weights(path: &Path) -> Vec<Vec<u8>> {
    let (_, path) = checkpoint::list(&path.join("checkpoints"))
        .unwrap()
        .pop()
        .unwrap();
    let mut files = vec!["model.safetensors", "optimizer.safetensors"];
    files.extend(Some("average.safetensors").filter(|name| path.join(name).exists()));
    let read = |name| fs::read(path.join(name)).unwrap();
    files.into_iter().map(read).collect()
}

/// Stops after some steps.
pub(crate) struct After(pub(crate) u64);

impl Observer for After {
    fn stops(&mut self) -> bool {
        self.0 -= 1;
        self.0 == 0
    }
}

#[test]
fn interruptions_leave_no_trace() {
    let dir = TempDir::new().unwrap();
    let more = ["dropout=0.1", "accumulation=2", "tokenizer=byte"];
    let mut whole = create(&dir, "whole", &more);
    let summary = go(&mut whole, 1);
    assert_eq!((summary.ending, summary.step), (Ending::Finished, 24));
    assert_eq!(summary.tokens, 24 * 2 * 4 * 16);

    let mut run = create(&dir, "parts", &more);
    let path = run.path().to_owned();
    // In the middle of everything, on a checkpoint, and on a validation.
    for steps in [7, 3, 2] {
        let summary = train(&mut run, Cpu::new(Some(1)), false, &mut After(steps)).unwrap();
        assert_eq!(summary.ending, Ending::Stopped);
        drop(run);
        run = Run::open(&path).unwrap();
    }
    // A crash: steps after the last checkpoint, a line cut short, half a checkpoint.
    let log = path.join("metrics.jsonl");
    let more = fs::read_to_string(&log).unwrap() + "{\"step\":13,\"tok";
    drop(run);
    fs::write(&log, more).unwrap();
    let leftover = path.join("checkpoints/.minigpt-1-13.partial");
    fs::create_dir(&leftover).unwrap();
    let mut run = Run::open(&path).unwrap();
    let summary = go(&mut run, 1);
    assert_eq!((summary.ending, summary.start), (Ending::Finished, 12));
    assert!(!leftover.exists());
    assert_eq!(curve(&path), curve(whole.path()));
    assert_eq!(last_weights(&path), last_weights(whole.path()));
}

#[test]
fn lost_checkpoints_are_made_again() {
    let dir = TempDir::new().unwrap();
    let mut run = create(&dir, "run", &["keep_checkpoints=9"]);
    go(&mut run, 1);
    let path = run.path().to_owned();
    let (before, weights) = (curve(&path), last_weights(&path));
    drop(run);
    for (step, checkpoint) in checkpoint::list(&path.join("checkpoints")).unwrap() {
        if step > 10 {
            fs::remove_dir_all(checkpoint).unwrap();
        }
    }
    let mut run = Run::open(&path).unwrap();
    assert_eq!(go(&mut run, 1).start, 10);
    assert_eq!((curve(&path), last_weights(&path)), (before, weights));
}

#[test]
fn the_number_of_threads_is_not_in_the_result() {
    let dir = TempDir::new().unwrap();
    let curves = [1, 2, 8].map(|threads| {
        let mut run = create(&dir, &threads.to_string(), &["steps=8", "dropout=0.2"]);
        go(&mut run, threads);
        (curve(run.path()), last_weights(run.path()))
    });
    assert_eq!(curves[0].0.len(), 8);
    assert_eq!(curves[0], curves[1]);
    assert_eq!(curves[0], curves[2]);
}

#[test]
fn training_learns_and_its_result_is_the_best_checkpoint() {
    let dir = TempDir::new().unwrap();
    let mut run = create(&dir, "run", &["steps=60"]);
    let summary = go(&mut run, 1);
    let lines = curve(run.path());
    let (first, last) = (lines[0].train_loss, lines[59].train_loss);
    assert!(last < first - 0.5, "{first} {last}");
    let best = summary.best.unwrap();
    let losses: Vec<f64> = lines.iter().filter_map(|line| line.val_loss).collect();
    assert_eq!(losses.len(), 10);
    assert_eq!(
        best.val_loss,
        losses.iter().copied().fold(f64::MAX, f64::min)
    );
    // One character is one byte here, so that the two figures are one.
    let bits = best.val_loss / core::f64::consts::LN_2;
    assert!((bits - best.val_bits_per_byte).abs() < 1e-12);
    let trained = Trained::load(run.path()).unwrap();
    assert_eq!(trained.state.step, best.step);
    let svg = fs::read_to_string(run.path().join("loss.svg")).unwrap();
    assert!(svg.contains("bits per byte"));
    let again = go(&mut run, 1);
    assert_eq!(
        (again.ending, again.start, again.step),
        (Ending::Finished, 60, 60)
    );
}

#[test]
fn the_latest_and_the_best_checkpoints_are_kept() {
    let dir = TempDir::new().unwrap();
    let mut run = create_hopeless(&dir, &["steps=30"]);
    let best = go(&mut run, 1).best.unwrap().step;
    assert_eq!(best, 6);
    let kept = checkpoint::list(&run.checkpoints()).unwrap();
    let kept: Vec<u64> = kept.iter().map(|found| found.0).collect();
    assert_eq!(kept, [best, 25, 30]);
}

#[test]
fn early_stopping_counts_validations_and_survives_resuming() {
    let dir = TempDir::new().unwrap();
    let more = ["steps=400", "eval_interval=4", "patience=2"];
    let mut run = create_hopeless(&dir, &more);
    // Stopped between the two validations that count, so that the count must be kept.
    let summary = train(&mut run, Cpu::new(Some(1)), false, &mut After(9)).unwrap();
    assert_eq!(
        (summary.ending, summary.best.unwrap().step),
        (Ending::Stopped, 4)
    );
    let summary = go(&mut run, 1);
    assert_eq!(summary.ending, Ending::Stale);
    assert_eq!((summary.start, summary.step), (9, 12));
    let again = go(&mut run, 1);
    assert_eq!((again.ending, again.step), (Ending::Stale, summary.step));
}

#[test]
fn numbers_beyond_floats_stop_training_with_advice() {
    let dir = TempDir::new().unwrap();
    let more = [
        "learning_rate=1e30",
        "warmup_steps=0",
        "checkpoint_interval=1",
    ];
    let mut run = create(&dir, "run", &more);
    let Err(error) = train(&mut run, Cpu::new(Some(1)), false, &mut ()) else {
        panic!("such a learning rate cannot work");
    };
    assert!(matches!(error, TrainError::Diverged(_)));
    let message = error.to_string();
    for part in [
        "training diverged",
        " at step ",
        "the run is back at the last good checkpoint, ",
        "Try a new --out with a lower --learning-rate, such as 3e-3 (it is 1e30)",
        "--set warmup_steps=",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let lines = curve(run.path());
    assert!(lines.iter().all(|line| line.train_loss.is_finite()));
}

#[test]
fn a_rate_that_makes_it_worse_than_it_began_goes_back_to_the_last_checkpoint() {
    let dir = TempDir::new().unwrap();
    let more = [
        "learning_rate=30",
        "warmup_steps=20",
        "checkpoint_interval=1",
        "steps=100",
        "grad_clip=0",
        "schedule=constant",
    ];
    let mut run = create(&dir, "run", &more);
    let error = train(&mut run, Cpu::new(Some(1)), false, &mut ()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("three times that of the first step"),
        "{message}"
    );
    assert!(message.contains("warmup_steps=100 (it is 20)"), "{message}");
    let (step, _) = checkpoint::list(&run.checkpoints()).unwrap().pop().unwrap();
    assert_eq!(curve(run.path()).last().unwrap().step, step);
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut run = create(&dir, "run", &[]);
    go(&mut run, 1);
    let path = run.path().to_owned();
    drop(run);
    let file = path.join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("seed = 1337", "seed = 7")
            .replace("steps = 24", "steps = 30"),
    )
    .unwrap();
    let mut run = Run::open(&path).unwrap();
    let message = train(&mut run, Cpu::new(Some(1)), false, &mut ())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("seed is 1337 there and 7 here"),
        "{message}"
    );
}

#[test]
fn validation_text_of_its_own_and_every_tokenizer() {
    let dir = TempDir::new().unwrap();
    let val = dir.path().join("val.txt");
    fs::write(&val, "Größere Wölfe. <|endoftext|> 3 sheep").unwrap();
    for tokenizer in ["char", "byte", "bpe:300"] {
        let more = [&format!("tokenizer={tokenizer}"), "steps=2"];
        let mut settings = settings(&dir, &more);
        settings.data.val_files = vec![val.clone()];
        let inputs = Inputs::read(&settings.data).unwrap();
        let path = dir.path().join(tokenizer);
        let mut run = Run::create(&path, settings, &inputs, Choice::Cpu, &mut |_| ()).unwrap();
        let best = go(&mut run, 1).best.unwrap();
        assert!(
            best.val_bits_per_byte > 0.0 && best.val_bits_per_byte < 12.0,
            "{best:?}"
        );
    }
}
