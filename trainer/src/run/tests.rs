use super::*;
use crate::data::sources::Source;
use crate::run_config::Overlay;

const TEXT: &str = "the quick brown fox jumps over the lazy dog. ";

fn settings(assignments: &[&str]) -> RunConfig {
    let mut overlay = Overlay::new(&RunConfig::default());
    for assignment in ["n_ctx=8", "n_embd=8"].iter().chain(assignments) {
        overlay.assign(assignment).unwrap();
    }
    overlay.finish().unwrap()
}

fn inputs(text: &str) -> Inputs {
    Inputs {
        train: vec![Source::text("fox", text.to_owned())],
        val: Vec::new(),
        base: None,
    }
}

fn create(path: &Path, assignments: &[&str]) -> Result<Run, RunError> {
    let inputs = inputs(&TEXT.repeat(10));
    Run::create(
        path,
        settings(assignments),
        &inputs,
        Choice::Cpu,
        &mut |_| (),
    )
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
    let short = Run::create(
        &path,
        settings(&[]),
        &inputs("abcdefgh"),
        Choice::Cpu,
        &mut |_| (),
    );
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
    let asked = settings(&["tokenizer=byte", "steps=60"]);
    let message = run.adopt(&asked, false).unwrap_err().to_string();
    assert!(message.ends_with(
        "holds another run: steps is 50 there and 60 here; choose another --out, \
         or add --resume to take that run further"
    ));
    run.adopt(&asked, true).unwrap();
    assert_eq!(run.settings.training.steps, 60);
    let asked = settings(&["tokenizer=byte", "steps=20"]);
    let message = run.adopt(&asked, true).unwrap_err().to_string();
    assert!(
        message.contains("steps is 60 there and 20 here"),
        "{message}"
    );
    let asked = settings(&["tokenizer=byte", "steps=60", "n_layer=1"]);
    let message = run.adopt(&asked, true).unwrap_err().to_string();
    assert!(message.ends_with("n_layer is 4 there and 1 here; choose another --out"));
}

fn entries(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_empty_directory_of_any_name_becomes_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, slash) = (dir.path().join("empty"), dir.path().join("slash/"));
    fs::create_dir(&empty).unwrap();
    fs::write(dir.path().join("slash.partial"), "mine").unwrap();
    for path in [&empty, &slash] {
        drop(create(path, &[]).unwrap());
        let found = ["config.toml", "data", "metrics.jsonl", "tokenizer"];
        assert_eq!(entries(path), found);
    }
    assert_eq!(fs::read(dir.path().join("slash.partial")).unwrap(), b"mine");
    #[cfg(unix)]
    {
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        drop(create(&link, &[]).unwrap());
        assert!(target.join("config.toml").is_file());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

#[test]
fn an_unfinished_run_is_made_anew_unless_a_process_is_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let held = Unfinished::begin(&path).unwrap();
    assert_eq!(Run::find(&path).unwrap(), None);
    let error = create(&path, &[]).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(held); // As a crash leaves it.
    fs::create_dir(path.join("data")).unwrap();
    drop(create(&path, &["seed=1"]).unwrap());
    // Without a checkpoint it may be begun with other settings, and what it wrote goes.
    let text = path.join("samples/step-000001.txt");
    fs::create_dir(path.join("samples")).unwrap();
    fs::write(&text, "Once upon a time").unwrap();
    let run = create(&path, &["seed=2"]).unwrap();
    assert_eq!(run.settings.training.seed, 2);
    assert!(!text.exists() && !run.samples().exists());
    drop(run);
    fs::create_dir_all(path.join("checkpoints/step-000001")).unwrap();
    assert!(create(&path, &[]).is_err());
    assert!(path.join("checkpoints/step-000001").exists());
}

#[test]
fn changed_files_of_a_run_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    drop(create(&path, &[]).unwrap());
    for name in ["data/train.u16", "data/val.u16", "tokenizer"] {
        let file = path.join(name);
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad.swap(0, 2);
        fs::write(&file, &bad).unwrap();
        let error = Run::open(&path).unwrap_err();
        assert!(
            !error.is_misuse() && error.to_string().contains("damaged"),
            "{error}"
        );
        fs::remove_file(&file).unwrap();
        let error = Run::open(&path).unwrap_err();
        assert!(
            !error.is_misuse() && error.to_string().contains("new --out"),
            "{error}"
        );
        fs::write(&file, &good).unwrap();
    }
    Run::open(&path).unwrap();
}

#[test]
fn broken_and_foreign_settings_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    drop(create(&path, &[]).unwrap());
    let file = path.join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to, words) in [
        ("batch = 12", "batch = 0", "batch is 0"),
        ("n_layer = 4", "n_layer = four", "line "),
    ] {
        fs::write(&file, text.replace(from, to)).unwrap();
        let error = Run::find(&path).unwrap_err();
        assert!(!error.is_misuse(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.toml"), "title = \"mine\"\n").unwrap();
    assert!(matches!(Run::find(&other), Err(RunError::Foreign { .. })));
}
