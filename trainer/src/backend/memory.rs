//! What a device keeps for training, and how it gets there and back.

use std::borrow::Cow;

use super::{BackendError, Kind, Shape};
use crate::data::token_file::TokenFile;
use crate::data::windows::Draw;

/// The memory of a device that trains.
///
/// A device may still be at work when a method returns. [`Self::read`] and [`Self::read_scalar`] wait for what they
/// return; others may wait where they take memory or bring something from the host.
///
/// # Errors
/// Each method: a [`BackendError`], of this call or of a step before it that the device had not finished.
/// What is on the device then means nothing any more.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Memory {
    /// Numbers on the device.
    type Buffer;
    /// Token ids on the device.
    type Ids;
    /// Tokens that windows are drawn from.
    type Corpus;
    /// One number on the device: a loss or a norm.
    type Scalar;

    /// A buffer of `len` zeros.
    fn buffer(&mut self, len: usize, kind: Kind) -> Result<Self::Buffer, BackendError>;

    /// Room for `len` token ids.
    fn ids(&mut self, len: usize) -> Result<Self::Ids, BackendError>;

    /// Overwrites `ids` with `values` of its length.
    fn write_ids(&mut self, ids: &mut Self::Ids, values: &[u32]) -> Result<(), BackendError>;

    /// The tokens of `file`, to draw from.
    fn corpus(&mut self, file: &TokenFile) -> Result<Self::Corpus, BackendError>;

    /// Overwrites `tokens` and `targets` with windows of `corpus`: [`Draw::fill`].
    ///
    /// # Shapes
    /// Both `[R]`.
    fn draw(
        &mut self,
        tokens: &mut Self::Ids,
        targets: &mut Self::Ids,
        corpus: &Self::Corpus,
        draw: &Draw,
        shape: &Shape,
    ) -> Result<(), BackendError>;

    /// Overwrites `buffer` with `values` of its length.
    fn write(&mut self, buffer: &mut Self::Buffer, values: &[f32]) -> Result<(), BackendError>;

    /// The numbers in `buffer`, copied if they are not in the host's memory.
    fn read<'a>(&self, buffer: &'a Self::Buffer) -> Result<Cow<'a, [f32]>, BackendError>;

    /// Waits for `scalar`, but for nothing that was asked for after it.
    fn read_scalar(&self, scalar: &Self::Scalar) -> Result<f64, BackendError>;

    /// Bytes of all buffers handed out and of the device's own scratch.
    fn bytes(&self) -> u64;
}
