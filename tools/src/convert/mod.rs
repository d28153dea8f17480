//! Foreign model formats, one file each.

pub(crate) mod llama2c;

use minigpt_runtime::Hyperparameters;

/// A model read from elsewhere: its shape, and its values in the order of the runtime's layout.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) hyperparameters: Hyperparameters,
    pub(crate) parameters: Vec<Vec<f32>>,
}
