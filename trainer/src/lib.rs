//! Training and export of small GPTs.

pub mod stories;
