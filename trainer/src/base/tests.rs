use std::fs;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout;

use super::*;
use crate::params;
use crate::run_config::RunConfig;

fn config(change: impl FnOnce(&mut crate::run_config::ModelSettings)) -> Config {
    let mut model = RunConfig::default().model;
    (model.n_embd, model.n_head, model.n_layer, model.n_ctx) = (8, 2, 2, 6);
    change(&mut model);
    Config::new(model.hyperparameters(11)).unwrap()
}

/// Writes the tensors of a model of shape `config`, renamed, `[in, out]` if `transposed`.
fn write(path: &Path, config: &Config, prefix: &str, transposed: bool) -> Vec<Vec<f32>> {
    let parameters = params::fresh(config, 5);
    let mut tensors = Vec::new();
    for (spec, values) in layout::tensors(config).zip(&parameters) {
        let name = spec.id.to_string();
        let (mut shape, mut values) = (vec![spec.rows, spec.cols], values.clone());
        if spec.rows == 1 {
            shape.remove(0);
        }
        if transposed && name.starts_with("h.") && shape.len() == 2 {
            let at = |i: usize| i % spec.rows * spec.cols + i / spec.rows;
            values = (0..values.len()).map(|i| values[at(i)]).collect();
            shape.reverse();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((format!("{prefix}{name}"), shape, bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
        (name, view.unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    parameters
}

fn fates(fitted: &Fitted, fate: Fate) -> Vec<&str> {
    let rows = fitted.0.iter().filter(|row| row.fate == fate);
    rows.map(|row| row.name.as_str()).collect()
}

#[test]
fn names_lose_their_prefixes_and_matrices_may_be_transposed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let config = config(|_| ());
    for (prefix, transposed) in [
        ("", false),
        ("module._orig_mod.", false),
        ("transformer.", true),
    ] {
        let written = write(&path, &config, prefix, transposed);
        let base = Base::open(&path).unwrap();
        assert_eq!(base.tokenizer, None);
        assert_eq!(Base::shape_of(&path).unwrap(), None);
        let mut parameters = params::fresh(&config, 6);
        let fitted = base.lay(&config, true, &mut parameters).unwrap();
        assert!(parameters == written, "{prefix}: {fitted}");
        let n = written.len();
        assert_eq!(fitted.counts(), (n, n));
        assert_eq!(fates(&fitted, Fate::Transposed).is_empty(), !transposed);
    }
}

#[test]
fn what_does_not_fit_stays_fresh_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let old = config(|_| ());
    let written = write(&path, &old, "module.", false);
    let base = Base::open(&path).unwrap();
    let new = config(|model| {
        (model.n_ctx, model.n_layer, model.n_ff) = (9, 3, Some(16));
        model.bias = false;
    });
    let fresh = params::fresh(&new, 6);
    let mut parameters = fresh.clone();
    let fitted = base.lay(&new, false, &mut parameters).unwrap();
    assert_eq!(fates(&fitted, Fate::Tokens), ["wte.weight"]);
    assert_eq!(fates(&fitted, Fate::Rows(6)), ["wpe.weight"]);
    let shapes = fates(&fitted, Fate::Shape);
    assert_eq!(shapes.len(), 4, "{fitted}"); // c_fc and its c_proj, twice
    assert!(
        fates(&fitted, Fate::Absent)
            .iter()
            .all(|name| name.starts_with("h.2."))
    );
    assert!(fates(&fitted, Fate::Unknown).contains(&"h.0.attn.c_attn.bias"));
    // Half of the positions, all of the first c_attn, nothing of the embedding.
    let index = |config: &Config, name: &str| {
        layout::tensors(config)
            .position(|spec| spec.id.to_string() == name)
            .unwrap()
    };
    let (here, there) = (index(&new, "wpe.weight"), index(&old, "wpe.weight"));
    assert!(
        parameters[here][..48] == written[there] && parameters[here][48..] == fresh[here][48..]
    );
    let name = "h.1.attn.c_attn.weight";
    assert!(parameters[index(&new, name)] == written[index(&old, name)]);
    assert!(parameters[0] == fresh[0]);
    let text = fitted.to_string();
    let line = text
        .lines()
        .find(|line| line.starts_with("wpe.weight"))
        .unwrap();
    for words in [
        "there [6, 8]",
        "here [9, 8]",
        "the first 6 rows loaded, the rest fresh",
    ] {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn what_is_no_model_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let [text, damaged] = ["text.mgpt", "damaged.safetensors"].map(|name| dir.path().join(name));
    fs::write(&text, "a text").unwrap();
    fs::write(&damaged, [7; 40]).unwrap();
    let message = |path: &Path| {
        let error = Base::open(path).unwrap_err().to_string();
        assert_eq!(Base::shape_of(path).unwrap_err().to_string(), error);
        error
    };
    assert!(message(&text).contains("give a model file, a run directory"));
    assert!(message(&damaged).contains("it is no safetensors"));
    assert!(message(&dir.path().join("absent")).contains("cannot begin with"));
    assert!(message(dir.path()).contains("cannot begin with a run"));
    let path = dir.path().join("other.safetensors");
    write(&path, &config(|_| ()), "encoder.", false);
    let other = config(|_| ());
    let mut parameters = params::fresh(&other, 1);
    let error = Base::open(&path)
        .unwrap()
        .lay(&other, true, &mut parameters);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("nothing in ") && error.contains("wte.weight"),
        "{error}"
    );
}
