//! Muon, on every backend, against its definition in `f64`.

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::layout;
use minigpt_runtime::rng::Rng;
use minigpt_trainer::optimizer::Rule;
use minigpt_trainer::{
    AdamW, Backend, Batch, Gpt, GptOptions, Method, Muon, Optimizer, PassOptions,
};

use crate::backends::{Tolerance, on_every_backend};

on_every_backend!(updates_follow_the_formula);

const BATCH: Batch = Batch {
    n_batch: 2,
    n_time: 9,
};

/// Width, query heads, heads of keys and values, width of the MLP and its kind: wide, tall and square
/// matrices, of one row or column, and across the edges of whatever a backend may use.
const SHAPES: [(u32, u32, u32, u32, Mlp); 6] = [
    (1, 1, 1, 7, Mlp::Gelu),
    (33, 3, 1, 7, Mlp::Swiglu),
    (65, 1, 1, 130, Mlp::Gelu),
    (48, 4, 2, 48, Mlp::Relu),
    (32, 2, 2, 100, Mlp::ReluSquared),
    (16, 1, 1, 3, Mlp::Swiglu),
];

fn config((n_embd, n_head, n_head_kv, n_ff, mlp): (u32, u32, u32, u32, Mlp)) -> Config {
    let shape = Hyperparameters {
        n_vocab: 11,
        n_ctx: 9,
        n_embd,
        n_head,
        n_head_kv,
        n_layer: 2,
        n_ff,
        positions: Positions::Learned,
        rope_theta: 10_000.0,
        norm: Norm::LayerNorm,
        mlp,
        bias: true,
        tied_head: true,
    };
    Config::new(shape).unwrap()
}

/// `a b`, `a` `[n, m]`, `b` `[m, k]`.
fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let (n, k) = (a.len() / m, b.len() / m);
    let sum = |i: usize, j: usize| (0..m).map(|l| a[i * m + l] * b[l * k + j]).sum();
    (0..n * k).map(|at| sum(at / k, at % k)).collect()
}

fn transposed(a: &[f64], cols: usize) -> Vec<f64> {
    let rows = a.len() / cols;
    let from = |at: usize| a[at % rows * cols + at / rows];
    (0..a.len()).map(from).collect()
}

/// The definition of `orthogonal(u)`, where everything that is multiplied is rounded by `round`.
fn orthogonal(u: &[f64], cols: usize, round: fn(f64) -> f64) -> Vec<f64> {
    let rows = u.len() / cols;
    if rows > cols {
        return transposed(&orthogonal(&transposed(u, cols), rows, round), rows);
    }
    let length = u.iter().map(|u| u * u).sum::<f64>().sqrt() + f64::from(Muon::EPS);
    let mut x: Vec<f64> = u.iter().map(|u| round(u / length)).collect();
    let [a, b, c] = Muon::COEFFICIENTS.map(f64::from);
    for _ in 0..Muon::ITERATIONS {
        let s = product(&x, &transposed(&x, cols), cols);
        let s: Vec<f64> = s.into_iter().map(round).collect();
        let square = product(&s, &s, rows);
        let polynomial: Vec<f64> = s
            .iter()
            .zip(&square)
            .map(|(s, q)| round(b * s + c * q))
            .collect();
        let more = product(&polynomial, &x, rows);
        for (x, more) in x.iter_mut().zip(more) {
            *x = round(a * *x + more);
        }
    }
    x
}

/// One step of [`Muon`] on a matrix.
fn step(p: &mut [f64], m: &mut [f64], g: &[f64], cols: usize, muon: &Muon, round: fn(f64) -> f64) {
    let [rate, momentum, decay] =
        [muon.learning_rate, muon.momentum, muon.weight_decay].map(f64::from);
    let mixed = |m: f64, g: f64| momentum * m + (1.0 - momentum) * g;
    m.iter_mut().zip(g).for_each(|(m, g)| *m = mixed(*m, *g));
    let u: Vec<f64> = m.iter().zip(g).map(|(m, g)| mixed(*m, *g)).collect();
    let scale = 0.2 * (cols.max(p.len() / cols) as f64).sqrt();
    for (p, u) in p.iter_mut().zip(orthogonal(&u, cols, round)) {
        *p = *p * (1.0 - rate * decay) - rate * scale * u;
    }
}

fn updates_follow_the_formula<B: Backend>(new: &impl Fn() -> B, tolerance: &Tolerance) {
    let adamw = AdamW {
        max_norm: 0.05, // far below the norm
        ..AdamW::default()
    };
    let muon = Muon {
        learning_rate: 0.02,
        momentum: 0.9,
        weight_decay: 0.3,
    };
    let wide = |all: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
        let wide = |all: Vec<f32>| all.into_iter().map(f64::from).collect();
        all.into_iter().map(wide).collect()
    };
    for shape in SHAPES {
        let config = config(shape);
        let options = GptOptions {
            seed: 3,
            method: Method::Muon,
            ..GptOptions::default()
        };
        let mut model = Gpt::with_options(new(), config, BATCH, options).unwrap();
        let mut rng = Rng::new(5, 0);
        let mut ids = || -> Vec<u32> { (0..18).map(|_| rng.next_below(11) as u32).collect() };
        let mut params = wide(model.read_parameters().unwrap());
        let mut momenta: Vec<_> = params.iter().map(|p| vec![0.0; p.len()]).collect();
        for number in 1..=3 {
            let pass = PassOptions {
                dropout: 0.0,
                seed: 1,
                micro_step: 0,
                accumulation: 1,
            };
            model.accumulate(&ids(), &ids(), pass).unwrap();
            let mut gradients = wide(model.read_gradients().unwrap());
            let norm = model.update(Optimizer { adamw, muon }, number).unwrap();
            let clip = f64::from(adamw.max_norm / model.norm(&norm).unwrap());
            gradients.iter_mut().flatten().for_each(|g| *g *= clip);
            let updated = wide(model.read_parameters().unwrap());
            let limit = tolerance.orthogonal * f64::from(muon.learning_rate);
            let mut checked = 0;
            for (i, spec) in layout::tensors(&config).enumerate() {
                let Rule::Muon { rows, cols } = Rule::of(&spec, &config, Method::Muon) else {
                    continue;
                };
                let mut from = 0;
                for rows in rows {
                    let part = from..from + rows * cols;
                    let (p, m) = (&mut params[i][part.clone()], &mut momenta[i][part.clone()]);
                    step(
                        p,
                        m,
                        &gradients[i][part.clone()],
                        cols,
                        &muon,
                        tolerance.factor,
                    );
                    for (p, updated) in p.iter().zip(&updated[i][part]) {
                        let distance = (p - updated).abs() / f64::from(Muon::scale(rows, cols));
                        assert!(distance < limit, "{} {shape:?}: {distance}", spec.id);
                        checked += 1;
                    }
                    from += rows * cols;
                }
            }
            assert!(checked > 0);
            // The next step begins where the model is, so that rounding does not add up.
            params = updated;
            let (first, second) = model.read_moments().unwrap();
            momenta = wide(first);
            for (spec, second) in layout::tensors(&config).zip(second) {
                let rule = Rule::of(&spec, &config, Method::Muon);
                assert_eq!(second.len(), rule.second_len(spec.len()));
            }
        }
    }
}
