use minigpt_runtime::config::Positions;

use super::*;

fn overlaid(assignments: &[&str]) -> Result<RunConfig, RunConfigError> {
    let mut overlay = Overlay::new(&RunConfig::default());
    for assignment in assignments {
        overlay.assign(assignment)?;
    }
    overlay.finish()?.resolve()
}

#[test]
fn assignments_reach_every_section_and_type() {
    let config = overlaid(&[
        "n_layer=6",
        "model.positions=rope",
        "positions=\"rope\"",
        "learning_rate = 3e-4",
        "tokenizer=bpe:512",
        "threads=2",
        "sample_interval=50",
        "bias=false",
        "weight_decay=0",
    ])
    .unwrap();
    assert_eq!(config.model.n_layer, 6);
    assert_eq!(config.model.positions, Positions::Rope);
    assert_eq!(config.training.learning_rate, 3e-4);
    assert_eq!(config.data.tokenizer, TokenizerChoice::Bpe { n_vocab: 512 });
    assert_eq!((config.run.threads, config.model.bias), (2, false));
    assert_eq!(config.run.sample_interval, 50);
    assert_eq!(overlaid(&[]).unwrap().run.sample_interval, 0);
}

#[test]
fn what_depends_follows_what_is_set() {
    let config = overlaid(&["n_embd=96", "n_head=6", "steps=50", "learning_rate=0.01"]).unwrap();
    assert_eq!(
        (config.model.n_head_kv, config.model.n_ff),
        (Some(6), Some(384))
    );
    assert_eq!(config.training.warmup_steps, Some(5));
    assert_eq!(config.training.min_learning_rate, Some(0.001));
    let config = overlaid(&["n_embd=96", "mlp=swiglu", "n_head_kv=2"]).unwrap();
    assert_eq!(
        (config.model.n_head_kv, config.model.n_ff),
        (Some(2), Some(256))
    );
    let shape = config.model.hyperparameters(65);
    assert_eq!(ModelSettings::of(&shape).n_ff, None);
    assert_eq!(ModelSettings::of(&shape).hyperparameters(65), shape);
}

#[test]
fn the_floor_and_the_decay_follow_the_schedule() {
    let training = |more: &[&str]| {
        let all = [&["learning_rate=0.01", "steps=50"], more].concat();
        overlaid(&all).unwrap().training
    };
    let of = |more: &[&str]| {
        let training = training(more);
        (training.min_learning_rate, training.decay_steps)
    };
    assert_eq!(of(&[]), (Some(0.001), None));
    assert_eq!(of(&["schedule=constant"]), (Some(0.01), None));
    assert_eq!(of(&["schedule=wsd"]), (Some(0.0), Some(10)));
    let stated = ["schedule=wsd", "decay_steps=7", "min_learning_rate=0.002"];
    assert_eq!(of(&stated), (Some(0.002), Some(7)));
    // What is not stated follows again, and a run that was taken further keeps its decay.
    let mut old = overlaid(&["schedule=wsd", "steps=50"]).unwrap();
    assert_eq!(old.clone().without_derived().training.decay_steps, None);
    old.training.steps = 100;
    let again = overlaid(&["schedule=wsd", "steps=100"]).unwrap();
    assert!(fields(&old, &again.without_derived()).is_empty());
}

#[test]
fn errors_name_the_field() {
    let cases: [(&[&str], &str); 8] = [
        (
            &["n_layers=6"],
            "there is no setting n_layers; there are files, from, stories_bytes",
        ),
        (&["n_vocab=6"], "n_vocab is not a setting"),
        (&["n_layer"], "n_layer is no NAME=VALUE"),
        (&["n_layer=six"], "invalid type: string \"six\""),
        (&["n_layer=-1"], "invalid value: integer `-1`"),
        (
            &["dropout=1"],
            "dropout is 1; it must be at least 0 and below 1, in 32 bits",
        ),
        (
            &["learning_rate=nan"],
            "learning_rate is NaN; it must be finite and above 0, in 32 bits",
        ),
        (&["n_head=3"], "n_embd 128 is not a multiple of n_head 3"),
    ];
    for (assignments, message) in cases {
        let error = overlaid(assignments).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = overlaid(&["tokenizer=bpe:x"]).unwrap_err().to_string();
    assert!(error.contains("there is no tokenizer bpe:x"), "{error}");
}

#[test]
fn a_resolved_configuration_comes_back_from_its_text() {
    let mut config = overlaid(&["learning_rate=3e-4", "eps=1e-8"]).unwrap();
    config.facts = Some(Facts {
        version: "1".to_owned(),
        n_vocab: 65,
        n_params: 1,
        train_tokens: 2,
        val_tokens: 3,
        train_xxh64: None,
        val_xxh64: Some("0".repeat(16)),
        tokenizer_xxh64: None,
        data: vec![crate::data::sources::Source::text("a", "b".to_owned()).fingerprint()],
        val_data: Vec::new(),
        from: None,
    });
    let text = toml::to_string(&config).unwrap();
    let back: RunConfig = toml::from_str(&text).unwrap();
    assert_eq!(back, config, "{text}");
    assert!(config.differences(&back).is_empty());
}

#[test]
fn only_what_moves_the_curve_is_a_difference() {
    let old = overlaid(&[]).unwrap();
    let new = overlaid(&["threads=3", "log_interval=7", "sample_interval=9"]).unwrap();
    assert!(old.differences(&new).is_empty());
    let new = overlaid(&["seed=2", "n_layer=2"]).unwrap();
    let found: Vec<_> = old
        .differences(&new)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "n_layer is 4 there and 2 here",
            "seed is 1337 there and 2 here"
        ]
    );
}

#[test]
fn numbers_are_checked_as_they_are_used() {
    for assignment in [
        "dropout=0.99999999",
        "beta2=0.99999999",
        "eps=1e-50",
        "grad_clip=1e-60",
        "skip_z=0.9",
        "skip_z=inf",
        "ema_decay=1",
        "learning_rate=1e-50",
        "learning_rate=1e300",
        "weight_decay=1e300",
        "min_learning_rate=0.1",
        "stories_bytes=4294967297",
        "stories_longest=479",
    ] {
        let field = assignment.split('=').next();
        let error = overlaid(&[assignment]).unwrap_err();
        assert_eq!(error.field(), field, "{assignment}: {error}");
    }
    let mut config = RunConfig::default();
    config.training.seed = u64::MAX;
    assert!(
        config
            .resolve()
            .unwrap_err()
            .to_string()
            .contains("2^63 - 1")
    );
}

#[test]
fn what_follows_is_stated_again_only_if_it_was_chosen() {
    let resolved = overlaid(&["n_ff=100", "steps=50"]).unwrap();
    let bare = resolved.clone().without_derived();
    assert_eq!((bare.model.n_ff, bare.model.n_head_kv), (Some(100), None));
    assert_eq!(bare.training.warmup_steps, None);
    assert_eq!(bare.training.min_learning_rate, None);
    assert_eq!(bare.resolve().unwrap(), resolved);
}

fn fields(old: &RunConfig, new: &RunConfig) -> Vec<String> {
    let differences = old.differences(new).into_iter();
    differences.map(|one| one.field).collect()
}

#[test]
fn what_follows_is_no_difference_of_its_own() {
    let unresolved = |assignments: &[&str]| overlaid(assignments).unwrap().without_derived();
    let old = overlaid(&["steps=20"]).unwrap();
    assert_eq!(fields(&old, &unresolved(&["steps=40"])), ["steps"]);
    assert_eq!(
        fields(&old, &unresolved(&["steps=20", "n_head=2"])),
        ["n_head"]
    );
    let chosen = overlaid(&["n_ff=100", "warmup_steps=2000"]).unwrap();
    assert_eq!(fields(&chosen, &unresolved(&[])), ["n_ff", "warmup_steps"]);
    // Taken further, a run keeps its warm-up.
    let mut further = old;
    further.training.steps = 40;
    assert!(fields(&further, &unresolved(&["steps=40"])).is_empty());
}

#[test]
fn stories_and_files_are_different_data() {
    let stories = overlaid(&[]).unwrap();
    let files = overlaid(&["files=[\"a.txt\"]"]).unwrap();
    assert_eq!(fields(&stories, &files), ["data"]);
    let message = files.differences(&stories)[0].to_string();
    assert_eq!(message, "data is a.txt there and the built-in stories here");
}

#[test]
fn lists_of_settings_name_settings() {
    let names = Overlay::new(&RunConfig::default()).names();
    let mut listed = difference::PATHS.to_vec();
    listed.extend(difference::STORIES);
    listed.extend(crate::run::EXTENDABLE);
    for name in listed {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}
