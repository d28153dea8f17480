//! Small stories from a grammar, for training without data.
//!
//! A story is told from a state, not filled into a form: people with names, kinds and pronouns, things with
//! a color and a number, a place, what was told at the start. The plots read and change that state, so what
//! a sentence says agrees with what was said before, and a model has to learn names, agreement and events
//! across sentences. Story `index` of a seed depends on these two numbers alone.

mod frame;
mod plots;
mod teller;
#[cfg(test)]
mod tests;
mod words;

use rayon::prelude::*;

use self::teller::Teller;
use minigpt_runtime::rng::Rng;

/// The line that stands between two stories of a corpus.
pub const SEPARATOR: &str = "\n<|endoftext|>\n";

/// Tells story number `index` of `seed`: 60 to 180 words of ASCII in up to four lines, without a line end.
///
/// ```
/// use minigpt_trainer::stories::story;
/// assert_eq!(story(7, 1_000), story(7, 1_000));
/// assert_ne!(story(7, 1_000), story(8, 1_000));
/// ```
pub fn story(seed: u64, index: u64) -> String {
    tell(seed, index).finish()
}

/// The fewest bytes that stories can be limited to: shorter ones are too rare to make a corpus.
pub const SHORTEST_LIMIT: u64 = 480;

/// Tells stories 0, 1, 2... of `seed` until they take `bytes` bytes or more, each followed by [`SEPARATOR`].
/// Stories of more than `longest` bytes are left out; 0 leaves none out.
///
/// The result does not depend on the number of threads, and a longer corpus starts with the shorter one.
///
/// ```
/// use minigpt_trainer::stories::corpus;
/// let text = corpus(1, 10_000, 0);
/// assert!(text.len() >= 10_000 && text.len() < 12_000);
/// assert!(corpus(1, 10_000, 500).lines().all(|line| line.len() <= 500));
/// ```
///
/// # Panics
/// If `longest` is neither 0 nor at least [`SHORTEST_LIMIT`].
pub fn corpus(seed: u64, bytes: usize, longest: u64) -> String {
    /// Stories a thread tells at a time, and the stories told before the length is looked at again.
    const CHUNK: u64 = 64;
    const ROUND: u64 = 64;
    assert!(longest == 0 || longest >= SHORTEST_LIMIT, "no such stories");
    let short = |told: &String| longest == 0 || told.len() as u64 <= longest;
    let mut text = String::with_capacity(bytes + (1 << 12));
    let mut next = 0;
    while text.len() < bytes {
        let chunks: Vec<Vec<String>> = (0..ROUND)
            .into_par_iter()
            .map(|chunk| {
                (0..CHUNK)
                    .map(|i| story(seed, next + chunk * CHUNK + i))
                    .filter(short)
                    .collect()
            })
            .collect();
        for told in chunks.iter().flatten() {
            if text.len() >= bytes {
                break;
            }
            text.push_str(told);
            text.push_str(SEPARATOR);
        }
        next += ROUND * CHUNK;
    }
    text
}

/// Tells a story and keeps what it was told from.
fn tell(seed: u64, index: u64) -> Teller {
    let mut s = Teller::new(Rng::new(seed, index));
    let plots = if s.animal.is_some() {
        plots::FOR_ALL
    } else {
        plots::PLOTS.len()
    };
    let plot = s.pick(&plots::PLOTS[..plots]);
    frame::open(&mut s);
    plot(&mut s);
    frame::close(&mut s);
    s
}
