//! Named model shapes: what `--preset` and the benchmarks mean by a name.
#![no_std]
