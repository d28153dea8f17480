use super::*;
use crate::data::sources::Source;
use crate::run_config::Overlay;

const TEXT: &str = "the quick brown fox jumps over the lazy dog. ";

fn settings(assignments: &[&str]) -> RunConfig {
    let mut overlay = Overlay::new(&RunConfig::default());
    for assignment in ["n_ctx=8", "n_embd=8"].iter().chain(assignments) {
        overlay.assign(assignment).unwrap();
    }
    overlay.finish().unwrap().resolve().unwrap()
}

fn inputs(text: &str) -> Inputs {
    Inputs {
        train: vec![Source::text("fox", text.to_owned())],
        val: Vec::new(),
    }
}

fn create(path: &Path, assignments: &[&str]) -> Result<Run, RunError> {
    let inputs = inputs(&TEXT.repeat(10));
    Run::create(path, settings(assignments), &inputs, &mut |_| ())
}

#[test]
fn a_directory_tells_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/run");
    assert_eq!(Run::find(&path).unwrap(), None);
    assert!(matches!(Run::open(&path), Err(RunError::Absent { .. })));
    let run = create(&path, &[]).unwrap();
    assert_eq!((run.train.len(), run.val.len()), (405, 45));
    let facts = run.settings.facts.clone().unwrap();
    assert_eq!((facts.n_vocab, facts.data[0].bytes), (28, 450));
    assert_eq!(Run::find(&path).unwrap().as_ref(), Some(&run.settings));
    assert!(!durable::partial(&path).exists());
    assert!(matches!(
        Run::open(&path),
        Err(RunError::Metrics(
            crate::metrics::MetricsError::InUse { .. }
        ))
    ));
    drop(run);
    fs::write(dir.path().join("a/letter"), "dear").unwrap();
    let foreign = Run::find(&dir.path().join("a"));
    assert!(matches!(foreign, Err(RunError::Foreign { .. })));
}

#[test]
fn a_run_that_cannot_be_prepared_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let short = Run::create(&path, settings(&[]), &inputs("abcdefgh"), &mut |_| ());
    let message = short.unwrap_err().to_string();
    assert_eq!(
        message,
        "the training part has 7 tokens, and one context of n_ctx 8 needs 9; \
         give more text or a shorter context (--set n_ctx=6)"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn another_configuration_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let mut run = create(&path, &["tokenizer=byte", "steps=50"]).unwrap();
    let asked = settings(&["tokenizer=byte", "steps=50", "threads=2"]);
    run.adopt(&asked, false).unwrap();
    assert_eq!(Run::find(&path).unwrap().unwrap().run.threads, 2);
    let asked = settings(&["tokenizer=byte", "steps=60", "warmup_steps=5"]);
    let message = run.adopt(&asked, false).unwrap_err().to_string();
    assert!(message.ends_with(
        "holds another run: steps is 50 there and 60 here; choose another --out, \
         or add --resume to take that run further"
    ));
    run.adopt(&asked, true).unwrap();
    assert_eq!(run.settings.training.steps, 60);
    let asked = settings(&["tokenizer=byte", "steps=20", "warmup_steps=5"]);
    let message = run.adopt(&asked, true).unwrap_err().to_string();
    assert!(
        message.contains("steps is 60 there and 20 here"),
        "{message}"
    );
    let asked = settings(&["tokenizer=byte", "steps=60", "warmup_steps=5", "n_layer=1"]);
    let message = run.adopt(&asked, true).unwrap_err().to_string();
    assert!(message.ends_with("n_layer is 4 there and 1 here; choose another --out"));
}
