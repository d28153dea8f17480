use minigpt_runtime::layout;

use super::*;

fn config(n_layer: u32) -> Config {
    let mut settings = RunConfig::default().model;
    (settings.n_embd, settings.n_layer, settings.n_ctx) = (8, n_layer, 4);
    Config::new(settings.hyperparameters(11)).unwrap()
}

fn snapshot(step: u64) -> Snapshot {
    let arrays = |first: f32| -> Vec<Vec<f32>> {
        layout::tensors(&config(1))
            .enumerate()
            .map(|(i, spec)| vec![first + i as f32 / 3.0; spec.len()])
            .collect()
    };
    let mut state = State::start(RunConfig::default());
    state.step = step;
    state.best = Some(Best {
        step,
        val_loss: 1.0 / 3.0,
        val_bits_per_byte: 0.1 + 0.2,
    });
    Snapshot {
        state,
        parameters: arrays(1.0),
        first: arrays(2.0),
        second: arrays(3.0),
        average: None,
    }
}

#[test]
fn what_is_saved_comes_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let saved = snapshot(500);
    let path = save(dir.path(), &config(1), &saved).unwrap();
    assert_eq!(path, dir.path().join("step-000500"));
    let mut loaded = load(&path, &config(1)).unwrap();
    assert_eq!(
        load_parameters(&path, &config(1)).unwrap(),
        saved.parameters
    );
    loaded.state.files.clear();
    assert_eq!(loaded, saved);
}

#[test]
fn the_average_is_what_a_model_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = snapshot(3);
    saved.average = Some(saved.second.clone());
    let path = save(dir.path(), &config(1), &saved).unwrap();
    assert_eq!(load_parameters(&path, &config(1)).unwrap(), saved.second);
    let mut loaded = load(&path, &config(1)).unwrap();
    loaded.state.files.clear();
    assert_eq!(loaded, saved);
}

#[test]
fn checkpoints_of_version_1_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &config(1), &snapshot(3)).unwrap();
    let text = fs::read(path.join(STATE)).unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&text).unwrap();
    state["version"] = 1.into();
    assert!(state.as_object_mut().unwrap().remove("outliers").is_some());
    fs::write(path.join(STATE), state.to_string()).unwrap();
    let mut loaded = load(&path, &config(1)).unwrap();
    loaded.state.files.clear();
    assert_eq!(loaded, snapshot(3));
}

#[test]
fn the_latest_and_the_best_are_kept_and_leftovers_go() {
    let dir = tempfile::tempdir().unwrap();
    for step in [10, 20, 30, 1_000_000] {
        save(dir.path(), &config(1), &snapshot(step)).unwrap();
    }
    let leftover = dir.path().join(".minigpt-7-0.partial");
    fs::create_dir(&leftover).unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    prune(dir.path(), 2, Some(10)).unwrap();
    remove_leftovers(dir.path()).unwrap();
    let steps: Vec<_> = list(dir.path()).unwrap().iter().map(|c| c.0).collect();
    assert_eq!(steps, [10, 30, 1_000_000]);
    assert!(!leftover.exists() && dir.path().join("mine").exists());
    assert!(list(&dir.path().join("absent")).unwrap().is_empty());
}

#[test]
fn damage_and_foreign_shapes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &config(1), &snapshot(1)).unwrap();
    let error = load(&path, &config(2)).unwrap_err().to_string();
    assert!(error.contains("has no tensor h.1.ln_1.weight"), "{error}");
    let model = path.join(MODEL);
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    assert!(matches!(
        load(&path, &config(1)),
        Err(CheckpointError::Damaged { .. })
    ));
    let state = fs::read_to_string(path.join(STATE)).unwrap();
    fs::write(
        path.join(STATE),
        state.replace(&format!("\"version\": {VERSION}"), "\"version\": 9"),
    )
    .unwrap();
    assert!(matches!(
        load_state(&path),
        Err(CheckpointError::Version { version: 9, .. })
    ));
    fs::write(path.join(STATE), &state[..40]).unwrap();
    assert!(matches!(
        load_state(&path),
        Err(CheckpointError::Malformed { .. })
    ));
}

#[test]
fn an_existing_checkpoint_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &config(1), &snapshot(1)).unwrap();
    let error = save(dir.path(), &config(1), &snapshot(1)).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }));
    assert_eq!(list(dir.path()).unwrap().len(), 1);
    assert!(load(&dir.path().join("step-000001"), &config(1)).is_ok());
}
