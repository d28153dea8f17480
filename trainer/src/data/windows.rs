//! Which tokens a step sees.
//!
//! A window is up to `n_time` tokens and, as targets, the same shifted by one. Training windows are
//! drawn from the counter-based generator: the window of (seed, micro-step, row) is a pure function,
//! so that "where the data stands" is the number of the step and nothing else.
//!
//! Where documents begin with a token of their own (`bos`), windows keep to them: a model is asked
//! to continue texts that it was given from the start, and so it learns and is measured.

use core::ops::Range;

use minigpt_runtime::rng::{below, key, random};

use super::token_file::TokenFile;
use crate::model::IGNORE;

/// Stream of the generator that draws training windows.
const STREAM: u64 = 0x7769_6e64_6f77;

/// Which training windows a pass sees.
///
/// A window starts anywhere, or with the document there if that began less than a window before: every
/// window is full, and a short document is seen from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Draw {
    /// The token that documents begin with, where there is one.
    pub bos: Option<u32>,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the pass since training began.
    pub micro_step: u64,
}

impl Draw {
    /// Fills `tokens` and `targets` with windows of `file`.
    ///
    /// # Shapes
    /// Both `[B, T]`; `n_time` is `T`.
    /// # Panics
    /// If `file` is shorter than one window and its last target.
    pub fn fill(&self, file: &TokenFile, n_time: usize, tokens: &mut [u32], targets: &mut [u32]) {
        let first = self.first(tokens.len() / n_time);
        let rows = tokens.chunks_exact_mut(n_time);
        let rows = rows.zip(targets.chunks_exact_mut(n_time));
        for (row, (tokens, targets)) in (first..).zip(rows) {
            let start = self.start(file, n_time, row);
            file.copy(start, tokens);
            file.copy(start + 1, targets);
        }
    }

    /// Where window number `number` since training began starts.
    fn start(&self, file: &TokenFile, n_time: usize, number: u64) -> usize {
        let n_starts = n_starts(file, n_time) as u64;
        let drawn = below(random(self.seed, STREAM, number), n_starts) as usize;
        let near = (drawn + 1).saturating_sub(n_time)..=drawn;
        let document = self
            .bos
            .and_then(|bos| near.rev().find(|&i| file.token(i) == bos));
        document.unwrap_or(drawn)
    }

    /// The number since training began of the first of the `n_batch` windows.
    pub(crate) const fn first(&self, n_batch: usize) -> u64 {
        self.micro_step * n_batch as u64
    }

    /// The key of the random numbers by which windows are drawn.
    pub(crate) const fn key(&self) -> u64 {
        key(self.seed, STREAM)
    }
}

/// Places of `file` where a window may start.
///
/// # Panics
/// If there is none.
pub(crate) fn n_starts(file: &TokenFile, n_time: usize) -> usize {
    assert!(
        file.len() > n_time,
        "a corpus shorter than a window and its last target"
    );
    file.len() - n_time
}

/// Tokens and targets of one pass, each `[B, T]` row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowBatch {
    /// What the model reads.
    pub tokens: Vec<u32>,
    /// What it should say; [`IGNORE`] where there is nothing to say.
    pub targets: Vec<u32>,
    n_batch: usize,
    n_time: usize,
}

impl WindowBatch {
    /// Room for `n_batch` windows of `n_time` tokens.
    #[must_use]
    pub fn new(n_batch: usize, n_time: usize) -> Self {
        Self {
            tokens: vec![0; n_batch * n_time],
            targets: vec![IGNORE; n_batch * n_time],
            n_batch,
            n_time,
        }
    }

    /// Fills the batch with the windows of `draw`.
    ///
    /// # Panics
    /// If `file` is shorter than one window and its last target.
    pub fn draw(&mut self, file: &TokenFile, draw: &Draw) {
        draw.fill(file, self.n_time, &mut self.tokens, &mut self.targets);
    }

    /// Puts the `n` tokens from `start` on and their targets into `row`.
    fn fill(&mut self, file: &TokenFile, row: usize, start: usize, n: usize) {
        let row = row * self.n_time..(row + 1) * self.n_time;
        let (tokens, targets) = (&mut self.tokens[row.clone()], &mut self.targets[row]);
        file.copy(start, &mut tokens[..n]);
        file.copy(start + 1, &mut targets[..n]);
        tokens[n..].fill(0);
        targets[n..].fill(IGNORE);
    }

    fn clear(&mut self, row: usize) {
        let row = row * self.n_time..(row + 1) * self.n_time;
        self.tokens[row.clone()].fill(0);
        self.targets[row].fill(IGNORE);
    }
}

/// Cuts `n_tokens` tokens into windows of up to `n_time` that together predict each token but the
/// first once: a window ends where it is full or where the next document begins.
///
/// `token` gives the token at an index.
pub fn cuts(
    n_tokens: usize,
    n_time: usize,
    bos: Option<u32>,
    token: impl Fn(usize) -> u32,
) -> impl Iterator<Item = Range<usize>> {
    let last = n_tokens.saturating_sub(1);
    let mut start = 0;
    core::iter::from_fn(move || {
        if start == last {
            return None;
        }
        let full = last.min(start + n_time);
        let document = bos.and_then(|bos| (start + 1..full).find(|&i| token(i) == bos));
        let window = start..document.unwrap_or(full);
        start = window.end;
        Some(window)
    })
}

/// The windows that validation scores: always the same, spread evenly, none overlapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationWindows {
    used: Vec<Range<usize>>,
    n_batch: usize,
    n_time: usize,
}

impl ValidationWindows {
    /// Up to `max_batches` batches (all there are with 0) of the windows that [`cuts`] makes.
    #[must_use]
    pub fn new(
        file: &TokenFile,
        bos: Option<u32>,
        n_batch: usize,
        n_time: usize,
        max_batches: usize,
    ) -> Self {
        let all: Vec<_> = cuts(file.len(), n_time, bos, |i| file.token(i)).collect();
        let n_used = match max_batches {
            0 => all.len(),
            n => all.len().min(n * n_batch),
        };
        let spread = |i: usize| (i as u128 * all.len() as u128 / n_used as u128) as usize;
        Self {
            used: (0..n_used).map(|i| all[spread(i)].clone()).collect(),
            n_batch,
            n_time,
        }
    }

    /// Number of batches.
    #[must_use]
    pub const fn n_batches(&self) -> usize {
        self.used.len().div_ceil(self.n_batch)
    }

    /// Fills `batch` with batch `index`; rows past the last window have no targets.
    ///
    /// # Panics
    /// If `batch` has another shape or `file` is not the one that these windows were made for.
    pub fn fill(&self, file: &TokenFile, index: usize, batch: &mut WindowBatch) {
        assert_eq!((batch.n_batch, batch.n_time), (self.n_batch, self.n_time));
        for row in 0..self.n_batch {
            match self.used.get(index * self.n_batch + row) {
                Some(window) => batch.fill(file, row, window.start, window.len()),
                None => batch.clear(row),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(bos: Option<u32>, seed: u64, micro_step: u64) -> Draw {
        Draw {
            bos,
            seed,
            micro_step,
        }
    }

    fn counting(n: u32) -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let tokens: Vec<u32> = (0..n).collect();
        TokenFile::create(dir.path(), "t", &tokens, 1000).unwrap();
        let file = TokenFile::open(dir.path(), "t", 1000).unwrap();
        (dir, file)
    }

    #[test]
    fn training_windows_are_a_pure_function_and_reach_both_ends() {
        let (_dir, file) = counting(12);
        let (mut a, mut b) = (WindowBatch::new(3, 4), WindowBatch::new(3, 4));
        let mut starts = [0; 8];
        for step in 0..200 {
            a.draw(&file, &draw(None, 5, step));
            b.draw(&file, &draw(None, 6, 199 - step));
            b.draw(&file, &draw(None, 5, step));
            assert_eq!(a, b);
            for row in 0..3 {
                let start = a.tokens[row * 4];
                starts[start as usize] += 1;
                for i in 0..4 {
                    assert_eq!(a.tokens[row * 4 + i], start + i as u32);
                    assert_eq!(a.targets[row * 4 + i], start + i as u32 + 1);
                }
            }
        }
        assert!(starts.iter().all(|&n| n > 40), "{starts:?}");
    }

    #[test]
    fn a_text_of_exactly_one_window_has_one_start() {
        let (_dir, file) = counting(5);
        let mut batch = WindowBatch::new(2, 4);
        batch.draw(&file, &draw(None, 1, 9));
        assert_eq!(batch.targets, [1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    #[should_panic = "shorter than a window and its last target"]
    fn a_text_of_a_window_without_its_last_target_has_no_start() {
        let (_dir, file) = counting(4);
        WindowBatch::new(2, 4).draw(&file, &draw(None, 1, 9));
    }

    #[test]
    fn validation_covers_everything_once_or_a_spread_of_it() {
        let (_dir, file) = counting(100);
        let mut batch = WindowBatch::new(4, 7);
        let all = ValidationWindows::new(&file, None, 4, 7, 0);
        assert_eq!(all.n_batches(), 4); // 15 windows, the last of one token
        let mut seen: Vec<u32> = Vec::new();
        for i in 0..all.n_batches() {
            all.fill(&file, i, &mut batch);
            seen.extend(batch.targets.iter().filter(|t| **t != IGNORE));
        }
        assert_eq!(seen, (1..=99).collect::<Vec<u32>>());
        let some = ValidationWindows::new(&file, None, 4, 7, 1);
        some.fill(&file, 0, &mut batch);
        let starts: Vec<_> = batch.tokens.iter().step_by(7).collect();
        assert_eq!(starts, [&0, &21, &49, &77]);
    }

    #[test]
    fn short_validation_texts_are_padded() {
        let (_dir, file) = counting(3);
        let windows = ValidationWindows::new(&file, None, 2, 4, 10);
        let mut batch = WindowBatch::new(2, 4);
        windows.fill(&file, 0, &mut batch);
        assert_eq!(windows.n_batches(), 1);
        assert_eq!(batch.tokens, [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            batch.targets,
            [1, 2, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE]
        );
        let (_dir, file) = counting(1);
        assert_eq!(ValidationWindows::new(&file, None, 2, 4, 10).n_batches(), 0);
    }
    /// Documents of 3, 6 and 2 tokens that begin with 9.
    fn documents() -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = [9, 0, 1, 9, 2, 3, 4, 5, 6, 9, 7];
        TokenFile::create(dir.path(), "t", &tokens, 10).unwrap();
        let file = TokenFile::open(dir.path(), "t", 10).unwrap();
        (dir, file)
    }

    #[test]
    fn training_windows_begin_with_a_document_that_begins_in_them() {
        let (_dir, file) = documents();
        let mut batch = WindowBatch::new(1, 4);
        let mut seen = std::collections::BTreeMap::new();
        for step in 0..700 {
            batch.draw(&file, &draw(Some(9), 1, step));
            *seen.entry(batch.tokens.clone()).or_insert(0) += 1;
        }
        // Of the seven starts, three lie in the first document and four in the second, of which
        // all have its beginning within four tokens.
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[&vec![9, 0, 1, 9]] > 250 && seen[&vec![9, 2, 3, 4]] > 350);
        let anywhere = (0..700).filter(|&step| {
            batch.draw(&file, &draw(None, 1, step));
            batch.tokens[0] != 9
        });
        assert!(anywhere.count() > 400);
    }

    #[test]
    fn validation_keeps_to_documents_and_predicts_every_token_once() {
        let (_dir, file) = documents();
        let windows: Vec<_> = cuts(file.len(), 4, Some(9), |i| file.token(i)).collect();
        assert_eq!(windows, [0..3, 3..7, 7..9, 9..10]);
        let mut batch = WindowBatch::new(4, 4);
        ValidationWindows::new(&file, Some(9), 4, 4, 0).fill(&file, 0, &mut batch);
        assert_eq!(batch.tokens[..8], [9, 0, 1, 0, 9, 2, 3, 4]);
        assert_eq!(batch.targets[..8], [0, 1, 9, IGNORE, 2, 3, 4, 5]);
        let scored = batch.targets.iter().filter(|t| **t != IGNORE);
        assert_eq!(scored.count(), file.len() - 1);
    }
}
