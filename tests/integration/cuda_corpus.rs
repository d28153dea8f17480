//! Tokens on a GPU or a simulated one: when they lie there, when they give way, and which are refused.

use core::panic::AssertUnwindSafe;
use std::env;
use std::panic::catch_unwind;

use minigpt_tests::gpu;
use minigpt_trainer::backend::{Kind, Memory, Shape};
use minigpt_trainer::data::token_file::TokenFile;
use minigpt_trainer::data::windows::{Draw, WindowBatch};
use minigpt_trainer::{Backend, Gpt, PassOptions};
use tempfile::TempDir;

use crate::backends::cuda;
use crate::cuda::again;
use crate::cuda_draw::{shape, tokens};

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
        let name = "cuda_corpus::tokens_give_way_to_the_model_and_stay_away_where_there_is_no_room";
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
        let name = "cuda_corpus::tokens_that_outlive_the_model_are_given_back";
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
