use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::bytes::Buffer;
use crate::config::{Mlp, Norm, Positions};
use crate::layout::TensorSpec;
use crate::quant::F16;
use crate::rng::Rng;

pub(crate) const SMALL: Hyperparameters = Hyperparameters {
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

pub(crate) fn file(hyperparameters: Hyperparameters, format: Format) -> Buffer {
    let header = Header {
        hyperparameters,
        format,
        tokenizer: Tokenizer::Byte,
        metadata: Metadata {
            name: "small",
            bits_per_byte: Some(2.5),
            made_by: "a test",
            chat_template: "",
        },
    };
    written(&header)
}

/// A file of random weights.
pub(crate) fn written(header: &Header<'_>) -> Buffer {
    let mut file = Buffer::new(file_bytes(header).unwrap() as usize);
    let mut rng = Rng::new(3, 0);
    write::<WriteError>(file.bytes(), header, |spec, place| {
        let values: Vec<f32> = (0..spec.len()).map(|_| rng.next_unit() - 0.5).collect();
        let format = spec.stored_format(header.format);
        format.encode(place, &values, spec.cols);
        Ok(())
    })
    .unwrap();
    file
}

#[test]
fn a_chat_template_makes_a_file_of_version_3() {
    let mut plain = file(SMALL, Format::Q8);
    let header = *ModelFile::open(plain.bytes()).unwrap().header();
    let metadata = Metadata {
        chat_template: "{{ messages }}",
        ..header.metadata
    };
    let mut with = written(&Header { metadata, ..header });
    let versions = (header.version(), with.bytes()[4]);
    assert_eq!(versions, (1, 3));
    let opened = ModelFile::open(with.bytes()).unwrap();
    opened.verify().unwrap();
    assert_eq!(opened.header().metadata, metadata);
    // An older version has no such field: what stands there is not the checksum.
    with.bytes()[4] = 2;
    assert!(ModelFile::open(with.bytes()).is_err());
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
fn a_file_may_lie_in_a_larger_partition() {
    let mut small = file(SMALL, Format::Q8);
    let n = small.bytes().len();
    let mut partition = Buffer::new(n + 9);
    partition.bytes()[..n].copy_from_slice(small.bytes());
    let opened = ModelFile::open_at(partition.bytes()).unwrap();
    assert_eq!((opened.len(), opened.verify()), (n, Ok(())));
    assert!(matches!(
        ModelFile::open(partition.bytes()),
        Err(LoadError::TrailingBytes { extra: 9 })
    ));
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
fn errors_say_what_to_do() {
    let mut small = file(SMALL, Format::Q8);
    let bytes = small.bytes();
    let message = |bytes: &[u8]| ModelFile::open(bytes).unwrap_err().to_string();
    assert!(message(b"GGUF....").starts_with("not a minigpt model"));
    assert!(message(b"").starts_with("not a minigpt model"));
    assert!(message(b"MGP").starts_with("the file is cut short"));
    bytes[4] = 9;
    assert!(
        message(bytes)
            .starts_with("the file has version 9 and this program reads versions up to 4")
    );
    bytes[4] = Format::Q8.version();
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

#[test]
fn nothing_is_written_that_does_not_open() {
    let header = |hyperparameters, tokenizer| Header {
        hyperparameters,
        format: Format::Q8,
        tokenizer,
        metadata: Metadata::default(),
    };
    let (small_vocab, no_layers) = (
        Hyperparameters {
            n_vocab: 255,
            ..SMALL
        },
        Hyperparameters {
            n_layer: 0,
            ..SMALL
        },
    );
    let damaged = Tokenizer::Char(crate::tokenizer::Chars {
        code_points: &[97, 0, 0, 0, 97, 0, 0, 0],
    });
    for (header, message) in [
        (
            header(small_vocab, Tokenizer::Byte),
            "its tokenizer has 256 tokens and the model only 255",
        ),
        (
            header(no_layers, Tokenizer::Byte),
            "its hyper-parameters do not fit: n_layer is 0",
        ),
        (header(SMALL, damaged), "its tokenizer is damaged"),
    ] {
        let error = file_bytes(&header).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        let fill = |_: &TensorSpec, _: &mut [u8]| panic!("nothing to write");
        assert_eq!(write::<WriteError>(&mut [], &header, fill), Err(error));
    }
}
