//! The trainer's batched forward pass against the runtime's cached one.

use minigpt_runtime::format::{Header, Metadata};
use minigpt_runtime::{Config, Format, Hyperparameters, KvFormat, SessionOptions};
use minigpt_trainer::backend::Batch;
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::export::{ExportError, export};
use minigpt_trainer::inference::{AnySession, ModelBytes, arena};
use minigpt_trainer::tokenizer::OwnedTokenizer;

use crate::backends::cpu;
use crate::gradients::{Case, configs};

fn exported(case: &Case, format: Format) -> Result<ModelBytes, ExportError> {
    let tokenizer = OwnedTokenizer::chars("abc").unwrap();
    let header = Header {
        hyperparameters: case.config.hyperparameters(),
        format,
        tokenizer: tokenizer.view(),
        metadata: Metadata::default(),
    };
    export(&header, &case.params)
}

/// Logits of the first sequence, token by token.
fn runtime_logits(model: &ModelBytes, tokens: &[u32], kv: KvFormat) -> Vec<f32> {
    let file = model.file().unwrap();
    let options = SessionOptions {
        n_ctx: 0,
        n_chunk: 4,
        kv,
    };
    let mut memory = arena(&file, &options).unwrap();
    let mut session = AnySession::new(&file, memory.bytes_mut(), &options).unwrap();
    let mut all = Vec::new();
    let each = |_, logits: &[f32]| all.extend_from_slice(logits);
    session.forward_each(tokens, each).unwrap();
    all
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .fold(0.0, |max, (a, b)| max.max((a - b).abs()))
}

#[test]
fn trainer_and_runtime_give_the_same_logits() {
    for (seed, config) in configs() {
        let hyper = Hyperparameters {
            n_vocab: 67,
            n_ctx: 33,
            ..config.hyperparameters()
        };
        let batch = Batch {
            n_batch: 1,
            n_time: [1, 7, 33][seed as usize % 3],
        };
        let case = Case::new(Config::new(hyper).unwrap(), batch, 100 + seed);
        let trainer = case.model(cpu()).logits(&case.tokens).unwrap();
        let logits =
            |format, kv| runtime_logits(&exported(&case, format).unwrap(), &case.tokens, kv);
        let f32 = logits(Format::F32, KvFormat::F32);
        assert!(largest_difference(&trainer, &f32) < 1e-4, "{config:?}");
        // Weights and keys of 11 bits, and of 8: wrong by their precision and no more.
        let half_keys = logits(Format::F32, KvFormat::F16);
        assert!(largest_difference(&f32, &half_keys) < 0.05, "{config:?}");
        let half = logits(Format::F16, KvFormat::F32);
        assert!(largest_difference(&f32, &half) < 0.05, "{config:?}");
        let q8 = logits(Format::Q8, KvFormat::F32);
        let (error, size) = (
            largest_difference(&f32, &q8),
            largest_difference(&f32, &vec![0.0; f32.len()]),
        );
        assert!(error < 0.15 * size, "{config:?}: {error} of {size}");
    }
}

#[test]
fn trainer_and_runtime_measure_the_same_loss() {
    let (_, config) = configs().nth(5).unwrap();
    let n_time = config.n_ctx();
    let case = Case::new(config, Batch { n_batch: 1, n_time }, 9);
    let mut targets = case.tokens[1..].to_vec();
    targets.push(minigpt_trainer::IGNORE);
    let mut trained = case.model(cpu());
    let loss = trained.evaluate(&case.tokens, &targets).unwrap();
    let loss = trained.loss(&loss).unwrap();
    let model = exported(&case, Format::F32).unwrap();
    let sums = evaluate(&model.file().unwrap(), &case.tokens, KvFormat::F32, |_| {}).unwrap();
    assert_eq!(sums.tokens, n_time - 1);
    let mean = loss.sum / loss.count as f64;
    assert!((sums.loss() - mean).abs() < 1e-5, "{} {mean}", sums.loss());
}

#[test]
fn values_that_are_no_numbers_are_not_exported() {
    let (_, config) = configs().next().unwrap();
    let mut case = Case::new(
        config,
        Batch {
            n_batch: 1,
            n_time: 1,
        },
        0,
    );
    case.params[3][2] = f32::NAN;
    let error = exported(&case, Format::Q8).unwrap_err();
    assert!(matches!(error, ExportError::NotFinite { index: 2, .. }));
    case.params[3].pop();
    let error = exported(&case, Format::Q8).unwrap_err();
    assert!(matches!(error, ExportError::Length { .. }));
}
