//! Windows drawn on a GPU or a simulated one: those of the CPU, at the price of two calls of the driver a step.

use std::collections::BTreeMap;

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::rng::Rng;
use minigpt_tests::gpu;
use minigpt_trainer::backend::{Ahead, Dropout, Kind, Shape};
use minigpt_trainer::data::token_file::TokenFile;
use minigpt_trainer::data::windows::{Draw, WindowBatch};
use minigpt_trainer::metrics::Metrics;
use minigpt_trainer::train::{Observer, train};
use minigpt_trainer::{Backend, Batch};
use tempfile::TempDir;

use crate::backends::{cpu, cuda};
use crate::training::create;

/// `n` tokens of a vocabulary of `n_vocab`; documents of up to `longest` tokens begin with token 0.
pub(crate) fn tokens(dir: &TempDir, n: usize, n_vocab: usize, longest: usize) -> TokenFile {
    let mut rng = Rng::new(n as u64, 1);
    let mut tokens = Vec::new();
    while tokens.len() < n {
        tokens.push(0);
        let length = rng.next_below(longest);
        tokens.extend((0..length).map(|_| 1 + rng.next_below(n_vocab - 1) as u32));
    }
    let name = format!("{n}-{n_vocab}-{longest}");
    TokenFile::create(dir.path(), &name, &tokens[..n], n_vocab).unwrap();
    TokenFile::open(dir.path(), &name, n_vocab).unwrap()
}

pub(crate) fn shape(n_vocab: usize, n_batch: usize, n_time: usize) -> Shape {
    let config = Config::new(Hyperparameters {
        n_vocab: n_vocab as u32,
        n_ctx: n_time as u32,
        n_embd: 1,
        n_head: 1,
        n_head_kv: 1,
        n_layer: 1,
        n_ff: 1,
        positions: Positions::Learned,
        rope_theta: 1.0,
        norm: Norm::RmsNorm,
        mlp: Mlp::Relu,
        bias: false,
        tied_head: true,
    });
    Shape {
        config: config.unwrap(),
        batch: Batch { n_batch, n_time },
    }
}

/// Tokens and targets of the passes `steps`, read by way of an embedding of width 1 whose rows are the ids.
fn drawn<B: Backend>(
    mut backend: B,
    file: &TokenFile,
    bos: Option<u32>,
    shape: &Shape,
    steps: &[u64],
) -> Vec<Vec<u32>> {
    let (n_vocab, rows) = (shape.config.n_vocab(), shape.batch.rows());
    let mut table = backend.buffer(n_vocab, Kind::Parameter).unwrap();
    let numbers: Vec<f32> = (0..n_vocab).map(|id| id as f32).collect();
    backend.write(&mut table, &numbers).unwrap();
    let mut out = backend.buffer(rows, Kind::State).unwrap();
    let (mut tokens, mut targets) = (backend.ids(rows).unwrap(), backend.ids(rows).unwrap());
    let corpus = backend.corpus(file).unwrap();
    let mut all = Vec::new();
    for &micro_step in steps {
        let draw = Draw {
            bos,
            seed: 7,
            micro_step,
        };
        let (read, said) = (&mut tokens, &mut targets);
        backend.draw(read, said, &corpus, &draw, shape).unwrap();
        for ids in [&tokens, &targets] {
            let embedded = backend.embed_forward(&mut out, ids, &table, None, shape, Dropout::OFF);
            embedded.unwrap();
            let values = backend.read(&out).unwrap();
            all.push(values.iter().map(|id| *id as u32).collect());
        }
    }
    all
}

#[test]
fn windows_are_those_of_the_cpu() {
    let Some(cuda) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let steps: Vec<u64> = (0..40).chain([1 << 20, (1 << 40) + 3]).collect();
    // Texts of one window and of many; windows shorter and longer than a block has threads; tokens of two
    // bytes and of four; documents shorter and longer than a window.
    for (n, n_vocab, longest, n_batch, n_time) in [
        (8, 5, 3, 3, 7),
        (1000, 300, 20, 5, 33),
        (5000, 70_000, 700, 2, 257),
        (9000, 65_536, 4000, 3, 600),
    ] {
        let file = tokens(&dir, n, n_vocab, longest);
        let shape = shape(n_vocab, n_batch, n_time);
        for bos in [None, Some(0), Some(n_vocab as u32 - 1)] {
            let own = drawn(cuda(), &file, bos, &shape, &steps);
            assert!(
                own == drawn(cpu(), &file, bos, &shape, &steps),
                "{n} {bos:?}"
            );
            let mut batch = WindowBatch::new(n_batch, n_time);
            for (own, &micro_step) in own.chunks(2).zip(&steps) {
                let draw = Draw {
                    bos,
                    seed: 7,
                    micro_step,
                };
                batch.draw(&file, &draw);
                assert!(own[0] == batch.tokens && own[1] == batch.targets);
            }
        }
    }
}

/// What changed of a count of calls.
fn since(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let counts = now.iter().filter(|(name, _)| *name != "waiting");
    let made = counts.map(|(name, n)| (name.clone(), n - before.get(name).unwrap_or(&0)));
    made.filter(|(_, n)| *n > 0).collect()
}

/// The calls of each step.
#[derive(Default)]
struct Calls {
    last: BTreeMap<String, u64>,
    steps: Vec<BTreeMap<String, u64>>,
    waiting: Vec<u64>,
}

impl Observer for Calls {
    fn step(&mut self, _: &Metrics) {
        let now = gpu::calls().unwrap();
        self.steps.push(since(&self.last, &now));
        self.waiting.push(now["waiting"]);
        self.last = now;
    }
}

#[test]
fn a_step_is_one_graph_and_one_launch_that_brings_its_numbers() {
    let Some(new) = cuda().filter(|_| gpu::calls().is_some()) else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let far = Ahead {
        steps: 5,
        seconds: f64::INFINITY,
    };
    let count = |names: &[(&str, u64)]| -> BTreeMap<String, u64> {
        names
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    let one = count(&[
        ("cuLaunchKernel", 1),
        ("cuGraphLaunch", 1),
        ("cuEventRecord", 1),
        ("cuEventSynchronize", 1),
    ]);
    let two = count(&[
        ("cuLaunchKernel", 2),
        ("cuGraphLaunch", 2),
        ("cuEventRecord", 2),
        ("cuEventSynchronize", 1),
    ]);
    let often = [
        "eval_interval=100",
        "checkpoint_interval=100",
        "dropout=0.1",
    ];
    let cases: [(&[&str], _, _); 4] = [
        (&[], false, &one),
        (&["ema_decay=0.9", "tokenizer=byte"], false, &one),
        (&["optimizer=muon"], true, &one),
        (&["accumulation=2"], false, &two),
    ];
    for (i, (more, recompute, expected)) in cases.into_iter().enumerate() {
        let mut run = create(&dir, &i.to_string(), &[&often, more].concat());
        let mut calls = Calls::default();
        train(&mut run, new().with_ahead(far), recompute, &mut calls).unwrap();
        // The first steps take memory and record graphs; behind the last one there is nothing to ask for.
        for step in 12..19 {
            assert_eq!(
                &calls.steps[step - 1],
                expected,
                "step {step} with {more:?}"
            );
        }
        // A loss was waited for, and not the steps behind it.
        assert!(calls.waiting[11..18].iter().all(|waiting| *waiting > 0));
        assert_eq!(calls.waiting[23], 0);
    }
}
