//! Files of every version so far, and what they must say for ever: `tests/data/format`.

use core::fmt::Write as _;
use std::collections::BTreeSet;
use std::format;
use std::fs;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::tests::{SMALL, written};
use super::{Header, MAGIC, Metadata, ModelFile};
use crate::arena::{MemoryPlan, SessionOptions};
use crate::bytes::Buffer;
use crate::config::{Hyperparameters, Mlp, Norm, Positions};
use crate::kernels::Isa;
use crate::kernels::tests::{bits, every_isa};
use crate::quant::{F16, F32, Format, Q4, Q8, Q8Dsp, WeightFormat};
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::Session;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::tests::{MERGES, PIECES, bpe, chars, encode, open, sentencepiece};

const PROMPT: &str = " the then";
const STEPS: usize = 12;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/format")
}

/// What a file says, as it stands beside it.
#[derive(Debug, PartialEq)]
struct Answer {
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    /// After the prompt; only of integer formats, which have the same bits everywhere.
    logits: Vec<u32>,
}

impl Answer {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, numbers) in [("prompt", &self.prompt), ("greedy", &self.greedy)] {
            writeln!(text, "{name}: {numbers:?}").unwrap();
        }
        for line in self.logits.chunks(8) {
            writeln!(text, "{line:08x?}").unwrap();
        }
        text
    }
}

fn answer(file: &ModelFile<'_>, isa: Isa) -> Answer {
    match file.format() {
        Format::F32 => answer_as::<F32>(file, isa),
        Format::F16 => answer_as::<F16>(file, isa),
        Format::Q8 => answer_as::<Q8>(file, isa),
        Format::Q8Dsp => answer_as::<Q8Dsp>(file, isa),
        Format::Q4 => answer_as::<Q4>(file, isa),
    }
}

fn answer_as<W: WeightFormat>(file: &ModelFile<'_>, isa: Isa) -> Answer {
    let options = SessionOptions::DEFAULT;
    let plan = MemoryPlan::new(file.config(), W::FORMAT, &options);
    let mut memory = Buffer::new(plan.total() as usize);
    let model = file.model::<W>().unwrap();
    let mut session = Session::with_isa(model, memory.bytes(), &options, isa).unwrap();
    let mut sampler: Sampler = Sampler::new(SamplerOptions::GREEDY).unwrap();
    let prompt = encode(file.tokenizer(), PROMPT.as_bytes());
    let mut logits = session.forward(&prompt).unwrap();
    let first = bits(logits);
    let mut greedy = vec![];
    for _ in 0..STEPS {
        let logits_of_tokens = &mut logits[..file.tokenizer().n_vocab()];
        assert!(W::FORMAT.is_integer() || margin(logits_of_tokens) > 1e-4);
        greedy.push(sampler.sample(logits_of_tokens));
        logits = session.forward(&greedy[greedy.len() - 1..]).unwrap();
    }
    let logits = if W::FORMAT.is_integer() {
        first
    } else {
        vec![]
    };
    Answer {
        prompt,
        greedy,
        logits,
    }
}

/// By how much the largest is ahead: with less than a float kernel's tolerance, the greedy token
/// would depend on the machine.
fn margin(logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted[0] - sorted[1]
}

/// Names and bytes of the files.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let models = paths.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "mgpt")
    });
    models
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn files_of_every_version_open_and_say_the_same() {
    if cfg!(miri) {
        return;
    }
    let (mut formats, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for (name, bytes) in files() {
        let mut bytes = Buffer::copied(&bytes);
        let version = bytes.bytes()[MAGIC.len()];
        let file = ModelFile::open(bytes.bytes()).unwrap();
        file.verify().unwrap();
        let metadata = Metadata {
            chat_template: if version >= 3 { CHAT_TEMPLATE } else { "" },
            ..METADATA
        };
        assert_eq!(file.header().metadata, metadata);
        let expected = folder().join(&name).with_extension("txt");
        let expected = fs::read_to_string(expected).unwrap();
        for isa in every_isa() {
            assert_eq!(answer(&file, isa).text(), expected, "{name}, {isa:?}");
        }
        formats.insert(file.format().name());
        kinds.insert(file.tokenizer().kind());
    }
    assert_eq!((formats.len(), kinds.len()), (Format::ALL.len(), 4));
}

const METADATA: Metadata<'_> = Metadata {
    name: "golden",
    bits_per_byte: Some(1.25),
    made_by: "the test write_golden_files",
    chat_template: "",
};

const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message.content }}{% endfor %}";

/// Files of this version, where there are none yet: those there are stay as they are.
#[test]
#[ignore = "writes files; run it once for a new version of the format"]
fn write_golden_files() {
    let (byte, chars, bpe) = (Tokenizer::Byte, chars(), bpe(&MERGES, false));
    let pieces = sentencepiece(&PIECES, true);
    let gpt2 = Hyperparameters {
        // More rows than tokens.
        n_vocab: 260,
        positions: Positions::Learned,
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        bias: true,
        tied_head: false,
        ..shape(&byte, 12)
    };
    write_new(Format::F32, byte, gpt2, "");
    let paper = Hyperparameters {
        positions: Positions::Sinusoidal,
        norm: Norm::LayerNorm,
        mlp: Mlp::Relu,
        bias: true,
        tied_head: false,
        ..shape(&open(&chars), 28)
    };
    write_new(Format::F16, open(&chars), paper, "");
    let llama = Hyperparameters {
        n_head_kv: 2,
        ..shape(&open(&bpe), 40)
    };
    write_new(Format::Q8, open(&bpe), llama, "");
    write_new(Format::Q8Dsp, open(&bpe), llama, "");
    write_new(Format::Q8, open(&bpe), llama, CHAT_TEMPLATE);
    write_new(Format::Q4, open(&bpe), llama, CHAT_TEMPLATE);
    let other = Hyperparameters {
        positions: Positions::Learned,
        mlp: Mlp::ReluSquared,
        bias: true,
        ..shape(&open(&pieces), 32)
    };
    write_new(Format::Q8, open(&pieces), other, "");
}

/// Llama's kind, small.
fn shape(tokenizer: &Tokenizer<'_>, n_embd: u32) -> Hyperparameters {
    Hyperparameters {
        n_vocab: tokenizer.n_vocab() as u32,
        n_ctx: 32,
        n_embd,
        n_head: 4,
        n_head_kv: 4,
        n_ff: n_embd + 1,
        ..SMALL
    }
}

fn write_new(
    format: Format,
    tokenizer: Tokenizer<'_>,
    hyperparameters: Hyperparameters,
    chat_template: &str,
) {
    let header = Header {
        hyperparameters,
        format,
        tokenizer,
        metadata: Metadata {
            chat_template,
            ..METADATA
        },
    };
    let version = header.version();
    let name = format!("v{version}-{}-{}.mgpt", format.name(), tokenizer.kind());
    let path = folder().join(name);
    if path.exists() {
        return;
    }
    let mut file = written(&header);
    fs::write(&path, file.bytes()).unwrap();
    let file = ModelFile::open(file.bytes()).unwrap();
    let text = answer(&file, Isa::Scalar).text();
    fs::write(path.with_extension("txt"), text).unwrap();
}
