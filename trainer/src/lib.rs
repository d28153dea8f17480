//! Training and export of small GPTs.

pub mod activations;
pub mod backend;
pub mod model;
pub mod optimizer;
pub mod params;

pub use backend::{Backend, Batch, Loss, cpu::Cpu};
pub use model::{Gpt, IGNORE, PassOptions};
pub use optimizer::AdamW;
