//! Training steps: batches, accumulation, dropout, the optimiser, and the number of threads.

use minigpt_models::preset;
use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::layout::{self, Role};
use minigpt_runtime::rng::Rng;
use minigpt_trainer::{
    AdamW, Backend, Batch, Cpu, Gpt, GptOptions, IGNORE, Loss, Method, Part, PassOptions,
};

use crate::backends::{Tolerance, assert_close, on_every_backend};

on_every_backend!(
    evaluate_is_the_loss_of_accumulate,
    ignored_targets_alone_leave_no_gradient,
    two_halves_accumulate_to_the_whole,
    dropout_masks_follow_seed_and_step_and_keep_the_mean,
    updates_follow_the_formula_with_clipping,
    gradients_that_are_not_finite_change_nothing,
    the_average_follows_the_parameters,
    state_written_and_read_is_the_same_and_continues_the_same,
);

const PASS: PassOptions = PassOptions {
    dropout: 0.0,
    seed: 1,
    micro_step: 0,
    accumulation: 1,
};
const BATCH: Batch = Batch {
    n_batch: 4,
    n_time: 37,
};

fn config() -> Config {
    Config::new(Hyperparameters {
        n_vocab: 29,
        n_ctx: 40,
        n_embd: 24,
        n_head: 4,
        n_head_kv: 2,
        n_layer: 2,
        n_ff: 50,
        positions: Positions::Rope,
        rope_theta: 10_000.0,
        norm: Norm::RmsNorm,
        mlp: Mlp::Swiglu,
        bias: true,
        tied_head: false,
    })
    .expect("the sizes divide")
}

fn ids(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed, 9);
    (0..n).map(|_| rng.next_below(29) as u32).collect()
}

fn options(seed: u64, method: Method) -> GptOptions {
    GptOptions {
        seed,
        method,
        ..GptOptions::default()
    }
}

fn model<B: Backend>(new: &impl Fn() -> B, batch: Batch) -> Gpt<B> {
    Gpt::new(new(), config(), batch, 3).unwrap()
}

/// [`Gpt::accumulate`], waited for.
fn accumulate<B: Backend>(
    model: &mut Gpt<B>,
    tokens: &[u32],
    targets: &[u32],
    pass: PassOptions,
) -> Loss {
    let pending = model.accumulate(tokens, targets, pass).unwrap();
    model.loss(&pending).unwrap()
}

/// [`Gpt::evaluate`], waited for.
fn evaluate<B: Backend>(model: &mut Gpt<B>, tokens: &[u32], targets: &[u32]) -> Loss {
    let pending = model.evaluate(tokens, targets).unwrap();
    model.loss(&pending).unwrap()
}

/// [`Gpt::update`], waited for.
fn update<B: Backend>(model: &mut Gpt<B>, optimizer: &AdamW, step: u64) -> f32 {
    let norm = model.update(optimizer, step).unwrap();
    model.norm(&norm).unwrap()
}

fn assert_same(a: Loss, b: Loss, tolerance: &Tolerance) {
    assert_eq!(a.count, b.count);
    let distance = (a.sum / b.sum - 1.0).abs();
    assert!(
        a.sum == b.sum || distance <= tolerance.repeat,
        "{distance:e}"
    );
}

fn evaluate_is_the_loss_of_accumulate<B: Backend>(new: &impl Fn() -> B, tolerance: &Tolerance) {
    let (mut model, tokens, mut targets) = (
        model(new, BATCH),
        ids(BATCH.rows(), 1),
        ids(BATCH.rows(), 2),
    );
    targets[5..40].fill(IGNORE);
    let loss = evaluate(&mut model, &tokens, &targets);
    assert_same(
        accumulate(&mut model, &tokens, &targets, PASS),
        loss,
        tolerance,
    );
    assert_eq!(loss.count, BATCH.rows() - 35);
    assert!(
        (loss.mean() - f64::from(29f32).ln()).abs() < 0.3,
        "{loss:?}"
    );
    // Without weights every token is as likely as any other.
    let values = model.read_parameters().unwrap();
    let zeros: Vec<_> = values
        .iter()
        .map(|values| vec![0.0; values.len()])
        .collect();
    model.write_parameters(&zeros).unwrap();
    let loss = evaluate(&mut model, &tokens, &targets);
    assert!(
        (loss.mean() - f64::from(29f32).ln()).abs() < 1e-5,
        "{loss:?}"
    );
}

fn ignored_targets_alone_leave_no_gradient<B: Backend>(new: &impl Fn() -> B, _: &Tolerance) {
    let mut model = model(new, BATCH);
    let loss = accumulate(
        &mut model,
        &ids(BATCH.rows(), 1),
        &vec![IGNORE; BATCH.rows()],
        PASS,
    );
    assert_eq!((loss.sum, loss.count), (0.0, 0));
    assert!(
        model
            .read_gradients()
            .unwrap()
            .iter()
            .flatten()
            .all(|g| *g == 0.0)
    );
}

fn two_halves_accumulate_to_the_whole<B: Backend>(new: &impl Fn() -> B, tolerance: &Tolerance) {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let mut whole = model(new, BATCH);
    accumulate(&mut whole, &tokens, &targets, PASS);
    let mut halves = model(
        new,
        Batch {
            n_batch: 2,
            ..BATCH
        },
    );
    let pass = PassOptions {
        accumulation: 2,
        ..PASS
    };
    let n = BATCH.rows() / 2;
    accumulate(&mut halves, &tokens[..n], &targets[..n], pass);
    accumulate(&mut halves, &tokens[n..], &targets[n..], pass);
    assert_close(
        &halves.read_gradients().unwrap(),
        &whole.read_gradients().unwrap(),
        tolerance.order,
    );
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    // The `tiny` preset in small, and a shape with nothing round about it, both with dropout.
    let tiny = preset("tiny").unwrap().hyperparameters(65);
    let tiny = Config::new(Hyperparameters { n_layer: 1, ..tiny }).unwrap();
    let batches = [
        (
            tiny,
            Batch {
                n_batch: 3,
                n_time: 128,
            },
        ),
        (config(), BATCH),
    ];
    for ((config, batch), method) in batches.into_iter().zip([Method::AdamW, Method::Muon]) {
        let run = |threads| {
            let cpu = Cpu::new(Some(threads));
            let mut model = Gpt::with_options(cpu, config, batch, options(3, method)).unwrap();
            let (tokens, targets) = (ids(batch.rows(), 1), ids(batch.rows(), 2));
            let mut losses = Vec::new();
            for step in 0..3 {
                let pass = PassOptions {
                    dropout: 0.1,
                    micro_step: step,
                    ..PASS
                };
                losses.push(accumulate(&mut model, &tokens, &targets, pass));
                losses.last_mut().unwrap().sum +=
                    f64::from(update(&mut model, &AdamW::default(), step + 1));
            }
            (
                losses,
                model.read_parameters().unwrap(),
                model.read_moments().unwrap(),
            )
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{threads} threads differ from one");
        }
    }
}

fn dropout_masks_follow_seed_and_step_and_keep_the_mean<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let mut model = model(new, BATCH);
    let mut loss = |seed, micro_step, dropout| {
        let pass = PassOptions {
            dropout,
            seed,
            micro_step,
            ..PASS
        };
        accumulate(&mut model, &tokens, &targets, pass)
    };
    assert_same(loss(1, 1, 0.2), loss(1, 1, 0.2), tolerance);
    let different = |a: Loss, b: Loss| (a.sum / b.sum - 1.0).abs() > 1e-6 + 10.0 * tolerance.repeat;
    assert!(different(loss(1, 1, 0.2), loss(1, 2, 0.2)));
    assert!(different(loss(1, 1, 0.2), loss(2, 1, 0.2)));
    let mean = (0..30).map(|step| loss(1, step, 0.05).sum).sum::<f64>() / 30.0;
    assert!((mean / loss(1, 0, 0.0).sum - 1.0).abs() < 0.01);
}

/// [`AdamW`]'s formula in `f64`, one value at a time.
fn adamw(p: &mut f64, g: f64, m: &mut f64, v: &mut f64, o: &AdamW, step: i32, decays: bool) {
    let wide = |x: f32| f64::from(x);
    let (beta1, beta2, rate) = (wide(o.beta1), wide(o.beta2), wide(o.learning_rate));
    *m = beta1 * *m + (1.0 - beta1) * g;
    *v = beta2 * *v + (1.0 - beta2) * g * g;
    let (m, v) = (*m / (1.0 - beta1.powi(step)), *v / (1.0 - beta2.powi(step)));
    if decays {
        *p *= 1.0 - rate * wide(o.weight_decay);
    }
    *p -= rate * m / (v.sqrt() + wide(o.eps));
}

fn updates_follow_the_formula_with_clipping<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    // The first limit is far below the norm, the second far above.
    for max_norm in [0.01f32, 1e3] {
        let optimizer = AdamW {
            learning_rate: 3e-3,
            weight_decay: 0.3,
            max_norm,
            ..AdamW::default()
        };
        let mut model = model(new, BATCH);
        let wide = |all: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
            all.iter()
                .map(|all| all.iter().copied().map(f64::from).collect())
                .collect()
        };
        let mut params = wide(model.read_parameters().unwrap());
        let start = params.clone();
        let mut first: Vec<Vec<f64>> = params.iter().map(|all| vec![0.0; all.len()]).collect();
        let mut second = first.clone();
        for step in 1..=3 {
            accumulate(&mut model, &tokens, &targets, PASS);
            let gradients = wide(model.read_gradients().unwrap());
            let norm = gradients
                .iter()
                .flatten()
                .map(|g| g * g)
                .sum::<f64>()
                .sqrt();
            let clip = (f64::from(max_norm) / norm).min(1.0);
            for (i, spec) in layout::tensors(&config()).enumerate() {
                for j in 0..spec.len() {
                    let (m, v) = (&mut first[i][j], &mut second[i][j]);
                    let (g, decays) = (gradients[i][j] * clip, spec.role == Role::Matrix);
                    adamw(&mut params[i][j], g, m, v, &optimizer, step, decays);
                }
            }
            let given = update(&mut model, &optimizer, step as u64);
            assert!((f64::from(given) / norm - 1.0).abs() < tolerance.order);
            assert!(
                model
                    .read_gradients()
                    .unwrap()
                    .iter()
                    .flatten()
                    .all(|g| *g == 0.0)
            );
        }
        let updated = wide(model.read_parameters().unwrap());
        let (mut error, mut moved) = (0.0f64, 0.0);
        for ((updated, expected), start) in updated
            .iter()
            .flatten()
            .zip(params.iter().flatten())
            .zip(start.iter().flatten())
        {
            error = error.max((updated - expected).abs());
            moved += (updated - start).abs();
        }
        // Gradients near zero lose digits to `eps`, hence relative to the step of 3e-3.
        let limit = tolerance.update * f64::from(optimizer.learning_rate);
        assert!(error < limit && moved > 1.0, "{error} {moved}");
    }
}

fn gradients_that_are_not_finite_change_nothing<B: Backend>(new: &impl Fn() -> B, _: &Tolerance) {
    let mut model = model(new, BATCH);
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let good = model.read_parameters().unwrap();
    let mut bad = good.clone();
    bad[1].fill(f32::NAN);
    model.write_parameters(&bad).unwrap();
    accumulate(&mut model, &tokens, &targets, PASS);
    model.write_parameters(&good).unwrap();
    assert!(!update(&mut model, &AdamW::default(), 1).is_finite());
    assert!(model.read_parameters().unwrap() == good);
    assert!(
        model
            .read_moments()
            .unwrap()
            .0
            .iter()
            .flatten()
            .all(|m| *m == 0.0)
    );
    assert!(
        model
            .read_gradients()
            .unwrap()
            .iter()
            .flatten()
            .all(|g| *g == 0.0)
    );
}

fn the_average_follows_the_parameters<B: Backend>(new: &impl Fn() -> B, tolerance: &Tolerance) {
    let mut model = model(new, BATCH);
    assert_eq!(model.read_average().unwrap(), None);
    let mut expected: Vec<Vec<f64>> = Vec::new();
    for (step, decay) in [(1, 0.3f32), (2, 0.75), (3, 0.9)] {
        let (tokens, targets) = (ids(BATCH.rows(), step), ids(BATCH.rows(), 7));
        accumulate(&mut model, &tokens, &targets, PASS);
        update(&mut model, &AdamW::default(), step);
        model.average(decay).unwrap();
        let keep = if step == 1 { 0.0 } else { f64::from(decay) };
        let params = model.read_parameters().unwrap();
        expected.resize(params.len(), Vec::new());
        for (expected, params) in expected.iter_mut().zip(&params) {
            expected.resize(params.len(), 0.0);
            for (expected, param) in expected.iter_mut().zip(params) {
                *expected = keep * *expected + (1.0 - keep) * f64::from(*param);
            }
        }
    }
    let average = model.read_average().unwrap().unwrap();
    for (average, expected) in average.iter().flatten().zip(expected.iter().flatten()) {
        assert!((f64::from(*average) - expected).abs() < 1e-6 + tolerance.repeat);
    }
    let params = model.read_parameters().unwrap();
    model.swap_average();
    assert!(model.read_parameters().unwrap() == average);
    assert!(model.read_average().unwrap() == Some(params));
}

fn state_written_and_read_is_the_same_and_continues_the_same<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let step = |model: &mut Gpt<B>, step| {
        accumulate(
            model,
            &tokens,
            &targets,
            PassOptions {
                dropout: 0.1,
                micro_step: step,
                ..PASS
            },
        );
        update(model, &AdamW::default(), step + 1);
    };
    for method in [Method::AdamW, Method::Muon] {
        let model =
            |seed| Gpt::with_options(new(), config(), BATCH, options(seed, method)).unwrap();
        let mut whole = model(3);
        (0..4).for_each(|i| step(&mut whole, i));
        let mut before = model(3);
        (0..2).for_each(|i| step(&mut before, i));
        let mut after = model(99);
        let n_tensors = layout::tensors(&config()).count();
        for part in [Part::Parameters, Part::FirstMoments, Part::SecondMoments] {
            for index in 0..n_tensors {
                let values = before.read_array(part, index).unwrap();
                after.write_array(part, index, &values).unwrap();
            }
        }
        (2..4).for_each(|i| step(&mut after, i));
        let same = |a: &[Vec<f32>], b: &[Vec<f32>]| assert_close(a, b, tolerance.repeat);
        let parameters = whole.read_parameters().unwrap();
        same(&after.read_parameters().unwrap(), &parameters);
        let (mut after, mut whole) = (after.read_moments().unwrap(), whole.read_moments().unwrap());
        same(&after.0, &whole.0);
        // Muon keeps no second moments of its matrices.
        for second in [&mut after.1, &mut whole.1] {
            second.retain(|values| !values.is_empty());
        }
        same(&after.1, &whole.1);
    }
}
