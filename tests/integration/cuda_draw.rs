//! Windows drawn on a GPU or a simulated one: those of the CPU, at the price of two calls of the driver a step.

use core::panic::AssertUnwindSafe;
use std::collections::BTreeMap;
use std::env;
use std::panic::catch_unwind;

use minigpt_runtime::config::{Config, Hyperparameters, Mlp, Norm, Positions};
use minigpt_runtime::rng::Rng;
use minigpt_tests::gpu;
use minigpt_trainer::backend::{Ahead, Dropout, Kind, Shape};
use minigpt_trainer::data::token_file::TokenFile;
use minigpt_trainer::data::windows::{Draw, WindowBatch};
use minigpt_trainer::metrics::Metrics;
use minigpt_trainer::train::{Observer, train};
use minigpt_trainer::{Backend, Batch, Gpt, PassOptions};
use tempfile::TempDir;

use crate::backends::{cpu, cuda};
use crate::cuda::again;
use crate::training::create;

/// `n` tokens of a vocabulary of `n_vocab`; documents of up to `longest` tokens begin with token 0.
fn tokens(dir: &TempDir, n: usize, n_vocab: usize, longest: usize) -> TokenFile {
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

fn shape(n_vocab: usize, n_batch: usize, n_time: usize) -> Shape {
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

/// Loss of a pass on what is drawn, and on the same windows from the host.
fn both<B: Backend>(
    model: &mut Gpt<B>,
    file: &TokenFile,
    corpus: &B::Corpus,
    micro_step: u64,
) -> [f64; 2] {
    let batch = model.batch();
    let options = PassOptions {
        dropout: 0.1,
        seed: 5,
        micro_step,
        accumulation: 1,
    };
    let draw = Draw {
        bos: Some(0),
        seed: 5,
        micro_step,
    };
    let own = model.accumulate_drawn(corpus, Some(0), options).unwrap();
    let own = model.loss(&own).unwrap();
    let mut windows = WindowBatch::new(batch.n_batch, batch.n_time);
    windows.draw(file, &draw);
    let given = model.accumulate(&windows.tokens, &windows.targets, options);
    let given = model.loss(&given.unwrap()).unwrap();
    assert_eq!(own.count, given.count);
    [own.sum, given.sum]
}

const LITTLE: (&str, &str) = ("MINIGPT_FAKE_MEMORY", "8000000");

#[test]
fn tokens_give_way_to_the_model_and_stay_away_where_there_is_no_room() {
    let Some(new) = cuda().filter(|_| gpu::simulator().is_some()) else {
        return;
    };
    if env::var_os(LITTLE.0).is_none() {
        let name = "cuda_draw::tokens_give_way_to_the_model_and_stay_away_where_there_is_no_room";
        return again(&[name], &[LITTLE]);
    }
    let dir = TempDir::new().unwrap();
    let Shape { config, batch } = shape(3_000, 1, 5);
    let mut model = Gpt::new(new(), config, batch, 1).unwrap();
    let before = model.bytes();
    // Two bytes a token, and a quarter of 8 MB may be taken.
    let small = tokens(&dir, 400_000, 3_000, 9);
    let large = tokens(&dir, 1_200_000, 3_000, 9);
    let resident = model.corpus(&small).unwrap();
    assert_eq!(model.bytes(), before + 800_000);
    let absent = model.corpus(&large).unwrap();
    assert_eq!(model.bytes(), before + 800_000);
    let same = |model: &mut Gpt<_>| {
        for step in 0..3 {
            let [own, given] = both(model, &small, &resident, step);
            assert_eq!(own.to_bits(), given.to_bits());
            let [own, given] = both(model, &large, &absent, step);
            assert_eq!(own.to_bits(), given.to_bits());
        }
    };
    same(&mut model);
    // Another one leaves less than an average takes: six bytes a parameter.
    let (kept, mut other) = (model.bytes(), new());
    let free = other.free() as usize;
    let _held = other.buffer((free - 9_000) / 4, Kind::State).unwrap();
    model.average(0.9).unwrap();
    let average = model.bytes() + 800_000 - kept;
    assert!((18_000..20_000).contains(&average), "{average}");
    same(&mut model);
}

#[test]
fn tokens_that_outlive_the_model_are_given_back() {
    let Some(new) = cuda().filter(|_| gpu::simulator().is_some()) else {
        return;
    };
    // Alone, so that nobody else takes memory.
    if env::var_os(LITTLE.0).is_none() {
        let name = "cuda_draw::tokens_that_outlive_the_model_are_given_back";
        return again(&[name], &[LITTLE]);
    }
    let dir = TempDir::new().unwrap();
    let free = new().free();
    let Shape { config, batch } = shape(3_000, 1, 5);
    let mut model = Gpt::new(new(), config, batch, 1).unwrap();
    let before = model.bytes();
    let corpus = model.corpus(&tokens(&dir, 400_000, 3_000, 9)).unwrap();
    assert_eq!(model.bytes(), before + 800_000);
    drop(model);
    drop(corpus);
    assert_eq!(new().free(), free);
}

#[test]
fn tokens_that_do_not_suit_the_model_are_not_read() {
    let Some(new) = cuda() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let Shape { config, batch } = shape(30, 2, 7);
    let mut model = Gpt::new(new(), config, batch, 1).unwrap();
    let mut refused = |n, n_vocab| {
        let file = tokens(&dir, n, n_vocab, 5);
        let options = PassOptions {
            dropout: 0.0,
            seed: 1,
            micro_step: 0,
            accumulation: 1,
        };
        let drawn = catch_unwind(AssertUnwindSafe(|| {
            let corpus = model.corpus(&file).unwrap();
            model.accumulate_drawn(&corpus, None, options).unwrap();
        }));
        let panic = drawn.err()?;
        let said = panic.downcast_ref::<String>().cloned();
        said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()))
    };
    assert_eq!(refused(8, 30), None);
    assert!(refused(7, 30).unwrap().contains("shorter than a window"));
    assert!(refused(80, 31).unwrap().contains("a corpus of 31 tokens"));
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
    let cases: [(&[&str], _); 4] = [
        (&[], &one),
        (&["ema_decay=0.9", "tokenizer=byte"], &one),
        (&["optimizer=muon", "recompute=on"], &one),
        (&["accumulation=2"], &two),
    ];
    for (i, (more, expected)) in cases.into_iter().enumerate() {
        let mut run = create(&dir, &i.to_string(), &[&often, more].concat());
        let mut calls = Calls::default();
        train(&mut run, new().with_ahead(far), &mut calls).unwrap();
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
