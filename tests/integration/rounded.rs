//! Training with weights as a model file holds them, and activations that are made again.

use minigpt_models::preset;
use minigpt_runtime::format::{Header, Metadata};
use minigpt_runtime::layout::{self, Role};
use minigpt_runtime::{Config, Format, Hyperparameters, KvFormat};
use minigpt_tests::curve;
use minigpt_trainer::activations::Activations;
use minigpt_trainer::backend::Shape;
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::export::export;
use minigpt_trainer::run::{Run, Trained};
use minigpt_trainer::train::{Ending, train};
use minigpt_trainer::{AdamW, Backend, Batch, Cpu, Gpt, GptOptions, Loss, Method, PassOptions};
use tempfile::TempDir;

use crate::backends::{Tolerance, on_every_backend};
use crate::gradients::{Case, configs};
use crate::training::{After, create, go, last_weights};

on_every_backend!(
    passes_compute_with_rounded_weights_and_learn_the_weights,
    rounded_weights_follow_updates_and_the_average,
    matrices_settle_where_the_last_pass_had_them,
    recomputed_activations_are_the_same_bits,
);

const PASS: PassOptions = PassOptions {
    dropout: 0.1,
    seed: 5,
    micro_step: 3,
    accumulation: 1,
};

/// Models with heads of their own and tied ones, of odd widths, and random batches for them.
fn cases() -> impl Iterator<Item = Case> {
    configs().step_by(5).map(|(seed, config)| {
        let wider = Hyperparameters {
            n_embd: if seed == 0 {
                40
            } else {
                config.n_embd() as u32
            },
            n_ff: 37,
            ..config.hyperparameters()
        };
        let (n_batch, n_time) = (3, config.n_ctx());
        Case::new(Config::new(wider).unwrap(), Batch { n_batch, n_time }, seed)
    })
}

/// What a file of `format` makes of `params`, by encoding them.
fn rounded(config: &Config, params: &[Vec<f32>], format: Format) -> Vec<Vec<f32>> {
    let round = |(spec, values): (layout::TensorSpec, &Vec<f32>)| {
        let mut out = vec![0.0; values.len()];
        spec.stored_format(format)
            .round(&mut out, values, spec.cols);
        out
    };
    layout::tensors(config).zip(params).map(round).collect()
}

fn accumulate<B: Backend>(model: &mut Gpt<B>, case: &Case) -> Loss {
    let pending = model
        .accumulate(&case.tokens, case.targets(), PASS)
        .unwrap();
    model.loss(&pending).unwrap()
}

fn passes_compute_with_rounded_weights_and_learn_the_weights<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    let optimizer = AdamW {
        learning_rate: 0.01,
        max_norm: f32::INFINITY,
        ..AdamW::default()
    };
    for (case, format) in cases().zip([Format::Q8, Format::Q4].into_iter().cycle()) {
        let mut model = case.model(new());
        let plain = accumulate(&mut case.model(new()), &case);
        model.round_to(Some(format));
        let loss = accumulate(&mut model, &case);
        assert!(
            (loss.sum / plain.sum - 1.0).abs() > 1e-5,
            "nothing was rounded"
        );
        let values = rounded(&case.config, &case.params, format);
        let mut other = case.model(new());
        other.write_parameters(&values).unwrap();
        assert_eq!(accumulate(&mut other, &case), loss);
        let gradients = model.read_gradients().unwrap();
        assert!(other.read_gradients().unwrap() == gradients);
        // The weights themselves are what is kept, and what takes the step: after one, AdamW has moved
        // each by the learning rate against its gradient, however large that is.
        assert!(model.read_parameters().unwrap() == case.params);
        model.update(&optimizer, 1).unwrap();
        let after = model.read_parameters().unwrap();
        let specs = layout::tensors(&case.config).zip(&gradients);
        for ((spec, gradients), (before, after)) in specs.zip(case.params.iter().zip(&after)) {
            let decay = match spec.stored_format(format) {
                Format::F32 => 0.0,
                _ => optimizer.learning_rate * optimizer.weight_decay,
            };
            for ((before, after), gradient) in before.iter().zip(after).zip(gradients) {
                let step = gradient / (gradient.abs() + optimizer.eps);
                let expected = before * (1.0 - decay) - optimizer.learning_rate * step;
                let limit = tolerance.update as f32 * optimizer.learning_rate;
                assert!(
                    (after - expected).abs() <= limit,
                    "{} {after} {expected}",
                    spec.id
                );
            }
        }
    }
}

fn rounded_weights_follow_updates_and_the_average<B: Backend>(new: &impl Fn() -> B, _: &Tolerance) {
    let case = cases().nth(1).unwrap();
    let mut model = case.model(new());
    let evaluate = |model: &mut Gpt<B>| {
        let pending = model.evaluate(&case.tokens, case.targets()).unwrap();
        model.loss(&pending).unwrap()
    };
    // What another model says of these weights.
    let of = |params: &[Vec<f32>]| {
        let mut model = case.model(new());
        model.write_parameters(params).unwrap();
        let pending = model.evaluate(&case.tokens, case.targets()).unwrap();
        model.loss(&pending).unwrap()
    };
    let round = |params: &[Vec<f32>]| rounded(&case.config, params, Format::Q4);
    model.round_to(Some(Format::Q4));
    for step in 1..=3 {
        accumulate(&mut model, &case);
        model.update(&AdamW::default(), step).unwrap();
        model.average(0.9).unwrap();
        let params = model.read_parameters().unwrap();
        assert_eq!(evaluate(&mut model), of(&round(&params)));
        assert!(params != case.params);
    }
    let params = model.read_parameters().unwrap();
    let average = model.read_average().unwrap().unwrap();
    model.swap_average();
    assert_eq!(evaluate(&mut model), of(&round(&average)));
    model.swap_average();
    assert_eq!(evaluate(&mut model), of(&round(&params)));
    model.round_to(None);
    assert_eq!(evaluate(&mut model), of(&params));
    model.round_to(Some(Format::Q8));
    let q8 = rounded(&case.config, &params, Format::Q8);
    assert_eq!(evaluate(&mut model), of(&q8));
    model.write_parameters(&case.params).unwrap();
    let q8 = rounded(&case.config, &case.params, Format::Q8);
    assert_eq!(evaluate(&mut model), of(&q8));
}

fn matrices_settle_where_the_last_pass_had_them<B: Backend>(new: &impl Fn() -> B, _: &Tolerance) {
    let case = cases().nth(2).unwrap();
    let mut model = case.model(new());
    accumulate(&mut model, &case);
    model.settle(0.25).unwrap();
    assert!(model.read_parameters().unwrap() == case.params, "no format");
    model.round_to(Some(Format::Q4));
    accumulate(&mut model, &case);
    model.update(&AdamW::default(), 1).unwrap();
    let before = model.read_parameters().unwrap();
    model.settle(0.25).unwrap();
    let after = model.read_parameters().unwrap();
    let targets = rounded(&case.config, &case.params, Format::Q4);
    let tensors = before.iter().zip(&targets).zip(&after);
    for (spec, ((before, target), after)) in layout::tensors(&case.config).zip(tensors) {
        let share = if spec.role == Role::Matrix { 0.25 } else { 0.0 };
        for ((before, target), after) in before.iter().zip(target).zip(after) {
            let expected = before + share * (target - before);
            assert!(
                (after - expected).abs() < 1e-6,
                "{} {after} {expected}",
                spec.id
            );
        }
    }
    // The next pass rounds what they have become.
    let loss = accumulate(&mut model, &case);
    let mut other = case.model(new());
    other
        .write_parameters(&rounded(&case.config, &after, Format::Q4))
        .unwrap();
    assert_eq!(accumulate(&mut other, &case), loss);
}

fn recomputed_activations_are_the_same_bits<B: Backend>(new: &impl Fn() -> B, _: &Tolerance) {
    for (case, n_layer) in cases().zip([1, 2, 5, 3, 4]) {
        let hyper = Hyperparameters {
            n_layer,
            ..case.config.hyperparameters()
        };
        let case = Case::new(Config::new(hyper).unwrap(), case.batch, 1);
        let train = |recompute| {
            let options = GptOptions {
                seed: 1,
                method: Method::Muon,
                recompute,
            };
            let mut model = Gpt::with_options(new(), case.config, case.batch, options).unwrap();
            model.write_parameters(&case.params).unwrap();
            let losses: Vec<Loss> = (1..=3)
                .map(|step| {
                    let loss = accumulate(&mut model, &case);
                    model.update(&AdamW::default(), step).unwrap();
                    loss
                })
                .collect();
            (losses, model.read_parameters().unwrap())
        };
        assert!(train(false) == train(true), "{n_layer} layers");
    }
}

#[test]
fn activations_of_six_layers_take_a_third_of_the_memory_where_they_are_made_again() {
    let tiny = preset("tiny").unwrap().hyperparameters(65);
    let config = Config::new(Hyperparameters { n_layer: 6, ..tiny }).unwrap();
    let batch = Batch {
        n_batch: 4,
        n_time: 128,
    };
    let values = |recompute| {
        let shape = Shape { config, batch };
        let mut cpu = Cpu::new(Some(1));
        let activations = Activations::new(&mut cpu, &shape, recompute).unwrap();
        let Activations {
            residual,
            layers,
            d_residual,
        } = activations;
        let saved = layers.iter().flat_map(|layer| {
            let (attention, mlp) = (&layer.attention, &layer.mlp);
            [
                &attention.stats,
                &attention.qkv,
                &attention.heads,
                &attention.log_sum_exp,
                &layer.middle,
                &mlp.stats,
                &mlp.fc,
            ]
        });
        let all = residual.iter().chain(saved);
        all.map(|buffer| buffer.len()).sum::<usize>() + 2 * d_residual.0.len()
    };
    let (kept, again) = (values(false), values(true));
    assert!(3 * again < kept, "{again} {kept}");
}

/// A run of [`crate::training`] whose last half computes with q4.
const AWARE: [&str; 2] = ["quantize_aware=q4", "quantize_fraction=0.5"];

#[test]
fn a_run_is_interrupted_before_at_and_behind_the_switch() {
    let dir = TempDir::new().unwrap();
    let more = [
        &AWARE[..],
        &[
            "optimizer=muon",
            "ema_decay=0.9",
            "dropout=0.1",
            "accumulation=2",
            "skip_z=3",
            "patience=3",
        ],
    ]
    .concat();
    let mut whole = create(&dir, "whole", &more);
    assert_eq!(go(&mut whole, 1).ending, Ending::Finished);
    // Steps 13 to 24 are of q4.
    for ends in [[11, 1], [12, 1], [13, 5]] {
        let mut run = create(&dir, &format!("{ends:?}"), &more);
        let path = run.path().to_owned();
        for steps in ends {
            train(&mut run, Cpu::new(Some(2)), false, &mut After(steps)).unwrap();
            drop(run);
            run = Run::open(&path).unwrap();
        }
        go(&mut run, 3);
        assert_eq!(curve(&path), curve(whole.path()), "{ends:?}");
        assert!(last_weights(&path) == last_weights(whole.path()));
    }
    let mut recomputed = create(&dir, "recomputed", &more);
    train(&mut recomputed, Cpu::new(Some(2)), true, &mut ()).unwrap();
    assert_eq!(curve(recomputed.path()), curve(whole.path()));
    assert!(last_weights(recomputed.path()) == last_weights(whole.path()));
}

#[test]
fn steps_before_the_switch_are_those_of_a_run_without_one() {
    let dir = TempDir::new().unwrap();
    let (mut plain, mut aware) = (create(&dir, "plain", &[]), create(&dir, "aware", &AWARE));
    go(&mut plain, 1);
    go(&mut aware, 1);
    let (plain, aware) = (curve(plain.path()), curve(aware.path()));
    for (plain, aware) in plain.iter().zip(&aware) {
        let same = plain.train_loss == aware.train_loss;
        assert_eq!(same, plain.step <= 12, "step {}", plain.step);
        // What is validated is what will be deployed, from the start.
        assert!(plain.val_loss.is_none() || plain.val_loss != aware.val_loss);
    }
}

#[test]
fn early_stopping_waits_for_the_switch() {
    let dir = TempDir::new().unwrap();
    // So large that nothing is learned after some steps.
    let more = [
        "steps=120",
        "eval_interval=4",
        "patience=2",
        "learning_rate=1",
    ];
    let mut run = create(&dir, "plain", &more);
    assert!(go(&mut run, 1).step < 60);
    let mut run = create(&dir, "aware", &[&more[..], &AWARE].concat());
    assert!(go(&mut run, 1).step > 60);
}

/// Mean loss of the validation part, by the trainer on weights as `format` holds them and by the runtime on
/// files of them: stored so, and stored as they are after rounding.
fn losses(run: &Run, format: Format) -> [f64; 3] {
    let trained = Trained::load(run.path()).unwrap();
    let config = trained.config;
    let n_time = config.n_ctx();
    let tokens = trained.validation_tokens(40 * n_time + 1).unwrap();
    let windows = (tokens.len() - 1) / n_time;
    let tokens = &tokens[..windows * n_time + 1];
    let batch = Batch { n_batch: 1, n_time };
    let mut gpt = Gpt::new(Cpu::new(Some(1)), config, batch, 0).unwrap();
    gpt.write_parameters(&trained.parameters).unwrap();
    gpt.round_to(Some(format));
    let (mut sum, mut count) = (0.0, 0);
    for window in 0..windows {
        let from = window * n_time;
        let targets = &tokens[from + 1..from + n_time + 1];
        let pending = gpt.evaluate(&tokens[from..from + n_time], targets).unwrap();
        let loss = gpt.loss(&pending).unwrap();
        (sum, count) = (sum + loss.sum, count + loss.count);
    }
    let file = |parameters: &[Vec<f32>], format| {
        let header = Header {
            hyperparameters: config.hyperparameters(),
            format,
            tokenizer: trained.tokenizer.view(),
            metadata: Metadata::default(),
        };
        let model = export(&header, parameters).unwrap();
        let sums = evaluate(&model.file().unwrap(), tokens, KvFormat::F32, |_| {}).unwrap();
        assert_eq!(sums.tokens, count);
        sums.loss()
    };
    let exact = rounded(&config, &trained.parameters, format);
    [
        sum / count as f64,
        file(&trained.parameters, format),
        file(&exact, Format::F32),
    ]
}

#[test]
fn the_exported_file_is_what_was_trained() {
    let dir = TempDir::new().unwrap();
    for (name, format) in [("q8", Format::Q8), ("q4", Format::Q4)] {
        let aware = format!("quantize_aware={name}");
        let more = ["steps=150", "n_embd=32", "eval_interval=150", &aware];
        let mut run = create(&dir, name, &more);
        go(&mut run, 1);
        let [trained, stored, exact] = losses(&run, format);
        assert!((exact - trained).abs() < 1e-5, "{exact} {trained}");
        // The file's own arithmetic rounds activations, too.
        assert!((stored / trained - 1.0).abs() < 5e-3, "{stored} {trained}");
    }
}
