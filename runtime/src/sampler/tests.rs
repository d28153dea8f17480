use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::*;

fn options(temperature: f32, top_k: Option<usize>, top_p: f32) -> SamplerOptions {
    SamplerOptions {
        temperature,
        top_k,
        top_p,
        seed: 42,
    }
}

fn shares(options: SamplerOptions, logits: &[f32], n: usize) -> BTreeMap<u32, f64> {
    let mut sampler = Sampler::<8>::new(options).unwrap();
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        *counts
            .entry(sampler.sample(&mut logits.to_vec()))
            .or_insert(0.0) += 1.0 / n as f64;
    }
    counts
}

const LOGITS: [f32; 6] = [1.0, 3.0, -2.0, 2.0, 0.0, 2.5];

/// The definition, with a full sort.
fn expected(options: SamplerOptions, logits: &[f32]) -> BTreeMap<u32, f64> {
    let mut tokens: Vec<(u32, f64)> = logits
        .iter()
        .enumerate()
        .map(|(i, l)| {
            (
                i as u32,
                (f64::from(*l) / f64::from(options.temperature)).exp(),
            )
        })
        .collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
    tokens.truncate(options.top_k.unwrap_or(usize::MAX));
    let sum: f64 = tokens.iter().map(|t| t.1).sum();
    let (mut mass, mut kept) = (0.0, 0);
    while mass < f64::from(options.top_p) * sum - 1e-9 {
        mass += tokens[kept].1;
        kept += 1;
    }
    tokens.truncate(kept);
    tokens
        .into_iter()
        .map(|(token, w)| (token, w / mass))
        .collect()
}

#[test]
fn draws_follow_the_definition() {
    for temperature in [0.5, 1.0, 2.0] {
        for top_k in [None, Some(1), Some(3), Some(5), Some(8)] {
            for top_p in [0.01, 0.5, 0.9, 1.0] {
                let options = options(temperature, top_k, top_p);
                let (seen, wanted) = (shares(options, &LOGITS, 20_000), expected(options, &LOGITS));
                for token in 0..6 {
                    let seen = seen.get(&token).copied().unwrap_or(0.0);
                    let wanted = wanted.get(&token).copied().unwrap_or(0.0);
                    assert!(
                        (seen - wanted).abs() < 0.02,
                        "{options:?}: {token} {seen} {wanted}"
                    );
                    assert!(wanted > 0.0 || seen == 0.0, "{options:?}: {token}");
                }
            }
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    let mut sampler = Sampler::<8>::new(SamplerOptions::GREEDY).unwrap();
    assert_eq!(sampler.sample(&mut [1.0, 5.0, 5.0, f32::NAN]), 1);
    assert_eq!(sampler.sample(&mut [f32::NAN; 3]), 0);
}

#[test]
fn extremes_choose_something_sensible() {
    for top_k in [None, Some(2)] {
        for top_p in [1e-30, 1.0] {
            for temperature in [1e-30, 1e30] {
                let mut sampler = Sampler::<8>::new(options(temperature, top_k, top_p)).unwrap();
                let token = sampler.sample(&mut [f32::NAN, 1e38, -1e38, f32::NEG_INFINITY]);
                assert!(token == 1 || token == 2 && temperature > 1.0);
                assert!(sampler.sample(&mut [f32::INFINITY, 0.0, f32::INFINITY]) != 1);
                assert!(sampler.sample(&mut [f32::NAN; 5]) < 5);
                assert_eq!(sampler.sample(&mut [0.0]), 0);
            }
        }
    }
}

#[test]
fn the_seed_decides() {
    let draw = |seed| {
        let mut options = options(1.0, Some(4), 1.0);
        options.seed = seed;
        let mut sampler = Sampler::<8>::new(options).unwrap();
        let draws: Vec<u32> = (0..50)
            .map(|_| sampler.sample(&mut LOGITS.to_vec()))
            .collect();
        draws
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn a_nucleus_among_equals() {
    let mut weights = vec![0.25; 4];
    assert!((keep_nucleus(&mut weights, 0.6) - 0.75).abs() < 1e-6);
    assert_eq!(weights, [0.25, 0.25, 0.25, 0.0]);
}

#[test]
fn options_are_checked() {
    for (options, message) in [
        (
            options(-1.0, None, 1.0),
            "temperature is -1; it must be a number from 0 (always the most likely token) up",
        ),
        (
            options(f32::NAN, None, 1.0),
            "temperature is NaN; it must be a number from 0 (always the most likely token) up",
        ),
        (
            options(1.0, Some(0), 1.0),
            "top-k is 0; it must be between 1 and 8",
        ),
        (
            options(1.0, Some(9), 1.0),
            "top-k is 9; it must be between 1 and 8",
        ),
        (
            options(1.0, None, 0.0),
            "top-p is 0; it must be above 0 and at most 1",
        ),
        (
            options(1.0, None, 1.5),
            "top-p is 1.5; it must be above 0 and at most 1",
        ),
    ] {
        let error = Sampler::<8>::new(options).unwrap_err();
        assert_eq!(std::string::ToString::to_string(&error), message);
    }
}
