//! Training steps: batches, accumulation, dropout, the optimiser, and the number of threads.

use minigpt_models::preset;
use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::layout::{self, Role};
use minigpt_runtime::rng::Rng;
use minigpt_trainer::{AdamW, Batch, Cpu, Gpt, IGNORE, PassOptions};

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

fn model(batch: Batch) -> Gpt<Cpu> {
    Gpt::new(Cpu::new(Some(2)), config(), batch, 3)
}

fn assert_close(a: &[Vec<f32>], b: &[Vec<f32>], tolerance: f64) {
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let square = |x: &f32| f64::from(*x).powi(2);
        let length: f64 = b.iter().map(square).sum();
        let distance: f64 = a.iter().zip(b).map(|(a, b)| square(&(a - b))).sum();
        assert!(
            length > 0.0 && (distance / length).sqrt() < tolerance,
            "tensor {i}"
        );
    }
}

#[test]
fn evaluate_is_the_loss_of_accumulate() {
    let (mut model, tokens, mut targets) =
        (model(BATCH), ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    targets[5..40].fill(IGNORE);
    let loss = model.evaluate(&tokens, &targets);
    assert_eq!(model.accumulate(&tokens, &targets, PASS), loss);
    assert_eq!(loss.count, BATCH.rows() - 35);
    assert!(
        (loss.mean() - f64::from(29f32).ln()).abs() < 0.1,
        "{loss:?}"
    );
}

#[test]
fn ignored_targets_alone_leave_no_gradient() {
    let mut model = model(BATCH);
    let loss = model.accumulate(&ids(BATCH.rows(), 1), &vec![IGNORE; BATCH.rows()], PASS);
    assert_eq!((loss.sum, loss.count), (0.0, 0));
    assert!(model.read_gradients().iter().flatten().all(|g| *g == 0.0));
}

#[test]
fn two_halves_accumulate_to_the_whole() {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let mut whole = model(BATCH);
    whole.accumulate(&tokens, &targets, PASS);
    let mut halves = model(Batch {
        n_batch: 2,
        ..BATCH
    });
    let pass = PassOptions {
        accumulation: 2,
        ..PASS
    };
    let n = BATCH.rows() / 2;
    halves.accumulate(&tokens[..n], &targets[..n], pass);
    halves.accumulate(&tokens[n..], &targets[n..], pass);
    assert_close(&halves.read_gradients(), &whole.read_gradients(), 1e-5);
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
    for (config, batch) in batches {
        let run = |threads| {
            let mut model = Gpt::new(Cpu::new(Some(threads)), config, batch, 3);
            let (tokens, targets) = (ids(batch.rows(), 1), ids(batch.rows(), 2));
            let mut losses = Vec::new();
            for step in 0..3 {
                let pass = PassOptions {
                    dropout: 0.1,
                    micro_step: step,
                    ..PASS
                };
                losses.push(model.accumulate(&tokens, &targets, pass));
                losses.last_mut().unwrap().sum +=
                    f64::from(model.update(&AdamW::default(), step + 1));
            }
            (losses, model.read_parameters(), model.read_moments())
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{threads} threads differ from one");
        }
    }
}

#[test]
fn dropout_masks_follow_seed_and_step_and_keep_the_mean() {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let mut model = model(BATCH);
    let mut loss = |seed, micro_step, dropout| {
        let pass = PassOptions {
            dropout,
            seed,
            micro_step,
            ..PASS
        };
        model.accumulate(&tokens, &targets, pass).sum
    };
    assert_eq!(loss(1, 1, 0.2).to_bits(), loss(1, 1, 0.2).to_bits());
    assert!(loss(1, 1, 0.2) != loss(1, 2, 0.2) && loss(1, 1, 0.2) != loss(2, 1, 0.2));
    let mean = (0..30).map(|step| loss(1, step, 0.05)).sum::<f64>() / 30.0;
    assert!((mean / loss(1, 0, 0.0) - 1.0).abs() < 0.01);
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

#[test]
fn updates_follow_the_formula_with_clipping() {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    // The first limit is far below the norm, the second far above.
    for max_norm in [0.01f32, 1e3] {
        let optimizer = AdamW {
            learning_rate: 3e-3,
            weight_decay: 0.3,
            max_norm,
            ..AdamW::default()
        };
        let mut model = model(BATCH);
        let wide = |all: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
            all.iter()
                .map(|all| all.iter().copied().map(f64::from).collect())
                .collect()
        };
        let mut params = wide(model.read_parameters());
        let start = params.clone();
        let mut first: Vec<Vec<f64>> = params.iter().map(|all| vec![0.0; all.len()]).collect();
        let mut second = first.clone();
        for step in 1..=3 {
            model.accumulate(&tokens, &targets, PASS);
            let gradients = wide(model.read_gradients());
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
            let given = model.update(&optimizer, step as u64);
            assert!((f64::from(given) / norm - 1.0).abs() < 1e-5);
            assert!(model.read_gradients().iter().flatten().all(|g| *g == 0.0));
        }
        let updated = wide(model.read_parameters());
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
        assert!(error < 3e-6 && moved > 1.0, "{error} {moved}");
    }
}

#[test]
fn gradients_that_are_not_finite_change_nothing() {
    let mut model = model(BATCH);
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let good = model.read_parameters();
    let mut bad = good.clone();
    bad[1].fill(f32::NAN);
    model.write_parameters(&bad);
    model.accumulate(&tokens, &targets, PASS);
    model.write_parameters(&good);
    assert!(!model.update(&AdamW::default(), 1).is_finite());
    assert!(model.read_parameters() == good);
    assert!(model.read_moments().0.iter().flatten().all(|m| *m == 0.0));
    assert!(model.read_gradients().iter().flatten().all(|g| *g == 0.0));
}

#[test]
fn state_written_and_read_is_the_same_and_continues_the_same() {
    let (tokens, targets) = (ids(BATCH.rows(), 1), ids(BATCH.rows(), 2));
    let step = |model: &mut Gpt<Cpu>, step| {
        model.accumulate(
            &tokens,
            &targets,
            PassOptions {
                dropout: 0.1,
                micro_step: step,
                ..PASS
            },
        );
        model.update(&AdamW::default(), step + 1);
    };
    let mut whole = model(BATCH);
    (0..4).for_each(|i| step(&mut whole, i));
    let mut before = model(BATCH);
    (0..2).for_each(|i| step(&mut before, i));
    let mut after = Gpt::new(Cpu::new(Some(1)), config(), BATCH, 99);
    after.write_parameters(&before.read_parameters());
    let (first, second) = before.read_moments();
    after.write_moments(&first, &second);
    (2..4).for_each(|i| step(&mut after, i));
    assert!(after.read_parameters() == whole.read_parameters());
    assert!(after.read_moments() == whole.read_moments());
}
