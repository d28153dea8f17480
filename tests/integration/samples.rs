//! Texts that a model writes while it learns.

use std::fs;

use minigpt_runtime::format::{Header, Metadata};
use minigpt_runtime::{Format, KvFormat, Sampler, SamplerOptions, SessionOptions, StreamDecoder};
use minigpt_tests::curve;
use minigpt_trainer::Backend;
use minigpt_trainer::checkpoint;
use minigpt_trainer::export::export;
use minigpt_trainer::inference::{AnySession, arena};
use minigpt_trainer::run::Run;
use minigpt_trainer::sample::OPTIONS;
use minigpt_trainer::train::{Observer, train};
use tempfile::TempDir;

use crate::backends::{Tolerance, cpu, on_every_backend};
use crate::training::{create, last_weights};

on_every_backend!(texts_are_written_and_change_nothing_that_is_learned);

#[derive(Default)]
struct Heard(Vec<(u64, String)>);

impl Observer for Heard {
    fn sample(&mut self, step: u64, text: &str) {
        self.0.push((step, text.to_owned()));
    }
}

fn texts_are_written_and_change_nothing_that_is_learned<B: Backend>(
    new: &impl Fn() -> B,
    _: &Tolerance,
) {
    let dir = TempDir::new().unwrap();
    // The average is what writes, in its own format from the middle on, and other weights learn.
    let more = [
        "ema_decay=0.9",
        "quantize_aware=q8",
        "quantize_fraction=0.5",
        "dropout=0.1",
    ];
    let mut silent = create(&dir, "silent", &more);
    train(&mut silent, new(), &mut Heard::default()).unwrap();
    assert!(!silent.samples().exists());
    let mut run = create(&dir, "run", &[&more[..], &["sample_interval=4"]].concat());
    let mut heard = Heard::default();
    train(&mut run, new(), &mut heard).unwrap();
    assert_eq!(curve(run.path()), curve(silent.path()));
    assert_eq!(last_weights(run.path()), last_weights(silent.path()));
    // The text of the last step, 24, is for the finished model to write.
    let steps: Vec<u64> = heard.0.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [4, 8, 12, 16, 20]);
    assert_eq!(fs::read_dir(run.samples()).unwrap().count(), 5);
    for (step, text) in &heard.0 {
        let file = run.samples().join(format!("step-{step:06}.txt"));
        assert_eq!(&fs::read_to_string(file).unwrap(), text);
        // As many characters as tokens, which are as many as the context.
        assert_eq!(text.chars().count(), 16);
    }
    assert!(heard.0[0].1 != heard.0[4].1);
}

/// What the runtime writes in `n` tokens with the weights of the checkpoint of `step`.
fn told(run: &Run, step: u64, n: usize) -> String {
    let path = run.checkpoints().join(checkpoint::name(step));
    let tokenizer = run.tokenizer.view();
    let header = Header {
        hyperparameters: run.config.hyperparameters(),
        format: Format::F32,
        tokenizer,
        metadata: Metadata::default(),
    };
    let parameters = checkpoint::load_parameters(&path, &run.config).unwrap();
    let model = export(&header, &parameters).unwrap();
    let file = model.file().unwrap();
    let options = SessionOptions {
        n_ctx: 0,
        n_chunk: 1,
        kv: KvFormat::F32,
    };
    let mut memory = arena(&file, &options).unwrap();
    let mut session = AnySession::new(&file, memory.bytes_mut(), &options).unwrap();
    let seed = run.settings.training.seed;
    let mut sampler: Sampler = Sampler::new(SamplerOptions { seed, ..OPTIONS }).unwrap();
    let (mut decoder, mut text) = (StreamDecoder::new(), String::new());
    let mut token = tokenizer.beginning();
    for _ in 0..n {
        token = sampler.sample(session.forward(&[token]).unwrap());
        let pushed = decoder.push(&tokenizer, token, &mut |part| text.push_str(part));
        pushed.unwrap();
    }
    text
}

#[test]
fn a_text_is_what_the_runtime_writes_with_the_same_weights() {
    let dir = TempDir::new().unwrap();
    // A context shorter than a text and a longer one; tables of positions and none.
    for (i, shape) in [
        ["n_ctx=16", "positions=learned"],
        ["n_ctx=130", "positions=rope"],
        ["n_ctx=101", "positions=sinusoidal"],
    ]
    .iter()
    .enumerate()
    {
        let often = [
            "sample_interval=6",
            "checkpoint_interval=6",
            "keep_checkpoints=9",
        ];
        let more = [&shape[..], &often, &["steps=12"]].concat();
        let mut run = create(&dir, &i.to_string(), &more);
        let mut heard = Heard::default();
        train(&mut run, cpu(), &mut heard).unwrap();
        let n = run.config.n_ctx().min(100);
        assert_eq!(heard.0, [(6, told(&run, 6, n))]);
    }
}
