//! Whole training steps at every vector width.

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::rng::Rng;
use pulp::Arch;

use super::wide::tests::{choose, widths};
use super::*;
use crate::backend::{Batch, Loss};
use crate::model::{Gpt, GptOptions, PassOptions};
use crate::optimizer::{AdamW, Method};

/// A backend whose threads use the kernels of `arch`.
fn backend(arch: Arch) -> Cpu {
    let pool = ThreadPoolBuilder::new().num_threads(1);
    let pool = pool.start_handler(move |_| choose(arch)).build().unwrap();
    Cpu {
        pool: Some(pool),
        ..Cpu::default()
    }
}

/// Losses, then parameters, of two steps of training.
fn train(arch: Arch, config: Config, batch: Batch, method: Method) -> (Vec<Loss>, Vec<Vec<f32>>) {
    let options = GptOptions {
        seed: 3,
        method,
        ..GptOptions::default()
    };
    let mut model = Gpt::with_options(backend(arch), config, batch, options).unwrap();
    let mut rng = Rng::new(5, 0);
    let mut ids = || -> Vec<u32> {
        let id = |_| rng.next_below(config.n_vocab()) as u32;
        (0..batch.rows()).map(id).collect()
    };
    let losses = (0..2).map(|step| {
        let pass = PassOptions {
            dropout: 0.1,
            seed: 1,
            micro_step: step,
            accumulation: 1,
        };
        let loss = model.accumulate(&ids(), &ids(), pass).unwrap();
        model.update(&AdamW::default(), step + 1).unwrap();
        model.loss(&loss).unwrap()
    });
    (losses.collect(), model.read_parameters().unwrap())
}

#[test]
fn training_is_the_same_bits_at_every_width() {
    let gelu = Hyperparameters {
        n_vocab: 65,
        n_ctx: 70,
        n_embd: 33,
        n_head: 3,
        n_head_kv: 1,
        n_layer: 2,
        n_ff: 77,
        positions: Positions::Learned,
        rope_theta: 10_000.0,
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        bias: true,
        tied_head: true,
    };
    let swiglu = Hyperparameters {
        n_embd: 48,
        n_head: 4,
        n_head_kv: 2,
        positions: Positions::Rope,
        norm: Norm::RmsNorm,
        mlp: Mlp::Swiglu,
        bias: false,
        tied_head: false,
        ..gelu
    };
    let batch = Batch {
        n_batch: 3,
        n_time: 67,
    };
    for (hyper, method) in [(gelu, Method::AdamW), (swiglu, Method::Muon)] {
        let config = Config::new(hyper).unwrap();
        let scalar = train(Arch::Scalar, config, batch, method);
        for arch in widths() {
            let wide = train(arch, config, batch, method);
            assert!(wide == scalar, "{arch:?}");
        }
    }
}
