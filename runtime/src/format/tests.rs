use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::arena::{KvFormat, MemoryPlan, SessionOptions};
use crate::bytes::Buffer;
use crate::config::{Mlp, Norm, Positions};
use crate::quant::{F16, F32, Q8};
use crate::rng::Rng;
use crate::session::{Session, SessionError};

const SMALL: Hyperparameters = Hyperparameters {
    n_vocab: 256,
    n_ctx: 9,
    n_embd: 12,
    n_head: 6,
    n_head_kv: 3,
    n_layer: 2,
    n_ff: 33,
    positions: Positions::Rope,
    rope_theta: 10000.0,
    norm: Norm::RmsNorm,
    mlp: Mlp::Swiglu,
    bias: false,
    tied_head: true,
};

fn file(hyperparameters: Hyperparameters, format: Format) -> Buffer {
    let header = Header {
        hyperparameters,
        format,
        tokenizer: Tokenizer::Byte,
        metadata: Metadata {
            name: "small",
            bits_per_byte: Some(2.5),
            made_by: "a test",
        },
    };
    let mut file = Buffer::new(file_bytes(&header).unwrap() as usize);
    let mut rng = Rng::new(3, 0);
    write::<WriteError>(file.bytes(), &header, |spec, place| {
        let values: Vec<f32> = (0..spec.len()).map(|_| rng.next_unit() - 0.5).collect();
        let format = spec.stored_format(format);
        format.encode(place, &values, spec.cols);
        Ok(())
    })
    .unwrap();
    file
}

#[test]
fn what_is_written_is_read() {
    for format in Format::ALL {
        let mut file = file(SMALL, format);
        let opened = ModelFile::open(file.bytes()).unwrap();
        opened.verify().unwrap();
        assert_eq!(opened.config().hyperparameters(), SMALL);
        assert_eq!(opened.header().metadata.name, "small");
        assert_eq!(
            (opened.format(), opened.tokenizer().n_vocab()),
            (format, 256)
        );
        assert_eq!(opened.weights.as_ptr().addr() % 16, 0);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut file = file(SMALL, Format::Q8);
    let bytes = file.bytes();
    for n in 0..bytes.len() {
        assert!(ModelFile::open(&bytes[..n]).is_err(), "{n}");
    }
}

#[test]
fn every_flipped_bit_is_found_and_none_panics() {
    let mut file = file(SMALL, Format::Q8);
    let bytes = file.bytes();
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(opened) = ModelFile::open(bytes) {
            let found = matches!(opened.verify(), Err(LoadError::Checksum { .. }));
            assert!(found, "bit {bit}");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    ModelFile::open(bytes).unwrap().verify().unwrap();
}

#[test]
fn damaged_weights_still_run() {
    let mut file = file(SMALL, Format::Q8);
    let middle = file.bytes().len() / 2;
    file.bytes()[middle..].fill(0xFF);
    let options = SessionOptions::DEFAULT;
    assert_eq!(
        logits::<Q8>(&mut file, options, &[&[1, 2, 3]]).len(),
        3 * 256
    );
}

#[test]
fn errors_say_what_to_do() {
    let mut small = file(SMALL, Format::Q8);
    let bytes = small.bytes();
    let message = |bytes: &[u8]| ModelFile::open(bytes).unwrap_err().to_string();
    assert!(message(b"GGUF....").starts_with("not a minigpt model"));
    assert!(message(b"").starts_with("not a minigpt model"));
    assert!(message(b"MGP").starts_with("the file is cut short"));
    bytes[4] = 9;
    assert!(message(bytes).starts_with("the file has version 9 and this program reads version 1"));
    bytes[4] = VERSION;
    let mut other = Buffer::new(bytes.len() + 4);
    other.bytes()[4..].copy_from_slice(bytes);
    assert!(message(&other.bytes()[4..]).contains("4 bytes past a multiple of 16"));
    let mut other = Buffer::new(bytes.len() + 4);
    other.bytes()[..bytes.len()].copy_from_slice(bytes);
    assert!(message(other.bytes()).starts_with("4 bytes too many"));
    let error = ModelFile::open(bytes).unwrap().model::<F16>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the weights are stored as q8 and f16 was asked for"
    );
}

/// Logits after each token of `calls`.
fn logits<W: WeightFormat>(
    file: &mut Buffer,
    options: SessionOptions,
    calls: &[&[u32]],
) -> Vec<f32> {
    let opened = ModelFile::open(file.bytes()).unwrap();
    let plan = MemoryPlan::new(opened.config(), W::FORMAT, &options);
    let mut memory = Buffer::new(plan.total() as usize);
    // Whatever lay there before must not matter.
    memory.bytes().fill(0xFF);
    let model = opened.model::<W>().unwrap();
    let mut session = Session::new(model, memory.bytes(), &options).unwrap();
    let mut all = Vec::new();
    for call in calls {
        let each = |_, logits: &[f32]| all.extend_from_slice(logits);
        session.forward_each(call, each).unwrap();
    }
    all
}

fn chunking_changes_nothing<W: WeightFormat>(hyper: Hyperparameters, kv: KvFormat) {
    let mut file = file(hyper, W::FORMAT);
    let options = |n_chunk| SessionOptions {
        n_ctx: 8,
        n_chunk,
        kv,
    };
    let single: [&[u32]; 7] = [&[5], &[250], &[7], &[7], &[0], &[9], &[1]];
    let expected = logits::<W>(&mut file, options(1), &single);
    let divisions: [&[&[u32]]; 3] = [
        &[&[5, 250, 7, 7, 0, 9, 1]],
        &[&[5], &[250, 7, 7, 0], &[9, 1]],
        &[&[5, 250, 7], &[7, 0, 9, 1]],
    ];
    for n_chunk in [1, 2, 3, 7, 100] {
        for calls in divisions {
            let seen = logits::<W>(&mut file, options(n_chunk), calls);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&seen), bits(&expected), "{hyper:?} {kv:?} {n_chunk}");
        }
    }
}

#[test]
fn chunked_equals_one_by_one_to_the_bit() {
    let gpt2 = Hyperparameters {
        positions: Positions::Learned,
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        bias: true,
        tied_head: false,
        ..SMALL
    };
    let plain = Hyperparameters {
        positions: Positions::Sinusoidal,
        mlp: Mlp::ReluSquared,
        ..SMALL
    };
    for hyper in [SMALL, gpt2, plain] {
        for kv in [KvFormat::F32, KvFormat::F16] {
            chunking_changes_nothing::<F32>(hyper, kv);
            chunking_changes_nothing::<F16>(hyper, kv);
            chunking_changes_nothing::<Q8>(hyper, kv);
        }
    }
}

#[test]
fn the_arena_is_checked() {
    let mut file = file(SMALL, Format::Q8);
    let opened = ModelFile::open(file.bytes()).unwrap();
    let model = opened.model::<Q8>().unwrap();
    let options = SessionOptions::DEFAULT;
    let len = MemoryPlan::new(opened.config(), Format::Q8, &options).total() as usize;
    let mut memory = Buffer::new(len);
    let error = Session::new(model, &mut memory.bytes()[..len - 1], &options).unwrap_err();
    let too_small = SessionError::ArenaTooSmall {
        needed: len as u64,
        given: len as u64 - 1,
    };
    assert_eq!(error, too_small);
    let error = Session::new(model, &mut memory.bytes()[1..], &options).unwrap_err();
    assert_eq!(error, SessionError::ArenaMisaligned { offset: 1 });
}

#[test]
fn sessions_reset_truncate_slide_and_fill_up() {
    let mut file = file(SMALL, Format::Q8);
    let opened = ModelFile::open(file.bytes()).unwrap();
    let model = opened.model::<Q8>().unwrap();
    let options = SessionOptions {
        n_ctx: 6,
        ..SessionOptions::DEFAULT
    };
    let plan = MemoryPlan::new(opened.config(), Format::Q8, &options);
    let mut memory = Buffer::new(plan.total() as usize);
    let mut session = Session::new(model, memory.bytes(), &options).unwrap();
    let first = session.forward(&[1, 2, 3]).unwrap().to_vec();
    assert_eq!(session.forward(&[]).unwrap_err(), SessionError::NoTokens);
    let unknown = SessionError::UnknownToken {
        token: 256,
        n_vocab: 256,
    };
    assert_eq!(session.forward(&[4, 256]).unwrap_err(), unknown);
    let full = SessionError::ContextFull {
        n_ctx: 6,
        position: 3,
        added: 4,
    };
    assert_eq!(session.forward(&[4; 4]).unwrap_err(), full);
    assert_eq!(session.position(), 3);
    session.forward(&[9, 9, 9]).unwrap();
    session.truncate(2);
    assert_eq!(session.forward(&[3]).unwrap(), first);
    session.reset();
    assert_eq!(session.forward(&[1, 2, 3]).unwrap(), first);

    session.reset();
    let mut history = [1, 2, 3, 4, 5, 6];
    session.forward(&history).unwrap();
    let (kept, logits) = session.slide(&mut history, 1).unwrap();
    let slid = logits.to_vec();
    assert_eq!(history[..kept], [1, 4, 5, 6]);
    assert_eq!(session.position(), 4);
    session.reset();
    assert_eq!(session.forward(&[1, 4, 5, 6]).unwrap(), slid);
}
