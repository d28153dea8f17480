//! `cargo xtask`: the project's checks, run the same way by everyone.
fn main() {}
