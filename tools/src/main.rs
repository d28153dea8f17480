//! The command line of minigpt.
fn main() {}
