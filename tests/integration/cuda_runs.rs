//! Runs on a GPU or a simulated one: what they promise while the host is ahead of the device.

use std::env;

use minigpt_tests::{curve, gpu};
use minigpt_trainer::backend::cuda::Cuda;
use minigpt_trainer::backend::{Ahead, Shape};
use minigpt_trainer::checkpoint;
use minigpt_trainer::metrics::Metrics;
use minigpt_trainer::run::Run;
use minigpt_trainer::train::{Ending, Observer, TrainError, train};
use minigpt_trainer::{Gpt, PassOptions};
use tempfile::TempDir;

use crate::backends::cuda;
use crate::cuda::again;
use crate::cuda_draw::{shape, tokens};
use crate::training::{After, create, last_weights};

/// A device that may owe the losses of `steps` steps, however long they take.
fn ahead(new: &impl Fn() -> Cuda, steps: usize) -> Cuda {
    new().with_ahead(Ahead {
        steps,
        seconds: f64::INFINITY,
    })
}

#[derive(Default)]
struct Seen(Vec<(u64, f64)>);

impl Observer for Seen {
    fn step(&mut self, metrics: &Metrics) {
        self.0.push((metrics.step, metrics.train_loss));
    }
}

#[test]
fn the_record_and_the_weights_are_the_same_however_late_losses_are_read() {
    let Some(cuda) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let more = [
        "dropout=0.1",
        "accumulation=2",
        "ema_decay=0.9",
        "log_interval=2",
    ];
    let results = [0, 1, 4, 100].map(|steps| {
        let mut run = create(&dir, &steps.to_string(), &more);
        let mut seen = Seen::default();
        let summary = train(&mut run, ahead(&cuda, steps), false, &mut seen).unwrap();
        assert_eq!((summary.ending, summary.step), (Ending::Finished, 24));
        assert_eq!(seen.0.len(), 24);
        let seconds = run.log.history().last().unwrap().seconds;
        assert!(seconds > 0.0 && seconds < 600.0, "{seconds}");
        (seen.0, curve(run.path()), last_weights(run.path()))
    });
    assert_eq!(results[0].1.len(), 12);
    for result in &results[1..] {
        assert_eq!(result, &results[0]);
    }
}

#[test]
fn who_stops_a_run_loses_nothing_of_what_the_device_was_at() {
    let Some(cuda) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let more = ["dropout=0.1", "checkpoint_interval=12", "eval_interval=12"];
    let mut whole = create(&dir, "whole", &more);
    train(&mut whole, ahead(&cuda, 0), false, &mut ()).unwrap();
    // Steps 4 to 7 are owed when step 3 is seen; at 12 and at the end all are settled.
    for (name, stops, steps) in [
        ("none", [3, 6], 0),
        ("some", [7, 12], 4),
        ("all", [12, 24], 50),
    ] {
        let mut run = create(&dir, name, &more);
        let path = run.path().to_owned();
        for (after, expected) in [3, 3].into_iter().zip(stops) {
            let mut seen = After(after);
            let summary = train(&mut run, ahead(&cuda, steps), false, &mut seen).unwrap();
            assert_eq!(summary.step, expected, "{name}");
            let (saved, _) = checkpoint::list(&run.checkpoints()).unwrap().pop().unwrap();
            assert_eq!(saved, expected);
            drop(run);
            run = Run::open(&path).unwrap();
            assert_eq!(curve(&path).last().unwrap().step, expected);
        }
        train(&mut run, ahead(&cuda, steps), false, &mut ()).unwrap();
        assert_eq!(curve(&path), curve(whole.path()));
        assert_eq!(last_weights(&path), last_weights(whole.path()));
    }
}

#[test]
fn a_run_that_diverges_while_others_are_owed_goes_back_to_steps_that_were_seen() {
    let Some(cuda) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let slow = ["learning_rate=3", "warmup_steps=50", "schedule=constant"];
    let more = [
        "checkpoint_interval=10",
        "eval_interval=100",
        "steps=100",
        "grad_clip=0",
    ];
    let more = [&slow[..], &more].concat();
    let [late, waited] = [7, 0].map(|steps| {
        let mut run = create(&dir, &steps.to_string(), &more);
        let error = train(&mut run, ahead(&cuda, steps), false, &mut ()).unwrap_err();
        let TrainError::Diverged(diverged) = &error else {
            panic!("{error}");
        };
        let saved = checkpoint::list(&run.checkpoints()).unwrap();
        let steps: Vec<u64> = saved.iter().map(|saved| saved.0).collect();
        // In the middle of what was asked for: neither the first of it nor the last.
        assert!((2..=9).contains(&(diverged.step % 10)), "{error}");
        let seen = diverged.step / 10 * 10;
        assert_eq!(*steps.last().unwrap(), seen, "{error}");
        assert_eq!(curve(run.path()).last().unwrap().step, seen);
        assert!(diverged.checkpoint.as_ref() == saved.last().map(|saved| &saved.1));
        (
            steps,
            diverged.step,
            diverged.value,
            curve(run.path()),
            last_weights(run.path()),
        )
    });
    assert_eq!(late, waited);
}

#[test]
fn outliers_are_judged_one_by_one() {
    let Some(cuda) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let results = [0, 9].map(|steps| {
        let more = ["skip_z=3", "eval_interval=24", "checkpoint_interval=24"];
        let mut run = create(&dir, &steps.to_string(), &more);
        let summary = train(&mut run, ahead(&cuda, steps), false, &mut ()).unwrap();
        (summary.skipped, curve(run.path()), last_weights(run.path()))
    });
    assert_eq!(results[0], results[1]);
}

/// Work behind which there is no event.
const UNMARKED: (&str, &str) = ("MINIGPT_FAKE_UNMARKED", "20");

#[test]
fn who_asks_again_after_a_failure_is_told_of_it_again() {
    let Some(cuda) = cuda().filter(|_| gpu::simulator().is_some()) else {
        return;
    };
    if env::var_os(UNMARKED.0).is_none() {
        let name = "cuda_runs::who_asks_again_after_a_failure_is_told_of_it_again";
        return again(&[name], &[UNMARKED]);
    }
    let dir = TempDir::new().unwrap();
    let Shape { config, batch } = shape(30, 2, 7);
    let mut model = Gpt::new(cuda(), config, batch, 1).unwrap();
    let corpus = model.corpus(&tokens(&dir, 100, 30, 5)).unwrap();
    let options = PassOptions {
        dropout: 0.0,
        seed: 1,
        micro_step: 0,
        accumulation: 1,
    };
    let (mut answered, mut failed) = (0, 0);
    while failed < 3 {
        let Ok(pending) = model.accumulate_drawn(&corpus, None, options) else {
            failed += 1;
            continue;
        };
        let answers = [(), ()].map(|()| model.loss(&pending));
        if failed == 0 && answers[0].is_ok() {
            answered += 1;
            assert_eq!(answers[0], answers[1]);
            continue;
        }
        failed += 1;
        for answer in answers {
            let error = answer.unwrap_err().to_string();
            assert!(error.contains("marking a step"), "{error}");
        }
    }
    assert!(answered > 3, "{answered}");
}

#[test]
fn slow_steps_are_not_asked_for_long_before_they_are_done() {
    let ahead = Ahead {
        steps: 32,
        seconds: 0.2,
    };
    let cases = [
        (None, 0),
        (Some(1.0), 0),
        (Some(0.15), 1),
        (Some(0.019), 10),
        (Some(1e-4), 32),
        (Some(0.0), 32),
    ];
    for (step, most) in cases {
        assert_eq!(ahead.most(step), most, "{step:?}");
    }
    assert_eq!(Ahead::NONE.most(Some(1e-9)), 0);
}
