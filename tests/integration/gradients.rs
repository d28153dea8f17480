//! Every backend against the reference model: logits, gradients, dropout.

use std::collections::BTreeSet;

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::layout::{self, Role, TensorSpec};
use minigpt_runtime::rng::{self, Rng};
use minigpt_tests::reference::Reference;
use minigpt_trainer::{Backend, Batch, Gpt, IGNORE, PassOptions};

use crate::backends::{Tolerance, on_every_backend};

on_every_backend!(
    gradients_match_differences_in_every_option,
    gradients_match_across_blocks_and_chunks,
    gradients_match_across_blocks_of_logits_and_parts_of_the_vocabulary,
    dropout_gradients_match_with_the_masks_fixed,
    logits_match_the_reference,
);

const PASS: PassOptions = PassOptions {
    dropout: 0.0,
    seed: 0,
    micro_step: 0,
    accumulation: 1,
};

/// A model with random parameters, and a random batch for it.
pub(crate) struct Case {
    pub(crate) config: Config,
    pub(crate) batch: Batch,
    pub(crate) params: Vec<Vec<f32>>,
    pub(crate) tokens: Vec<u32>,
    targets: Vec<u32>,
}

impl Case {
    pub(crate) fn new(config: Config, batch: Batch, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let mut tensor = |spec: TensorSpec| -> Vec<f32> {
            let norm_weight = spec.role == Role::Vector && spec.id.to_string().ends_with("weight");
            let (centre, spread) = match spec.role {
                Role::Matrix => (0.0, 2.5 / (spec.cols as f32).sqrt()),
                _ => (f32::from(u8::from(norm_weight)), 0.6),
            };
            let value = |_| centre + spread * (rng.next_unit() - 0.5);
            (0..spec.len()).map(value).collect()
        };
        let params = layout::tensors(&config).map(&mut tensor).collect();
        let mut id = || rng.next_below(config.n_vocab()) as u32;
        let tokens = (0..batch.rows()).map(|_| id()).collect();
        let targets = (0..batch.rows()).map(|i| if i % 5 == 3 { IGNORE } else { id() });
        Self {
            config,
            batch,
            params,
            tokens,
            targets: targets.collect(),
        }
    }

    pub(crate) fn model<B: Backend>(&self, backend: B) -> Gpt<B> {
        let mut model = Gpt::new(backend, self.config, self.batch, 0).unwrap();
        model.write_parameters(&self.params).unwrap();
        model
    }

    /// What its passes should say; [`IGNORE`] in places.
    pub(crate) fn targets(&self) -> &[u32] {
        &self.targets
    }

    fn params_f64(&self) -> Vec<Vec<f64>> {
        let wide = |values: &Vec<f32>| values.iter().copied().map(f64::from).collect();
        self.params.iter().map(wide).collect()
    }
}

const BASE: Hyperparameters = Hyperparameters {
    n_vocab: 19,
    n_ctx: 9,
    n_embd: 12,
    n_head: 2,
    n_head_kv: 2,
    n_layer: 2,
    n_ff: 17,
    positions: Positions::Learned,
    rope_theta: 100.0,
    norm: Norm::LayerNorm,
    mlp: Mlp::Gelu,
    bias: true,
    tied_head: true,
};

/// Every value of every option, each pair of options in most of their values.
pub(crate) fn configs() -> impl Iterator<Item = (u64, Config)> {
    let positions = [Positions::Learned, Positions::Sinusoidal, Positions::Rope];
    let mlps = [Mlp::Gelu, Mlp::Swiglu, Mlp::Relu, Mlp::ReluSquared];
    (0..24u64).map(move |i| {
        let n = i as usize;
        let n_head_kv = [4, 2, 1][(n + n / 3) % 3];
        let hyper = Hyperparameters {
            n_head: 4,
            n_head_kv,
            n_embd: [8, 24, 12][n / 4 % 3],
            positions: positions[n % 3],
            norm: [Norm::LayerNorm, Norm::RmsNorm][n % 2],
            mlp: mlps[n / 3 % 4],
            bias: [false, true][n / 2 % 2],
            tied_head: [false, true][n / 4 % 2],
            ..BASE
        };
        let odd_head = hyper.n_embd / hyper.n_head % 2 == 1 && hyper.positions == Positions::Rope;
        let n_embd = if odd_head { 24 } else { hyper.n_embd };
        let hyper = Hyperparameters { n_embd, ..hyper };
        (i, Config::new(hyper).expect("the sizes divide"))
    })
}

/// Relative distance of analytic and numeric derivatives of one tensor: along some coordinates and
/// along two random directions.
fn tensor_error(
    gradient: &[f32],
    params: &mut [Vec<f64>],
    tensor: usize,
    seed: u64,
    loss: &dyn Fn(&[Vec<f64>]) -> f64,
) -> f64 {
    // Small, so that hardly a direction crosses the kink of a ReLU.
    const STEP: f64 = 1e-6;
    let (n, mut rng) = (gradient.len(), Rng::new(seed, tensor as u64));
    let coordinates = (0..10.min(n)).map(|i| {
        let at = if n <= 10 { i } else { rng.next_below(n) };
        let mut direction = vec![0.0; n];
        direction[at] = 1.0;
        direction
    });
    let mut directions: Vec<Vec<f64>> = coordinates.collect();
    directions.extend((0..2).map(|_| {
        let value = |_| f64::from(rng.next_unit()) - 0.5;
        (0..n).map(value).collect()
    }));
    let (mut difference, mut length) = (0.0, 0.0);
    for direction in directions {
        let mut at = |step: f64| {
            let kept = params[tensor].clone();
            for (value, d) in params[tensor].iter_mut().zip(&direction) {
                *value += step * d;
            }
            let loss = loss(params);
            params[tensor] = kept;
            loss
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let analytic = gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| f64::from(*g) * d);
        difference += (analytic.sum::<f64>() - numeric).powi(2);
        length += numeric.powi(2);
    }
    (difference / length).sqrt()
}

fn assert_gradients<B: Backend>(
    case: &Case,
    pass: PassOptions,
    mask: Option<&dyn Fn(usize, usize) -> f64>,
    backend: B,
    tolerance: &Tolerance,
) {
    let mut model = case.model(backend);
    let loss = model.accumulate(&case.tokens, &case.targets, pass).unwrap();
    let loss = model.loss(&loss).unwrap();
    let gradients = model.read_gradients().unwrap();
    let config = &case.config;
    let reference = |params: &[Vec<f64>]| {
        let model = Reference {
            config,
            params,
            mask,
        };
        model.loss(&case.tokens, &case.targets, case.batch.n_time)
    };
    let mut params = case.params_f64();
    let expected = reference(&params);
    assert!(
        (loss.mean() - expected).abs() < tolerance.loss,
        "{} {expected}",
        loss.mean()
    );
    for (i, spec) in layout::tensors(config).enumerate() {
        let error = tensor_error(&gradients[i], &mut params, i, 7, &reference);
        assert!(
            error < tolerance.gradient,
            "{}: {error:e} in {config:?}",
            spec.id
        );
    }
}

fn gradients_match_differences_in_every_option<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    for (seed, config) in configs() {
        let batch = Batch {
            n_batch: 2,
            n_time: [9, 7, 1][(seed % 3) as usize].max(3),
        };
        let case = Case::new(config, batch, seed);
        assert_gradients(&case, PASS, None, new(), tolerance);
    }
}

fn gradients_match_across_blocks_and_chunks<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    // More rows than a chunk, more positions than a block of queries, an odd head.
    let hyper = Hyperparameters {
        n_embd: 33,
        n_head: 1,
        n_head_kv: 1,
        n_ctx: 70,
        n_layer: 1,
        ..BASE
    };
    let config = Config::new(hyper).unwrap();
    let batch = Batch {
        n_batch: 2,
        n_time: 67,
    };
    let case = Case::new(config, batch, 3);
    assert_gradients(&case, PASS, None, new(), tolerance);
}

/// A vocabulary so large that logits exist for one chunk of rows at a time and that a part of the
/// embedding's gradient is many rows, and more rows than one sum of outer products takes. One
/// random direction for each tensor: the reference takes a while.
fn gradients_match_across_blocks_of_logits_and_parts_of_the_vocabulary<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    const STEP: f64 = 1e-6;
    let hyper = Hyperparameters {
        n_vocab: 65_600,
        n_embd: 8,
        n_head: 1,
        n_head_kv: 1,
        n_ctx: 100,
        n_layer: 1,
        bias: false,
        tied_head: false,
        ..BASE
    };
    let config = Config::new(hyper).unwrap();
    let batch = Batch {
        n_batch: 3,
        n_time: 100,
    };
    let mut case = Case::new(config, batch, 4);
    // Some tokens often: their rows add up over the whole batch.
    for token in case.tokens.iter_mut().step_by(3) {
        *token %= 5;
    }
    let mut model = case.model(new());
    let loss = model.accumulate(&case.tokens, &case.targets, PASS).unwrap();
    let loss = model.loss(&loss).unwrap();
    let gradients = model.read_gradients().unwrap();
    let mut params = case.params_f64();
    let reference = |params: &[Vec<f64>]| {
        let config = &config;
        let model = Reference {
            config,
            params,
            mask: None,
        };
        model.loss(&case.tokens, &case.targets, batch.n_time)
    };
    assert!((loss.mean() - reference(&params)).abs() < tolerance.loss);
    for (i, spec) in layout::tensors(&config).enumerate() {
        let mut rng = Rng::new(i as u64, 1);
        let random = |_| f64::from(rng.next_unit()) - 0.5;
        let direction: Vec<f64> = (0..spec.len()).map(random).collect();
        let kept = params[i].clone();
        let mut at = |step: f64| {
            for ((value, kept), d) in params[i].iter_mut().zip(&kept).zip(&direction) {
                *value = kept + step * d;
            }
            reference(&params)
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        params[i] = kept;
        let values = gradients[i].iter().copied().map(f64::from);
        let length = values.clone().map(|g| g * g).sum::<f64>().sqrt();
        let analytic: f64 = values.zip(&direction).map(|(g, d)| g * d).sum();
        // The spread of a gradient's product with random numbers between -1/2 and 1/2.
        let error = (analytic - numeric).abs() / (length / 12f64.sqrt());
        assert!(error < tolerance.gradient, "{}: {error:e}", spec.id);
    }
}

fn dropout_gradients_match_with_the_masks_fixed<B: Backend>(
    new: &impl Fn() -> B,
    tolerance: &Tolerance,
) {
    let case = Case::new(
        Config::new(BASE).unwrap(),
        Batch {
            n_batch: 2,
            n_time: 7,
        },
        5,
    );
    let pass = PassOptions {
        dropout: 0.3,
        seed: 11,
        micro_step: 4,
        ..PASS
    };
    let mask = |site: usize, element: usize| {
        let stream = (1 << 63) | (pass.micro_step * 5 + site as u64);
        let unit = rng::unit(rng::random(pass.seed, stream, element as u64));
        if unit < pass.dropout {
            0.0
        } else {
            1.0 / (1.0 - f64::from(pass.dropout))
        }
    };
    assert_gradients(&case, pass, Some(&mask), new(), tolerance);
}

fn logits_match_the_reference<B: Backend>(new: &impl Fn() -> B, tolerance: &Tolerance) {
    let sizes = [(1, 1), (3, 7), (2, 33), (1, 130)];
    for ((seed, config), (n_batch, n_time)) in configs().zip(sizes.into_iter().cycle()) {
        let hyper = Hyperparameters {
            n_vocab: 65,
            n_ctx: 130,
            ..config.hyperparameters()
        };
        let config = Config::new(hyper).unwrap();
        let case = Case::new(config, Batch { n_batch, n_time }, seed);
        let params = case.params_f64();
        let expected = Reference {
            config: &config,
            params: &params,
            mask: None,
        }
        .logits(&case.tokens, n_time);
        let logits = case.model(new()).logits(&case.tokens).unwrap();
        for (logit, expected) in logits.iter().zip(expected) {
            let distance = (f64::from(*logit) - expected).abs();
            assert!(distance < tolerance.logit, "{config:?}");
        }
    }
}

#[test]
fn configurations_hold_every_pair_of_option_values() {
    let values = |config: &Config| {
        [
            format!("{:?}", config.positions()),
            format!("{:?}", config.norm()),
            format!("{:?}", config.mlp()),
            format!("bias {}", config.bias()),
            format!("tied {}", config.tied_head()),
            format!("kv {}", config.n_head_kv()),
        ]
    };
    let mut pairs = BTreeSet::new();
    for (_, config) in configs() {
        let values = values(&config);
        for (i, a) in values.iter().enumerate() {
            pairs.extend(values[i + 1..].iter().map(|b| (a.clone(), b.clone())));
        }
    }
    let sizes = [3, 2, 4, 2, 2, 3];
    let total: usize = sizes.iter().sum();
    let same: usize = sizes.iter().map(|n| n * n).sum();
    assert_eq!(pairs.len(), (total * total - same) / 2, "{pairs:?}");
}
