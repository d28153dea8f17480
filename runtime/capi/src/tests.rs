//! The header against the library, and (in `answers`) the library against the runtime.

mod answers;

use core::ffi::CStr;
use std::collections::BTreeMap;

use crate::status::Status;
use crate::*;

const HEADER: &str = include_str!("../include/minigpt.h");

/// Every `#define MINIGPT_NAME NUMBER` of the header.
fn numbers() -> BTreeMap<&'static str, i64> {
    let defined = HEADER.lines().filter_map(|line| {
        let mut words = line.strip_prefix("#define MINIGPT_")?.split_whitespace();
        let (name, value) = (words.next()?, words.next()?);
        let number = match value.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        Some((name, number.ok()?))
    });
    defined.collect()
}

/// The same, of those that begin with `prefix`, which is taken off.
fn numbered(prefix: &str) -> BTreeMap<&'static str, i64> {
    let all = numbers().into_iter();
    all.filter_map(|(name, number)| Some((name.strip_prefix(prefix)?, number)))
        .collect()
}

#[test]
fn statuses_are_those_of_the_header() {
    let named = Status::ALL.iter().map(|(status, name, _)| {
        let name = name.strip_prefix("MINIGPT_").unwrap();
        (name, *status as i64)
    });
    let section = HEADER.split("/* ---- ").find(|s| s.starts_with("Statuses"));
    let lines = section
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("#define"));
    assert_eq!(lines.count(), Status::ALL.len());
    let header = numbers();
    for (name, number) in named {
        assert_eq!(header.get(name), Some(&number), "{name}");
    }
}

#[test]
fn every_status_says_what_to_do() {
    for (status, name, text) in &Status::ALL[1..] {
        let text = text.to_str().unwrap();
        assert!(
            text.contains(';') || text.contains(" must "),
            "{name}: {text}"
        );
        // SAFETY: a constant that ends in a zero.
        let found = unsafe { CStr::from_ptr(minigpt_status_text(*status as i32)) };
        assert_eq!(found.to_str(), Ok(text));
    }
}

#[test]
fn numbers_of_facts_are_those_of_the_header() {
    let same = |prefix: &str, names: &[&str]| {
        let names = names.iter().enumerate();
        let ours: BTreeMap<_, _> = names.map(|(i, name)| (*name, i as i64)).collect();
        assert_eq!(numbered(prefix), ours, "{prefix}");
    };
    let upper = |names: &[&'static str]| -> Vec<&'static str> {
        let leak = |name: &&str| &*name.to_uppercase().replace('-', "_").leak();
        names.iter().map(leak).collect()
    };
    let formats = FORMATS.map(|format| format.name());
    same("FORMAT_", &upper(&formats));
    let kv = options::KV.map(|kv| kv.name());
    same("KV_", &[&upper(&kv)[..]].concat());
    assert!(format!("{:?}", POSITIONS).eq("[Learned, Sinusoidal, Rope]"));
    same("POSITIONS_", &["LEARNED", "SINUSOIDAL", "ROPE"]);
    assert!(format!("{:?}", NORMS).eq("[LayerNorm, RmsNorm]"));
    same("NORM_", &["LAYER_NORM", "RMS_NORM"]);
    assert!(format!("{:?}", MLPS).eq("[Relu, Gelu, Swiglu, ReluSquared]"));
    same("MLP_", &["RELU", "GELU", "SWIGLU", "RELU_SQUARED"]);
    same("TOKENIZER_", &["BYTE", "CHAR", "BPE", "SENTENCEPIECE"]);
}

#[test]
fn constants_of_the_header_are_the_library_s() {
    let header = numbers();
    let same = |name: &str, value: usize| assert_eq!(header[name], value as i64, "{name}");
    same("ALIGNMENT", minigpt_alignment());
    same("MODEL_BYTES", MODEL_BYTES);
    same("SAMPLER_BYTES", SAMPLER_BYTES);
    same("DECODER_BYTES", DECODER_BYTES);
    same("ABI", minigpt_abi() as usize);
    let version = ["MAJOR", "MINOR", "PATCH"].map(|part| header[&*format!("VERSION_{part}")]);
    let [major, minor, patch] = version;
    // SAFETY: a constant that ends in a zero.
    let ours = unsafe { CStr::from_ptr(minigpt_version()) };
    assert_eq!(ours.to_str().unwrap(), format!("{major}.{minor}.{patch}"));
}
