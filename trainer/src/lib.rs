//! Training and export of small GPTs.

pub mod data;
pub mod durable;
pub mod mapped;
pub mod run_config;
pub mod schedule;
