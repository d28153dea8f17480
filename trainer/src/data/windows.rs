//! Which tokens a step sees.
//!
//! A window is `n_time` tokens and, as targets, the same shifted by one. Training windows start
//! anywhere, drawn from the counter-based generator: the window of (seed, micro-step, row) is a
//! pure function, so that "where the data stands" is the number of the step and nothing else.

use minigpt_runtime::rng::{below, random};

use super::token_file::TokenFile;
use crate::model::IGNORE;

/// Stream of the generator that draws training windows.
const STREAM: u64 = 0x7769_6e64_6f77;

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

    /// Fills the batch with the windows of micro-step `micro_step` of a run with `seed`.
    ///
    /// # Panics
    /// If `file` is shorter than one window and its last target.
    pub fn draw(&mut self, file: &TokenFile, seed: u64, micro_step: u64) {
        let n_starts = file.len() - self.n_time;
        for row in 0..self.n_batch {
            let counter = micro_step * self.n_batch as u64 + row as u64;
            let start = below(random(seed, STREAM, counter), n_starts as u64) as usize;
            self.fill(file, row, start);
        }
    }

    /// Puts the window from `start` on into `row`, as far as `file` goes.
    fn fill(&mut self, file: &TokenFile, row: usize, start: usize) {
        let n_time = self.n_time.min(file.len() - 1 - start);
        let row = row * self.n_time..(row + 1) * self.n_time;
        let (tokens, targets) = (&mut self.tokens[row.clone()], &mut self.targets[row]);
        file.copy(start, &mut tokens[..n_time]);
        file.copy(start + 1, &mut targets[..n_time]);
        tokens[n_time..].fill(0);
        targets[n_time..].fill(IGNORE);
    }

    fn clear(&mut self, row: usize) {
        let row = row * self.n_time..(row + 1) * self.n_time;
        self.tokens[row.clone()].fill(0);
        self.targets[row].fill(IGNORE);
    }
}

/// The windows that validation scores: always the same, spread evenly, none overlapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationWindows {
    n_windows: usize,
    n_used: usize,
    n_batch: usize,
    n_time: usize,
}

impl ValidationWindows {
    /// Up to `max_batches` batches (all there are with 0) of windows over `n_tokens` tokens.
    ///
    /// A text shorter than one window is one shorter window; fewer than two tokens are none.
    #[must_use]
    pub fn new(n_tokens: usize, n_batch: usize, n_time: usize, max_batches: usize) -> Self {
        let n_windows = match n_tokens {
            0 | 1 => 0,
            n => ((n - 1) / n_time).max(1),
        };
        let n_used = match max_batches {
            0 => n_windows,
            n => n_windows.min(n * n_batch),
        };
        Self {
            n_windows,
            n_used,
            n_batch,
            n_time,
        }
    }

    /// Number of batches.
    #[must_use]
    pub const fn n_batches(&self) -> usize {
        self.n_used.div_ceil(self.n_batch)
    }

    /// Fills `batch` with batch `index`; rows past the last window have no targets.
    ///
    /// # Panics
    /// If `batch` has another shape or `file` another length than these windows were made for.
    pub fn fill(&self, file: &TokenFile, index: usize, batch: &mut WindowBatch) {
        assert_eq!((batch.n_batch, batch.n_time), (self.n_batch, self.n_time));
        for row in 0..self.n_batch {
            let i = index * self.n_batch + row;
            if i < self.n_used {
                let window = (i as u128 * self.n_windows as u128 / self.n_used as u128) as usize;
                batch.fill(file, row, window * self.n_time);
            } else {
                batch.clear(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            a.draw(&file, 5, step);
            b.draw(&file, 6, 199 - step);
            b.draw(&file, 5, step);
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
        batch.draw(&file, 1, 9);
        assert_eq!(batch.targets, [1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn validation_covers_everything_once_or_a_spread_of_it() {
        let (_dir, file) = counting(100);
        let mut batch = WindowBatch::new(4, 7);
        let all = ValidationWindows::new(file.len(), 4, 7, 0);
        assert_eq!(all.n_batches(), 4); // 14 windows
        let mut seen: Vec<u32> = Vec::new();
        for i in 0..all.n_batches() {
            all.fill(&file, i, &mut batch);
            seen.extend(batch.targets.iter().filter(|t| **t != IGNORE));
        }
        assert_eq!(seen, (1..=98).collect::<Vec<u32>>());
        let some = ValidationWindows::new(file.len(), 4, 7, 1);
        some.fill(&file, 0, &mut batch);
        let starts: Vec<_> = batch.tokens.iter().step_by(7).collect();
        assert_eq!(starts, [&0, &21, &49, &70]);
    }

    #[test]
    fn short_validation_texts_are_padded() {
        let (_dir, file) = counting(3);
        let windows = ValidationWindows::new(3, 2, 4, 10);
        let mut batch = WindowBatch::new(2, 4);
        windows.fill(&file, 0, &mut batch);
        assert_eq!(windows.n_batches(), 1);
        assert_eq!(batch.tokens, [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            batch.targets,
            [1, 2, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE]
        );
        assert_eq!(ValidationWindows::new(1, 2, 4, 10).n_batches(), 0);
    }
}
