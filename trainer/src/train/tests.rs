use std::path::Path;

use super::*;
use crate::backend::cpu::Cpu;
use crate::data::sources::Source;
use crate::device::Choice;
use crate::metrics::MetricsLog;
use crate::optimizer::Method;
use crate::run::Inputs;
use crate::run_config::{Overlay, RunConfig};

fn create(path: &Path) -> Run {
    let mut overlay = Overlay::new(&RunConfig::default());
    for assignment in ["n_ctx=8", "n_embd=8", "n_layer=1", "batch=2", "steps=2"] {
        overlay.assign(assignment).unwrap();
    }
    let inputs = Inputs {
        train: vec![Source::text("fox", "the quick brown fox ".repeat(20))],
        val: Vec::new(),
        base: None,
    };
    let settings = overlay.finish().unwrap();
    Run::create(path, settings, &inputs, Choice::Cpu, &mut |_| ()).unwrap()
}

/// What it was warned of.
#[derive(Default)]
struct Warned(Vec<String>);

impl Observer for Warned {
    fn warning(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_record_that_cannot_be_taken_back_hides_no_divergence() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = create(&dir.path().join("run"));
    let mut training = Training::start(&mut run, Cpu::default(), false).unwrap();
    training.saved = Some(0);
    // A record that nobody can shorten.
    training.run.log = MetricsLog::open(Path::new("/dev/null")).unwrap();
    let (error, mut warned) = (
        training.diverged(Diverging::TrainingLoss, f64::NAN),
        Warned::default(),
    );
    let error = training.rolled_back(error, &mut warned);
    assert!(matches!(error, TrainError::Diverged(_)), "{error}");
    assert!(
        warned.0.len() == 1 && warned.0[0].contains("/dev/null"),
        "{:?}",
        warned.0
    );
}

#[test]
fn a_checkpoint_of_another_optimizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = create(&dir.path().join("run"));
    train(&mut run, Cpu::default(), false, &mut ()).unwrap();
    run.settings.training.steps = 4;
    run.settings.training.optimizer = Method::Muon;
    let error = train(&mut run, Cpu::default(), false, &mut ()).unwrap_err();
    assert!(error.to_string().contains("optimizer is "), "{error}");
}
