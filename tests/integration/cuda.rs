//! The CUDA backend against the CPU's, on a GPU or a simulated one: every step in every option and at
//! odd sizes, whole trainings, and what only it can do wrong.

use std::env;
use std::process::Command;

use minigpt_runtime::Format;
use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::rng::Rng;
use minigpt_tests::gpu;
use minigpt_trainer::backend::Shape;
use minigpt_trainer::backend::cuda::{Cuda, Demands};
use minigpt_trainer::{AdamW, Backend, BackendError, Batch, Gpt, GptOptions, Method, PassOptions};

use crate::backends::{cpu, cuda};
use crate::cuda_draw::shape;
use crate::gradients::{Case, configs};

/// Relative distance of `a` from `b`.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f32| f64::from(x).powi(2);
    let length: f64 = b.iter().map(|x| square(*x)).sum();
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / length.max(1e-30)).sqrt()
}

/// Loss and gradients of a pass on `case`.
pub(crate) fn pass<B: Backend>(case: &Case, backend: B, dropout: f32) -> (f64, Vec<Vec<f32>>) {
    let mut model = case.model(backend);
    let options = PassOptions {
        dropout,
        seed: 3,
        micro_step: 5,
        accumulation: 2,
    };
    let loss = model
        .accumulate(&case.tokens, case.targets(), options)
        .unwrap();
    let gradients = model.read_gradients().unwrap();
    (model.loss(&loss).unwrap().mean(), gradients)
}

fn assert_same_pass(case: &Case, cuda: Cuda, dropout: f32) {
    let (own, expected) = (pass(case, cuda, dropout), pass(case, cpu(), dropout));
    assert!(
        (own.0 / expected.0 - 1.0).abs() < 3e-3,
        "{} {}",
        own.0,
        expected.0
    );
    // Rounding takes some values across the kink of a ReLU, where the derivative jumps.
    let limit = match case.config.mlp() {
        Mlp::Relu => 0.2,
        _ => 0.06,
    };
    for (i, (own, expected)) in own.1.iter().zip(&expected.1).enumerate() {
        let distance = distance(own, expected);
        assert!(
            distance < limit,
            "tensor {i}: {distance:e} in {:?}",
            case.config
        );
    }
}

pub(crate) fn wider(config: Config, n_embd: u32, n_ff: u32) -> Hyperparameters {
    Hyperparameters {
        n_vocab: 67,
        n_ctx: 140,
        n_embd,
        n_ff,
        ..config.hyperparameters()
    }
}

/// Every option, in widths and times of all kinds.
pub(crate) fn cases() -> impl Iterator<Item = (u64, Case)> {
    let times = [1, 7, 33, 64, 70];
    configs().map(move |(i, config)| {
        // Multiples of 8, and none: addresses of rows are aligned, and not.
        let hyper = match i % 2 {
            0 => wider(config, 64, 136),
            _ => wider(config, 40, 77),
        };
        let batch = Batch {
            n_batch: 3,
            n_time: times[i as usize % times.len()],
        };
        (i, Case::new(Config::new(hyper).unwrap(), batch, i))
    })
}

#[test]
fn a_pass_is_the_same_in_every_option() {
    let Some(cuda) = cuda() else {
        return;
    };
    for (i, case) in cases() {
        assert_same_pass(&case, cuda(), if i % 3 == 0 { 0.2 } else { 0.0 });
    }
}

#[test]
fn a_pass_is_the_same_with_heads_of_every_kernel() {
    let Some(cuda) = cuda() else {
        return;
    };
    let (_, config) = configs().next().unwrap();
    for (i, size) in [1, 16, 17, 32, 33, 64, 65, 128].into_iter().enumerate() {
        let hyper = Hyperparameters {
            n_head: 2,
            n_head_kv: 1 + i as u32 % 2,
            positions: Positions::Learned,
            n_layer: 1,
            ..wider(config, 2 * size, 24)
        };
        let batch = Batch {
            n_batch: 1,
            n_time: 131,
        };
        let case = Case::new(Config::new(hyper).unwrap(), batch, 7);
        assert_same_pass(&case, cuda(), 0.0);
    }
}

#[test]
fn heads_beyond_the_kernels_are_refused() {
    let Some(_) = cuda() else {
        return;
    };
    let (_, config) = configs().next().unwrap();
    let hyper = Hyperparameters {
        n_head: 1,
        n_head_kv: 1,
        ..wider(config, 130, 24)
    };
    let found = Cuda::find(0).unwrap();
    let error = Cuda::supports(&found, &Config::new(hyper).unwrap()).unwrap_err();
    assert!(matches!(error, BackendError::Unsupported { .. }));
    assert!(error.to_string().contains("130 values"), "{error}");
}

/// Losses of 20 steps on a text that can be learned.
fn losses<B: Backend>(backend: B, config: Config, method: Method) -> Vec<f64> {
    let batch = Batch {
        n_batch: 4,
        n_time: 33,
    };
    let options = GptOptions {
        seed: 3,
        method,
        ..GptOptions::default()
    };
    let mut model = Gpt::with_options(backend, config, batch, options).unwrap();
    let mut rng = Rng::new(8, 0);
    let mut losses = Vec::new();
    for step in 0..20 {
        let starts = (0..batch.n_batch).map(|_| rng.next_below(1000));
        let text = |i: usize| ((i * i / 3 + i % 7) % 29) as u32;
        let at: Vec<usize> = starts
            .flat_map(|start| start..start + batch.n_time)
            .collect();
        let tokens: Vec<u32> = at.iter().map(|i| text(*i)).collect();
        let targets: Vec<u32> = at.iter().map(|i| text(i + 1)).collect();
        let options = PassOptions {
            dropout: 0.1,
            seed: 1,
            micro_step: step,
            accumulation: 1,
        };
        let optimizer = AdamW {
            learning_rate: 3e-3,
            ..AdamW::default()
        };
        let loss = model.accumulate(&tokens, &targets, options).unwrap();
        model.update(&optimizer, step + 1).unwrap();
        losses.push(model.loss(&loss).unwrap().mean());
    }
    losses
}

#[test]
fn twenty_steps_have_the_losses_of_the_cpu_and_repeat_bit_for_bit() {
    let Some(cuda) = cuda() else {
        return;
    };
    let gelu = Hyperparameters {
        n_vocab: 29,
        n_ctx: 40,
        n_embd: 48,
        n_head: 3,
        n_head_kv: 3,
        n_layer: 2,
        n_ff: 100,
        positions: Positions::Learned,
        rope_theta: 10_000.0,
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        bias: true,
        tied_head: true,
    };
    let swiglu = Hyperparameters {
        n_head_kv: 1,
        positions: Positions::Rope,
        norm: Norm::RmsNorm,
        mlp: Mlp::Swiglu,
        bias: false,
        tied_head: false,
        ..gelu
    };
    for (hyper, method) in [(gelu, Method::AdamW), (swiglu, Method::Muon)] {
        let config = Config::new(hyper).unwrap();
        let own = losses(cuda(), config, method);
        let expected = losses(cpu(), config, method);
        for (step, (own, expected)) in own.iter().zip(&expected).enumerate() {
            assert!(
                (own / expected - 1.0).abs() < 0.02,
                "step {step}: {own} {expected}"
            );
        }
        assert!(own[19] < own[0] - 0.1, "{own:?}");
        assert_eq!(own, losses(cuda(), config, method));
    }
}

#[test]
fn memory_is_what_was_said() {
    let Some(cuda) = cuda() else {
        return;
    };
    for (i, config) in configs().step_by(5) {
        let config = Config::new(wider(config, 64, 200)).unwrap();
        let batch = Batch {
            n_batch: 3,
            n_time: config.n_ctx(),
        };
        let demands = Demands {
            method: if i % 10 < 5 {
                Method::AdamW
            } else {
                Method::Muon
            },
            averaged: i % 4 == 0,
            recompute: i % 2 == 1,
            rounded: i % 3 == 2,
            cublaslt: false,
        };
        let options = GptOptions {
            method: demands.method,
            recompute: demands.recompute,
            ..GptOptions::default()
        };
        let mut model = Gpt::with_options(cuda(), config, batch, options).unwrap();
        model.round_to(demands.rounded.then_some(Format::Q4));
        // Tables, which are the same for all models.
        let Shape {
            config: smallest,
            batch: one,
        } = shape(1, 1, 1);
        let fixed = Gpt::new(cuda(), smallest, one, 1).unwrap().bytes();
        let ids = vec![1; batch.rows()];
        let options = PassOptions {
            dropout: 0.1,
            seed: 1,
            micro_step: 0,
            accumulation: 1,
        };
        model.accumulate(&ids, &ids, options).unwrap();
        model.update(&AdamW::default(), 1).unwrap();
        if demands.averaged {
            model.average(0.9).unwrap();
        }
        let used = (model.bytes() - fixed) as f64;
        let found = Cuda::find(0).unwrap();
        let said = found.needed(&config, batch.n_batch, demands) as f64;
        assert!(
            (1.0..1.05).contains(&(said / used)),
            "{said} {used} {demands:?} {config:?}"
        );
    }
}

/// Tests of this file again, in a process with the environment `given`.
pub(crate) fn again(tests: &[&str], given: &[(&str, &str)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(tests).args(["--exact", "--test-threads", "1"]);
    let output = command.envs(given.iter().copied()).output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{error}");
    let ran = format!("{} passed", tests.len());
    assert!(out.contains(&ran), "{out}");
}

const ALL_KERNELS: [&str; 6] = [
    "cuda::a_pass_is_the_same_in_every_option",
    "cuda::a_pass_is_the_same_with_heads_of_every_kernel",
    "cuda_draw::windows_are_those_of_the_cpu",
    "muon::cuda::updates_follow_the_formula",
    "steps::cuda::the_average_follows_the_parameters",
    "steps::cuda::updates_follow_the_formula_with_clipping",
];

#[test]
fn simulated_threads_may_run_in_any_order() {
    if gpu::simulator().is_some() {
        again(&ALL_KERNELS, &[("MINIGPT_SHUFFLE", "7")]);
    }
}

#[test]
fn simulated_kernels_stay_within_their_memory() {
    if gpu::simulator().is_none() {
        return;
    }
    let library = Command::new("g++")
        .arg("-print-file-name=libasan.so")
        .output()
        .unwrap();
    let library = String::from_utf8(library.stdout).unwrap();
    let environment = [
        ("MINIGPT_SANITIZE", "address"),
        ("LD_PRELOAD", library.trim()),
        ("ASAN_OPTIONS", "detect_leaks=0"),
    ];
    let library = ["cuda_lt::a_pass_is_that_of_our_own_products"];
    again(&[&ALL_KERNELS[..], &library].concat(), &environment);
}
