//! How fast threads read memory that is in no cache.

use core::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Bytes that are read: several times the largest cache.
const BYTES: usize = 256 << 20;

/// How often; the best counts.
const PASSES: usize = 5;

/// Numbers that are added apart, so that no addition waits for another.
const SUMS: usize = 64;

/// Bytes a second that each number of `threads` reads.
///
/// # Errors
/// A sentence if there is no memory for it.
pub(super) fn measure(threads: &[usize]) -> Result<Vec<f64>, String> {
    let mut memory: Vec<u64> = Vec::new();
    let n = BYTES / size_of::<u64>();
    memory.try_reserve_exact(n).map_err(|_| {
        format!("there are no {BYTES} bytes of memory to measure the bandwidth with; free some")
    })?;
    // Each page gets memory of its own: pages of zeros would all be one in the cache.
    memory.extend(1..=n as u64);
    let best = |n: &usize| (0..PASSES).map(|_| pass(&memory, *n)).fold(0.0, f64::max);
    Ok(threads.iter().map(best).collect())
}

/// Bytes a second of one pass.
fn pass(memory: &[u64], n: usize) -> f64 {
    let start = Barrier::new(n + 1);
    let seconds = thread::scope(|scope| {
        for part in memory.chunks(memory.len().div_ceil(n)) {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                black_box(sum(part));
            });
        }
        let begin = Instant::now();
        start.wait();
        begin
    })
    .elapsed();
    size_of_val(memory) as f64 / seconds.as_secs_f64()
}

fn sum(x: &[u64]) -> u64 {
    let mut sums = [0u64; SUMS];
    for chunk in x.as_chunks::<SUMS>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}
