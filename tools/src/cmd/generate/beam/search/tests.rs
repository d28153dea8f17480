use minigpt_runtime::rng::Rng;

use super::*;

const N_VOCAB: usize = 4;
const END: u32 = 3;

/// Probabilities that depend on everything before.
struct Table {
    seed: u64,
    asked: usize,
}

impl Table {
    fn logprobs(&self, beam: &[u32], barred: &[u32]) -> Vec<f64> {
        let key = beam
            .iter()
            .fold(self.seed, |key, token| 31 * key + u64::from(*token) + 1);
        let mut rng = Rng::new(key, 0);
        let weights: Vec<f64> = (0..N_VOCAB)
            .map(|token| match barred.contains(&(token as u32)) {
                true => 0.0,
                false => f64::from(rng.next_unit()).powi(3) + 1e-3,
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| (weight / sum).ln()).collect()
    }
}

impl Predictor for Table {
    fn predict(&mut self, beams: &[&[u32]], barred: &[u32]) -> Result<Vec<Vec<f64>>, Failure> {
        self.asked += beams.len();
        Ok(beams
            .iter()
            .map(|beam| self.logprobs(beam, barred))
            .collect())
    }
}

/// Every text there is, best first.
fn all(table: &Table, settings: &Settings<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open = vec![Beam::default()];
    while let Some(beam) = open.pop() {
        let n = beam.tokens.len();
        if n == settings.max_tokens || beam.tokens.last() == Some(&END) {
            let ended = beam.tokens.last() == Some(&END);
            let score = score(beam.sum, n, settings);
            let Beam {
                tokens, logprobs, ..
            } = beam;
            found.push(Found {
                tokens,
                logprobs,
                score,
                ended,
            });
            continue;
        }
        let barred = if n < settings.min_tokens {
            settings.ends
        } else {
            &[]
        };
        for (token, logprob) in table.logprobs(&beam.tokens, barred).into_iter().enumerate() {
            if logprob.is_finite() {
                open.push(beam.with(token as u32, logprob));
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

#[test]
fn a_search_that_is_wide_enough_finds_the_best_of_all() {
    for seed in 0..20 {
        for penalty in [-0.5, 0.0, 1.0, 2.0] {
            for min_tokens in [0, 2] {
                let settings = Settings {
                    width: 400,
                    penalty,
                    min_tokens,
                    max_tokens: 4,
                    ends: &[END],
                };
                let mut table = Table { seed, asked: 0 };
                let wanted = all(&table, &settings);
                let found = search(&mut table, &settings).unwrap();
                assert_eq!(found.len(), wanted.len().min(settings.width));
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert!((found.score - wanted.score).abs() < 1e-12);
                    let sum: f64 = found.logprobs.iter().sum();
                    assert!(
                        (score(sum, found.tokens.len(), &settings) - found.score).abs() < 1e-12
                    );
                }
                assert_eq!(found[0], wanted[0], "seed {seed}, penalty {penalty}");
            }
        }
    }
}

#[test]
fn one_beam_is_greedy() {
    for seed in 0..50 {
        let settings = Settings {
            width: 1,
            penalty: 0.0,
            min_tokens: 0,
            max_tokens: 6,
            ends: &[],
        };
        let mut table = Table { seed, asked: 0 };
        let mut greedy: Vec<u32> = Vec::new();
        for _ in 0..6 {
            let logprobs = table.logprobs(&greedy, &[]);
            let best = (0..N_VOCAB).max_by(|a, b| logprobs[*a].total_cmp(&logprobs[*b]));
            greedy.push(best.unwrap() as u32);
        }
        let found = search(&mut table, &settings).unwrap();
        assert_eq!(found[0].tokens, greedy);
        assert!(!found[0].ended);
    }
}

/// More width never asks for less, and ending early never loses the best that the same width would find.
#[test]
fn an_end_by_the_bound_loses_nothing() {
    let mut saved = 0;
    for seed in 0..200 {
        for penalty in [0.0, 0.7, 1.5] {
            let settings = Settings {
                width: 2,
                penalty,
                min_tokens: 0,
                max_tokens: 7,
                ends: &[END],
            };
            let mut table = Table { seed, asked: 0 };
            let found = search(&mut table, &settings).unwrap();
            let asked = table.asked;
            let unbounded = unbounded(&mut table, &settings);
            assert_eq!(found, unbounded, "seed {seed}, penalty {penalty}");
            saved += usize::from(asked < table.asked - asked);
        }
    }
    assert!(saved > 50, "{saved}");
}

/// [`search`] without its early end.
fn unbounded(table: &mut Table, settings: &Settings<'_>) -> Vec<Found> {
    let mut beams = vec![Beam::default()];
    let mut finished = Vec::new();
    for _ in 0..settings.max_tokens {
        let prefixes: Vec<&[u32]> = beams.iter().map(|beam| &beam.tokens[..]).collect();
        let predictions = table.predict(&prefixes, &[]).unwrap();
        let mut next = Vec::new();
        let best = candidates(&beams, &predictions, 2 * settings.width);
        for (place, (beam, token)) in best.into_iter().enumerate() {
            let longer = beams[beam].with(token, predictions[beam][token as usize]);
            match token == END {
                true if place < settings.width => finish(&mut finished, longer, true, settings),
                false if next.len() < settings.width => next.push(longer),
                _ => {}
            }
        }
        beams = next;
    }
    for beam in beams {
        finish(&mut finished, beam, false, settings);
    }
    finished
}
