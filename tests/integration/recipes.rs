//! What a run may do beyond AdamW along a cosine: Muon, outliers that are skipped, weights that are
//! averaged.

use minigpt_tests::curve;
use minigpt_trainer::checkpoint;
use minigpt_trainer::outliers::Outlier;
use minigpt_trainer::run::{Run, Trained};
use minigpt_trainer::train::{Ending, Observer, train};
use minigpt_trainer::{Cpu, Part};
use tempfile::TempDir;

use crate::training::{After, create, go, last_weights};

/// Enough steps for the watch to know what is usual, and a limit that is often met.
const SKIPS: [&str; 5] = [
    "steps=400",
    "batch=1",
    "skip_z=1",
    "eval_interval=40",
    "checkpoint_interval=40",
];

/// Counts what it sees.
#[derive(Default)]
struct Skipped(Vec<u64>);

impl Observer for Skipped {
    fn skipped(&mut self, outlier: &Outlier) {
        assert!(outlier.z > 1.0, "{outlier:?}");
        self.0.push(outlier.step);
    }
}

#[test]
fn skipped_steps_are_said_counted_and_not_learned() {
    let dir = TempDir::new().unwrap();
    let mut run = create(&dir, "run", &SKIPS);
    let mut seen = Skipped::default();
    let summary = train(&mut run, Cpu::new(Some(1)), false, &mut seen).unwrap();
    assert!(seen.0.len() > 2, "{:?}", seen.0);
    assert_eq!(summary.skipped, seen.0.len() as u64);
    let (mut before, mut found) = (0, Vec::new());
    for line in curve(run.path()) {
        if line.skipped > before {
            found.push(line.step);
        }
        before = line.skipped;
    }
    assert_eq!(found, seen.0);
    // A run that ends with the step that was skipped and one that ends before it have the same weights.
    let first = seen.0[0];
    let ends = [first - 1, first].map(|steps| {
        let mut part = create(&dir, &steps.to_string(), &SKIPS);
        train(&mut part, Cpu::new(Some(1)), false, &mut After(steps)).unwrap();
        last_weights(part.path())
    });
    assert!(ends[0] == ends[1]);
}

#[test]
fn everything_together_survives_interruptions() {
    let dir = TempDir::new().unwrap();
    let more = [
        &SKIPS[..],
        &[
            "optimizer=muon",
            "schedule=wsd",
            "ema_decay=0.9",
            "dropout=0.1",
        ],
    ]
    .concat();
    let mut whole = create(&dir, "whole", &more);
    assert_eq!(go(&mut whole, 1).ending, Ending::Finished);
    let mut run = create(&dir, "parts", &more);
    let path = run.path().to_owned();
    for steps in [1, 39, 95, 13] {
        train(&mut run, Cpu::new(Some(2)), false, &mut After(steps)).unwrap();
        drop(run);
        run = Run::open(&path).unwrap();
    }
    assert_eq!(go(&mut run, 3).start, 148);
    assert_eq!(curve(&path), curve(whole.path()));
    assert!(curve(&path).last().unwrap().skipped > 0);
    let weights = last_weights(&path);
    assert_eq!(weights.len(), 3);
    assert!(weights == last_weights(whole.path()));
}

#[test]
fn the_average_is_validated_and_exported() {
    let dir = TempDir::new().unwrap();
    let steps = ["steps=60", "learning_rate=0.03"];
    let mut plain = create(&dir, "plain", &steps);
    let mut run = create(&dir, "run", &[&steps[..], &["ema_decay=0.9"]].concat());
    let (plain_best, best) = (
        go(&mut plain, 1).best.unwrap(),
        go(&mut run, 1).best.unwrap(),
    );
    // The steps are the same, what is validated is not.
    let loss = |run: &Run| -> Vec<f64> {
        curve(run.path())
            .iter()
            .map(|line| line.train_loss)
            .collect()
    };
    assert_eq!(loss(&plain), loss(&run));
    assert!(plain_best.val_loss != best.val_loss);
    let trained = Trained::load(run.path()).unwrap();
    let path = run.checkpoints().join(checkpoint::name(best.step));
    let [mut parameters, mut average] = [(); 2].map(|()| Vec::new());
    let state = checkpoint::load(&path, &run.config, &mut |part, _, values| {
        match part {
            Part::Parameters => parameters.push(values.to_vec()),
            Part::Average => average.push(values.to_vec()),
            _ => {}
        }
        Ok(())
    });
    assert_eq!(state.unwrap().step, best.step);
    assert!(trained.parameters == average);
    assert!(trained.parameters != parameters);
}
