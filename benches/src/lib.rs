//! Timing harness of the benchmarks.
