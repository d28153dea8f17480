use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::arena::{KvFormat, MemoryPlan, SessionOptions};
use crate::bytes::Buffer;
use crate::config::{Hyperparameters, Mlp, Norm, Positions};
use crate::format::ModelFile;
use crate::format::tests::{SMALL, file};
use crate::kernels::tests::{bits, every_isa, fresh_seed};
use crate::layout::{Tensor, TensorId};
use crate::model::ReadError;
use crate::quant::{F16, F32, Format, Q4, Q8, Q8Dsp, WeightFormat};
use crate::rng::Rng;

/// Logits after each token of `calls`.
fn logits<W: WeightFormat>(
    file: &mut Buffer,
    options: SessionOptions,
    calls: &[&[u32]],
) -> Vec<f32> {
    logits_by::<W>(Isa::detect(), file, options, calls)
}

fn logits_by<W: WeightFormat>(
    isa: Isa,
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
    let mut session = Session::with_isa(model, memory.bytes(), &options, isa).unwrap();
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
            assert_eq!(bits(&seen), bits(&expected), "{hyper:?} {kv:?} {n_chunk}");
        }
    }
}

/// A shape of every kind: rope, with biases and gates that a matrix can be cut behind, GPT-2's, sinusoids.
fn shapes() -> [Hyperparameters; 4] {
    let gated = Hyperparameters {
        n_ff: 36,
        bias: true,
        ..SMALL
    };
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
    [SMALL, gated, gpt2, plain]
}

#[test]
fn chunked_equals_one_by_one_to_the_bit() {
    for hyper in shapes() {
        for kv in KvFormat::ALL {
            chunking_changes_nothing::<F32>(hyper, kv);
            chunking_changes_nothing::<F16>(hyper, kv);
            chunking_changes_nothing::<Q8>(hyper, kv);
            chunking_changes_nothing::<Q8Dsp>(hyper, kv);
            chunking_changes_nothing::<Q4>(hyper, kv);
        }
    }
}

#[test]
fn steps_of_any_size_give_the_bits_of_a_pass() {
    let mut rng = Rng::new(fresh_seed(), 0);
    for (hyper, kv) in shapes()
        .into_iter()
        .flat_map(|a| KvFormat::ALL.map(|b| (a, b)))
    {
        let mut file = file(hyper, Format::Q8);
        let options = SessionOptions {
            n_ctx: 8,
            n_chunk: 3,
            kv,
        };
        let calls: [&[u32]; 3] = [&[5, 250, 7], &[7], &[0, 9]];
        let expected = logits::<Q8>(&mut file, options, &calls);
        let opened = ModelFile::open(file.bytes()).unwrap();
        let mut memory = Buffer::new(16384);
        memory.bytes().fill(0x55);
        let model = opened.model::<Q8>().unwrap();
        let mut session = Session::new(model, memory.bytes(), &options).unwrap();
        let rows: Vec<_> = expected.chunks(hyper.n_vocab as usize).collect();
        let mut done = 0;
        for call in calls {
            done += call.len();
            // One that is begun and dropped leaves nothing behind.
            session.begin(&[1, 2]).unwrap();
            session.step(100).unwrap();
            session.begin(call).unwrap();
            let budget = 1 << rng.next_below(16);
            let stepped = loop {
                if let Some(logits) = session.step(budget).unwrap() {
                    break bits(logits);
                }
            };
            assert!(
                stepped == bits(rows[done - 1]),
                "{hyper:?}, {kv:?}, {budget}"
            );
            assert_eq!(session.position(), done);
            assert_eq!(session.step(1).unwrap_err(), SessionError::NotBegun);
        }
        let too_long = SessionError::ChunkTooLong {
            n_chunk: 3,
            given: 4,
        };
        session.reset();
        assert_eq!(session.begin(&[1; 4]).unwrap_err(), too_long);
    }
}

/// Logits of a random model with a cache of eight bits, against those with an exact one.
#[test]
fn eight_bits_of_keys_and_values_are_close() {
    let wide = Hyperparameters {
        n_embd: 96,
        n_head: 6,
        n_head_kv: 3,
        ..SMALL
    };
    for hyper in shapes().into_iter().chain([wide]) {
        let mut file = file(hyper, Format::F32);
        let options = |kv| SessionOptions {
            n_ctx: 0,
            n_chunk: 5,
            kv,
        };
        let tokens: Vec<u32> = (0..hyper.n_ctx).map(|i| i * 37 % 250).collect();
        let exact = logits::<F32>(&mut file, options(KvFormat::F32), &[&tokens]);
        let close = logits::<F32>(&mut file, options(KvFormat::Q8), &[&tokens]);
        let largest = exact.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let difference = exact.iter().zip(&close).map(|(a, b)| (a - b).abs());
        let worst = difference.fold(0.0, f32::max) / largest;
        assert!(worst > 0.0 && worst < 0.03, "{hyper:?}: {worst}");
    }
}

#[test]
fn the_other_order_of_q8_gives_its_bits() {
    for hyper in shapes() {
        for (n_embd, n_ff) in [(12, 33), (36, 64), (288, 300)] {
            let hyper = Hyperparameters {
                n_embd,
                n_ff,
                n_vocab: 258,
                ..hyper
            };
            let options = SessionOptions {
                n_ctx: 8,
                n_chunk: 3,
                kv: KvFormat::Q8,
            };
            let calls: [&[u32]; 3] = [&[5, 250, 7, 7], &[0], &[9, 1]];
            let q8 = logits::<Q8>(&mut file(hyper, Format::Q8), options, &calls);
            let mut other = file(hyper, Format::Q8Dsp);
            let q8_dsp = logits::<Q8Dsp>(&mut other, options, &calls);
            assert!(bits(&q8) == bits(&q8_dsp), "{hyper:?}");
        }
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_scalar() {
    for hyper in shapes() {
        // Widths beyond eight blocks, and ends of blocks and lanes.
        for (n_embd, n_ff) in [(12, 33), (288, 300)] {
            let hyper = Hyperparameters {
                n_embd,
                n_ff,
                ..hyper
            };
            sets_agree::<Q8>(hyper);
            sets_agree::<Q4>(hyper);
        }
    }
}

fn sets_agree<W: WeightFormat>(hyper: Hyperparameters) {
    let mut file = file(hyper, W::FORMAT);
    for kv in KvFormat::ALL {
        let options = SessionOptions {
            n_ctx: 8,
            n_chunk: 3,
            kv,
        };
        let calls: [&[u32]; 3] = [&[5, 250, 7, 7], &[0], &[9, 1]];
        let mut run = |isa| bits(&logits_by::<W>(isa, &mut file, options, &calls));
        let expected = run(Isa::Scalar);
        for isa in every_isa() {
            assert!(run(isa) == expected, "{isa:?}, {hyper:?}, {kv:?}");
        }
    }
}

/// On a shape whose products and attention are large enough to be divided.
#[cfg(feature = "rayon")]
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    fn check<W: WeightFormat>(hyper: Hyperparameters, kv: KvFormat) {
        let mut file = file(hyper, W::FORMAT);
        let opened = ModelFile::open(file.bytes()).unwrap();
        let options = SessionOptions {
            n_ctx: 0,
            n_chunk: 30,
            kv,
        };
        let run = |threads: usize, call: usize| {
            let plan = MemoryPlan::new(opened.config(), W::FORMAT, &options);
            let mut memory = Buffer::new(plan.total() as usize);
            let model = opened.model::<W>().unwrap();
            let mut session = Session::new(model, memory.bytes(), &options).unwrap();
            session.set_threads(threads);
            let prompt: Vec<u32> = (0..hyper.n_ctx - 3).map(|i| i * 37 % 250).collect();
            let mut seen = Vec::new();
            for tokens in prompt.chunks(call) {
                seen = bits(session.forward(tokens).unwrap());
            }
            for token in [7, 200] {
                seen.extend(bits(session.forward(&[token]).unwrap()));
            }
            seen
        };
        let expected = run(1, 1);
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let seen = pool.build().unwrap().install(|| run(threads, usize::MAX));
            assert!(
                seen == expected,
                "{threads} threads, {:?}, {kv:?}",
                W::FORMAT
            );
        }
    }
    if cfg!(miri) {
        return;
    }
    for hyper in shapes() {
        let hyper = Hyperparameters {
            n_vocab: 1031,
            n_ctx: 48,
            n_embd: 132,
            n_ff: 480 + hyper.n_ff,
            ..hyper
        };
        for kv in KvFormat::ALL {
            check::<F32>(hyper, kv);
            check::<F16>(hyper, kv);
            check::<Q8>(hyper, kv);
            check::<Q8Dsp>(hyper, kv);
            check::<Q4>(hyper, kv);
            // So many tokens that the heads of a single one are divided too.
            if hyper.positions == Positions::Rope {
                check::<Q8>(
                    Hyperparameters {
                        n_ctx: 280,
                        ..hyper
                    },
                    kv,
                );
            }
        }
    }
}

#[test]
fn keys_and_values_beyond_half_precision_stay_finite() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    // More than a register holds, on an odd place.
    let x = [
        1e6, -1e30, nan, infinity, -infinity, -0.0, 1e-9, -nan, 65504.0, 0.5,
    ];
    let largest = 65504.0;
    let expected = [
        largest, -largest, 0.0, largest, -largest, -0.0, 0.0, 0.0, largest, 0.5,
    ];
    for isa in every_isa() {
        let mut values = Buffer::new(32);
        let mut cache = Floats::F16(crate::bytes::cast_mut(values.bytes()));
        cache.write(isa, 1, &x);
        let Floats::F16(values) = cache else {
            unreachable!()
        };
        let wide: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
        assert_eq!(bits(&wide[1..11]), bits(&expected), "{isa:?}");
    }
}

#[test]
fn tensors_are_read_or_an_error() {
    let mut file = file(SMALL, Format::Q8);
    let opened = ModelFile::open(file.bytes()).unwrap();
    let model = opened.model::<Q8>().unwrap();
    let mut rows = 0;
    let id = TensorId::new(Tensor::MlpProjWeight, 1);
    model
        .read(id, &mut [0.0; 33], |_, row| {
            rows += usize::from(row.len() == 33)
        })
        .unwrap();
    assert_eq!(rows, 12);
    let none = |_: usize, _: &[f32]| panic!("nothing to read");
    for (tensor, layer) in [
        (Tensor::CFcWeight, 2),
        (Tensor::Wte, 1),
        (Tensor::LmHead, 0),
    ] {
        let id = TensorId::new(tensor, layer);
        let error = model.read(id, &mut [0.0; 33], none).unwrap_err();
        assert_eq!(error, ReadError::NoSuchTensor { id });
    }
    let error = model.read(id, &mut [0.0; 32], none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a row has 33 values and there is room for 32"
    );
}

#[test]
fn no_memory_is_planned_for_what_is_not_used() {
    let [rope, _, learned, sinusoidal] = shapes().map(|hyper| crate::Config::new(hyper).unwrap());
    let plan = |config, kv| {
        let options = SessionOptions {
            kv,
            ..SessionOptions::DEFAULT
        };
        MemoryPlan::new(config, Format::F32, &options)
    };
    let bytes = |len: u64| (4 * len).next_multiple_of(16);
    // x, branch, wide: n_embd 12, twice n_ff 33 with swiglu.
    let activations = |wide| bytes(12) + bytes(12) + bytes(wide);
    assert_eq!(
        plan(&rope, KvFormat::F32).activations,
        activations(66) + bytes(2) + bytes(1)
    );
    assert_eq!(plan(&learned, KvFormat::F32).activations, activations(33));
    assert_eq!(
        plan(&sinusoidal, KvFormat::F32).activations,
        activations(33) + bytes(6)
    );
    assert_eq!(plan(&rope, KvFormat::F32).scores, bytes(9));
    assert_eq!(plan(&rope, KvFormat::F16).scores, bytes(9) + bytes(2));
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
fn sliding_always_makes_room() {
    let mut file = file(SMALL, Format::Q8);
    let opened = ModelFile::open(file.bytes()).unwrap();
    let model = opened.model::<Q8>().unwrap();
    for n_ctx in 1..=9 {
        let options = SessionOptions {
            n_ctx,
            ..SessionOptions::DEFAULT
        };
        let plan = MemoryPlan::new(opened.config(), Format::Q8, &options);
        let mut memory = Buffer::new(plan.total() as usize);
        let mut session = Session::new(model, memory.bytes(), &options).unwrap();
        for n_keep in [0, 1, 2, 5, 6, 100, usize::MAX] {
            for len in 1..=n_ctx + 3 {
                let mut history: Vec<u32> = (0..len as u32).collect();
                session.reset();
                let slid = session.slide(&mut history, n_keep);
                if n_ctx == 1 {
                    assert_eq!(slid.unwrap_err(), SessionError::ContextTooShort { n_ctx });
                    continue;
                }
                let (kept, _) = slid.unwrap();
                assert!((1..n_ctx).contains(&kept), "{n_ctx} {n_keep} {len}: {kept}");
                assert_eq!(history[kept - 1], len as u32 - 1);
                assert_eq!(session.position(), kept);
            }
        }
    }
}

#[test]
fn a_failed_slide_changes_nothing() {
    let mut file = file(SMALL, Format::Q8);
    let opened = ModelFile::open(file.bytes()).unwrap();
    let model = opened.model::<Q8>().unwrap();
    let options = SessionOptions::DEFAULT;
    let plan = MemoryPlan::new(opened.config(), Format::Q8, &options);
    let mut memory = Buffer::new(plan.total() as usize);
    let mut session = Session::new(model, memory.bytes(), &options).unwrap();
    session.forward(&[1, 2, 3]).unwrap();
    let mut history = [1, 2, 3, 256];
    let (token, n_vocab) = (256, 256);
    let unknown = SessionError::UnknownToken { token, n_vocab };
    assert_eq!(session.slide(&mut history, 1).unwrap_err(), unknown);
    assert_eq!(
        session.slide(&mut [], 1).unwrap_err(),
        SessionError::NoTokens
    );
    assert_eq!((history, session.position()), ([1, 2, 3, 256], 3));
}
