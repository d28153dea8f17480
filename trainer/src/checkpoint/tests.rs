use minigpt_runtime::layout;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;
use crate::optimizer::{Method, Rule};
use crate::params::shape;

fn config(n_layer: u32) -> Config {
    let mut settings = RunConfig::default().model;
    (settings.n_embd, settings.n_layer, settings.n_ctx) = (8, n_layer, 4);
    Config::new(settings.hyperparameters(11)).unwrap()
}

/// Arrays of a model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    parameters: Vec<Vec<f32>>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    average: Vec<Vec<f32>>,
}

impl Model {
    const fn part(&mut self, part: Part) -> &mut Vec<Vec<f32>> {
        match part {
            Part::Parameters => &mut self.parameters,
            Part::FirstMoments => &mut self.first,
            Part::SecondMoments => &mut self.second,
            Part::Average => &mut self.average,
        }
    }
}

impl Source for Model {
    fn has_average(&self) -> bool {
        !self.average.is_empty()
    }

    fn read(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError> {
        Ok(Cow::Owned(self.clone().part(part)[index].clone()))
    }
}

fn state(step: u64) -> State {
    let mut state = State::start(RunConfig::default());
    state.step = step;
    state.best = Some(Best {
        step,
        val_loss: 1.0 / 3.0,
        val_bits_per_byte: 0.1 + 0.2,
    });
    state
}

fn model() -> Model {
    let arrays = |first: f32| -> Vec<Vec<f32>> {
        layout::tensors(&config(1))
            .enumerate()
            .map(|(i, spec)| vec![first + i as f32 / 3.0; spec.len()])
            .collect()
    };
    Model {
        parameters: arrays(1.0),
        first: arrays(2.0),
        second: arrays(3.0),
        average: Vec::new(),
    }
}

/// Saves a checkpoint of [`state`] and [`model`].
fn save_plain(directory: &Path, step: u64) -> Result<PathBuf, CheckpointError> {
    save(directory, &config(1), &state(step), &model())
}

/// What comes back, without the hashes; arrays that there are none of are empty.
fn loaded(path: &Path, n_layer: u32) -> Result<(State, Model), CheckpointError> {
    let mut model = Model::default();
    let config = config(n_layer);
    let mut state = load(path, &config, &mut |part, index, values| {
        let arrays = model.part(part);
        arrays.resize(layout::tensors(&config).count(), Vec::new());
        assert!(arrays[index].is_empty());
        arrays[index] = values.to_vec();
        Ok(())
    })?;
    state.files.clear();
    Ok((state, model))
}

#[test]
fn what_is_saved_comes_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_plain(dir.path(), 500).unwrap();
    assert_eq!(path, dir.path().join("step-000500"));
    let parameters = load_parameters(&path, &config(1)).unwrap();
    assert_eq!(parameters, model().parameters);
    assert_eq!(loaded(&path, 1).unwrap(), (state(500), model()));
}

#[test]
fn the_average_is_what_a_model_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = model();
    saved.average = saved.second.clone();
    let path = save(dir.path(), &config(1), &state(3), &saved).unwrap();
    assert_eq!(load_parameters(&path, &config(1)).unwrap(), saved.average);
    assert_eq!(loaded(&path, 1).unwrap(), (state(3), saved));
}

/// What safetensors itself makes of `arrays`, each with what stands before its names.
fn serialized(arrays: &[(&str, &[Vec<f32>])]) -> Vec<u8> {
    let mut tensors = Vec::new();
    for (prefix, arrays) in arrays {
        let arrays = layout::tensors(&config(1)).zip(*arrays);
        for (spec, values) in arrays.filter(|(_, values)| !values.is_empty()) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((format!("{prefix}{}", spec.id), shape(&spec), bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn files_are_what_safetensors_makes_of_them() {
    for method in [Method::AdamW, Method::Muon] {
        let dir = tempfile::tempdir().unwrap();
        let (mut state, mut model) = (state(7), model());
        state.settings.training.optimizer = method;
        for (spec, second) in layout::tensors(&config(1)).zip(&mut model.second) {
            let rule = Rule::of(&spec, &config(1), method);
            second.truncate(rule.second_len(spec.len()));
        }
        model.average = model.first.clone();
        let path = save(dir.path(), &config(1), &state, &model).unwrap();
        let moments = [("first.", &model.first[..]), ("second.", &model.second)];
        let files = [
            (MODEL, serialized(&[("", &model.parameters)])),
            (OPTIMIZER, serialized(&moments)),
            (AVERAGE, serialized(&[("", &model.average)])),
        ];
        let hashes = load_state(&path).unwrap().files;
        for (name, bytes) in &files {
            assert!(fs::read(path.join(name)).unwrap() == *bytes, "{name}");
            assert_eq!(hashes[*name], hash(bytes), "{name}");
        }
        assert_eq!(hashes.len(), files.len());
        assert_eq!(loaded(&path, 1).unwrap(), (state, model));
    }
}

/// A model on a device that fails before its last arrays.
struct Failing;

fn gone() -> BackendError {
    BackendError::Device {
        device: "a device".to_owned(),
        doing: "a copy".to_owned(),
        message: "it is gone".to_owned(),
    }
}

impl Source for Failing {
    fn has_average(&self) -> bool {
        false
    }

    fn read(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError> {
        if part == Part::SecondMoments {
            return Err(gone());
        }
        Ok(Cow::Owned(model().part(part)[index].clone()))
    }
}

#[test]
fn a_device_that_fails_leaves_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    save_plain(dir.path(), 1).unwrap();
    let error = save(dir.path(), &config(1), &state(2), &Failing).unwrap_err();
    assert!(matches!(error, CheckpointError::Device(_)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let path = dir.path().join(name(1));
    let error = load(&path, &config(1), &mut |_, _, _| Err(gone())).unwrap_err();
    assert_eq!(error.to_string(), gone().to_string());
}

#[test]
fn checkpoints_of_version_1_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_plain(dir.path(), 3).unwrap();
    let text = fs::read(path.join(STATE)).unwrap();
    let mut old: serde_json::Value = serde_json::from_slice(&text).unwrap();
    old["version"] = 1.into();
    assert!(old.as_object_mut().unwrap().remove("outliers").is_some());
    fs::write(path.join(STATE), old.to_string()).unwrap();
    assert_eq!(loaded(&path, 1).unwrap(), (state(3), model()));
}

#[test]
fn the_latest_and_the_best_are_kept_and_leftovers_go() {
    let dir = tempfile::tempdir().unwrap();
    for step in [10, 20, 30, 1_000_000] {
        save_plain(dir.path(), step).unwrap();
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
    let path = save_plain(dir.path(), 1).unwrap();
    let error = loaded(&path, 2).unwrap_err().to_string();
    assert!(error.contains("has no tensor h.1.ln_1.weight"), "{error}");
    let model = path.join(MODEL);
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    assert!(matches!(
        loaded(&path, 1),
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
    save_plain(dir.path(), 1).unwrap();
    let error = save_plain(dir.path(), 1).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }));
    assert_eq!(list(dir.path()).unwrap().len(), 1);
    assert!(loaded(&dir.path().join("step-000001"), 1).is_ok());
}
