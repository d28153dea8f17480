//! Beam search: of all texts, the likeliest that can be found by keeping a few unfinished ones.

use crate::failure::Failure;

/// Predicts what follows texts.
pub(super) trait Predictor {
    /// For each of `beams`, the logarithm of each token's probability to follow it; negative infinity for
    /// those of `barred`.
    fn predict(&mut self, beams: &[&[u32]], barred: &[u32]) -> Result<Vec<Vec<f64>>, Failure>;
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'s> {
    /// Unfinished texts that are kept, and finished ones that are returned.
    pub(super) width: usize,
    /// A text's score is the sum of its log-probabilities, divided by its length to this power.
    pub(super) penalty: f64,
    pub(super) min_tokens: usize,
    pub(super) max_tokens: usize,
    /// Tokens that end a text.
    pub(super) ends: &'s [u32],
}

/// A finished text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) tokens: Vec<u32>,
    pub(super) logprobs: Vec<f64>,
    pub(super) score: f64,
    /// Whether the model ended it.
    pub(super) ended: bool,
}

#[derive(Clone, Default)]
struct Beam {
    tokens: Vec<u32>,
    logprobs: Vec<f64>,
    sum: f64,
}

impl Beam {
    fn with(&self, token: u32, logprob: f64) -> Self {
        let mut longer = self.clone();
        longer.tokens.push(token);
        longer.logprobs.push(logprob);
        longer.sum += logprob;
        longer
    }
}

/// The best texts found, best first.
///
/// A step looks at the `2 width` likeliest continuations of all beams: those among the first `width` that end
/// a text are finished, the others go on, up to `width` of them. The search ends when no beam can become
/// better than the worst of `width` finished texts, or at `max_tokens`, where beams count as they are.
///
/// # Source
/// Hugging Face's `BeamSearchScorer`, except for the end: its bound takes the present length of a beam, this
/// one the length that serves the beam best, so that no better text is cut off.
pub(super) fn search(
    predictor: &mut impl Predictor,
    settings: &Settings<'_>,
) -> Result<Vec<Found>, Failure> {
    let mut beams = vec![Beam::default()];
    let mut finished: Vec<Found> = Vec::new();
    for n in 0..settings.max_tokens {
        let barred = match n < settings.min_tokens {
            true => settings.ends,
            false => &[],
        };
        let prefixes: Vec<&[u32]> = beams.iter().map(|beam| &beam.tokens[..]).collect();
        let predictions = predictor.predict(&prefixes, barred)?;
        let mut going_on = Vec::with_capacity(settings.width);
        let candidates = candidates(&beams, &predictions, 2 * settings.width);
        for (place, (beam, token)) in candidates.into_iter().enumerate() {
            let longer = beams[beam].with(token, predictions[beam][token as usize]);
            if settings.ends.contains(&token) {
                if place < settings.width {
                    finish(&mut finished, longer, true, settings);
                }
            } else if going_on.len() < settings.width {
                going_on.push(longer);
            }
        }
        beams = going_on;
        if beams.is_empty() || is_done(&beams, &finished, n + 1, settings) {
            beams.clear();
            break;
        }
    }
    for beam in beams {
        finish(&mut finished, beam, false, settings);
    }
    Ok(finished)
}

/// The `n` likeliest continuations as beam and token, likeliest first; of equals, the earlier.
fn candidates(beams: &[Beam], predictions: &[Vec<f64>], n: usize) -> Vec<(usize, u32)> {
    let mut all: Vec<(f64, usize, u32)> = Vec::new();
    for (b, (beam, logprobs)) in beams.iter().zip(predictions).enumerate() {
        let possible = logprobs.iter().enumerate().filter(|(_, l)| l.is_finite());
        all.extend(possible.map(|(token, logprob)| (beam.sum + logprob, b, token as u32)));
        keep(&mut all, n);
    }
    all.into_iter()
        .map(|(_, beam, token)| (beam, token))
        .collect()
}

/// The first `n` in order.
fn keep(all: &mut Vec<(f64, usize, u32)>, n: usize) {
    let order = |a: &(f64, usize, u32), b: &(f64, usize, u32)| {
        b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
    };
    if all.len() > n {
        all.select_nth_unstable_by(n, order);
        all.truncate(n);
    }
    all.sort_unstable_by(order);
}

fn score(sum: f64, n_tokens: usize, settings: &Settings<'_>) -> f64 {
    sum / (n_tokens as f64).powf(settings.penalty)
}

/// Puts a text among the best `width`.
fn finish(finished: &mut Vec<Found>, beam: Beam, ended: bool, settings: &Settings<'_>) {
    let score = score(beam.sum, beam.tokens.len(), settings);
    let better = finished.partition_point(|other| other.score >= score);
    finished.insert(
        better,
        Found {
            tokens: beam.tokens,
            logprobs: beam.logprobs,
            score,
            ended,
        },
    );
    finished.truncate(settings.width);
}

/// Whether no beam of `n` tokens can become better than the worst of enough finished texts.
fn is_done(beams: &[Beam], finished: &[Found], n: usize, settings: &Settings<'_>) -> bool {
    let Some(worst) = finished.get(settings.width - 1) else {
        return false;
    };
    let attainable = |beam: &Beam| {
        let lengths = [(n + 1).min(settings.max_tokens), settings.max_tokens];
        let scores = lengths.map(|length| score(beam.sum, length, settings));
        scores[0].max(scores[1])
    };
    beams.iter().all(|beam| attainable(beam) <= worst.score)
}

#[cfg(test)]
mod tests;
