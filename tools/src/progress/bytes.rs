//! What a download shows.

use core::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;

use super::{Left, PAUSE, bar};
use crate::output::{grouped, say};

/// Longest time that a download is said to take, in seconds.
const LONGEST: f64 = 99.0 * 3600.0;

/// Counts bytes on standard error while a file comes.
pub(crate) struct ByteProgress {
    bar: Option<ProgressBar>,
    what: String,
    /// Bytes and time at the first ones seen.
    origin: Option<(u64, Instant)>,
    /// Bytes that were there last.
    done: u64,
    spoke: Instant,
}

impl ByteProgress {
    /// For the file `what`.
    pub(crate) fn new(what: &str) -> Self {
        Self {
            bar: None,
            what: what.to_owned(),
            origin: None,
            done: 0,
            spoke: Instant::now(),
        }
    }

    /// `done` bytes are there, of `total` where that is known.
    pub(crate) fn set(&mut self, done: u64, total: Option<u64>) {
        if self.origin.is_none() {
            say!("downloading {}", self.what);
            self.bar = match total {
                Some(total) => bar(total, "{wide_bar} {bytes}/{total_bytes}{msg}"),
                None => bar(0, "{bytes}{msg}"),
            };
        }
        // A file that is begun again has another pace.
        let origin = self.origin.filter(|_| self.done <= done);
        self.done = done;
        let (first, since) = *self.origin.insert(origin.unwrap_or((done, Instant::now())));
        let left = total.map(|total| total.saturating_sub(done));
        let pace = pace(done - first, since.elapsed(), left);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(pace);
        } else if self.spoke.elapsed() >= PAUSE {
            self.spoke = Instant::now();
            let of = total.map_or_else(String::new, |total| format!("/{}", grouped(total)));
            say!("{}: {}{of} bytes{pace}", self.what, grouped(done));
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The speed at which `done` bytes came and the time for those that are `left`, as far as both are known
/// and can be believed.
fn pace(done: u64, time: Duration, left: Option<u64>) -> String {
    let rate = (done as f64 / time.as_secs_f64().max(1e-9)) as u64;
    if rate == 0 {
        return String::new();
    }
    let seconds = left.map(|left| left as f64 / rate as f64);
    let left = Left(seconds.filter(|seconds| *seconds <= LONGEST));
    format!("  {} bytes/s  {left}", grouped(rate))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_that_is_not_known_is_not_said() {
        let second = Duration::from_secs(1);
        let cases = [
            (2000, Some(130_000), "  2,000 bytes/s  1m 05s left"),
            (2000, None, "  2,000 bytes/s"),
            (2000, Some(1_000_000_000_000_000_000), "  2,000 bytes/s"),
            (0, Some(130_000), ""),
        ];
        for (done, left, words) in cases {
            assert_eq!(pace(done, second, left), words);
        }
        // A file that is begun again.
        let mut progress = ByteProgress::new("a.txt");
        for (done, first) in [(10, 10), (700, 10), (20, 20), (30, 20)] {
            progress.set(done, Some(1000));
            assert_eq!(progress.origin.map(|(first, _)| first), Some(first));
        }
    }
}
