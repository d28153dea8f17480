//! The tensors of a model, borrowed from its file.

use core::fmt;
use core::marker::PhantomData;

use crate::bytes;
use crate::config::Config;
use crate::kernels::Isa;
use crate::layout::{self, Offsets, Role, Tensor, TensorId};
use crate::parts::part;
use crate::quant::WeightFormat;

/// A model that can run: a configuration and weights that lie in the caller's file.
#[derive(Clone, Copy, Debug)]
pub struct Model<'w, W: WeightFormat> {
    config: Config,
    weights: &'w [u8],
    /// Of each tensor, those in layers in the first one: bytes from the start of the weights.
    offsets: [usize; Tensor::ALL.len()],
    layer_bytes: usize,
    format: PhantomData<W>,
}

/// A matrix with the bias of its outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'w, W: WeightFormat> {
    pub(crate) weight: W::Matrix<'w>,
    pub(crate) rows: usize,
    pub(crate) bias: Option<&'w [f32]>,
}

/// A norm's weight and bias, `[C]` both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormWeights<'w> {
    pub(crate) weight: &'w [f32],
    pub(crate) bias: Option<&'w [f32]>,
}

/// Why a tensor cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The model has no such tensor, or no such layer.
    NoSuchTensor {
        /// The one asked for.
        id: TensorId,
    },
    /// The room for a row is too short.
    RowTooShort {
        /// Values of a row.
        needed: usize,
        /// Values there is room for.
        given: usize,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchTensor { id } => write!(f, "the model has no tensor {id}"),
            Self::RowTooShort { needed, given } => {
                write!(f, "a row has {needed} values and there is room for {given}")
            }
        }
    }
}

impl core::error::Error for ReadError {}

impl<'w, W: WeightFormat> Model<'w, W> {
    /// `weights` are aligned and as long as [`layout::weights_bytes`] says.
    pub(crate) fn new(config: Config, weights: &'w [u8]) -> Self {
        let offsets = Offsets::new(&config, W::FORMAT);
        Self {
            config,
            weights,
            offsets: offsets.first.map(|offset| offset as usize),
            layer_bytes: offsets.layer as usize,
            format: PhantomData,
        }
    }

    /// Its shape.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Reads tensor `id` as `f32`, row by row.
    ///
    /// # Shapes
    /// `each` gets the row's index and its `cols` values; `row` is room for one.
    /// # Errors
    /// [`ReadError::NoSuchTensor`], and [`ReadError::RowTooShort`] if `row` holds fewer than `cols`
    /// values; `each` is not called then.
    pub fn read(
        &self,
        id: TensorId,
        row: &mut [f32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), ReadError> {
        let spec = layout::spec(&self.config, id).ok_or(ReadError::NoSuchTensor { id })?;
        let (needed, given) = (spec.cols, row.len());
        let row = row.get_mut(..needed);
        let row = row.ok_or(ReadError::RowTooShort { needed, given })?;
        match spec.role {
            Role::Vector => self.vector(id).into_iter().for_each(|x| each(0, x)),
            Role::Matrix => {
                let ((matrix, _), isa) = (self.matrix(id), Isa::detect());
                for i in 0..spec.rows {
                    W::row(isa, row, matrix, i);
                    each(i, row);
                }
            }
        }
        Ok(())
    }

    /// Row `row` of the table `tensor`, which stands outside the layers, as `f32`.
    pub(crate) fn embedding(&self, isa: Isa, out: &mut [f32], tensor: Tensor, row: usize) {
        let (matrix, _) = self.matrix(TensorId::new(tensor, 0));
        W::row(isa, out, matrix, row);
    }

    /// The head, which may be the embedding.
    pub(crate) fn lm_head(&self) -> Linear<'w, W> {
        let tensor = if self.config.tied_head() {
            Tensor::Wte
        } else {
            Tensor::LmHead
        };
        let (weight, rows) = self.matrix(TensorId::new(tensor, 0));
        Linear {
            weight,
            rows,
            bias: None,
        }
    }

    /// `weight` of layer `layer`, with its bias if there are biases.
    pub(crate) fn linear(&self, layer: usize, weight: Tensor, bias: Tensor) -> Linear<'w, W> {
        let (weight, rows) = self.matrix(TensorId::new(weight, layer));
        Linear {
            weight,
            rows,
            bias: self.bias(bias, layer),
        }
    }

    /// The bias `tensor` of layer `layer`, if there are biases.
    fn bias(&self, tensor: Tensor, layer: usize) -> Option<&'w [f32]> {
        match self.config.bias() {
            true if cfg!(feature = "bias") => self.vector(TensorId::new(tensor, layer)),
            _ => None,
        }
    }

    /// The norm `weight` of layer `layer`, 0 for the last one.
    pub(crate) fn norm(&self, layer: usize, weight: Tensor, bias: Tensor) -> NormWeights<'w> {
        NormWeights {
            weight: self
                .vector(TensorId::new(weight, layer))
                .unwrap_or_default(),
            bias: self.bias(bias, layer),
        }
    }

    /// A vector, if this configuration has it.
    fn vector(&self, id: TensorId) -> Option<&'w [f32]> {
        let (_, cols, _) = id.tensor.shape(&self.config)?;
        Some(bytes::cast(self.bytes(id, 4 * cols)))
    }

    /// A matrix of this configuration, and its rows.
    fn matrix(&self, id: TensorId) -> (W::Matrix<'w>, usize) {
        let (rows, cols, _) = id
            .tensor
            .shape(&self.config)
            .unwrap_or((0, 1, Role::Matrix));
        let len = W::FORMAT.matrix_bytes(rows, cols) as usize;
        (W::matrix(self.bytes(id, len), rows, cols), rows)
    }

    fn bytes(&self, id: TensorId, len: usize) -> &'w [u8] {
        let first = self.offsets.get(id.tensor as usize).copied().unwrap_or(0);
        let start = first + id.layer * self.layer_bytes;
        debug_assert_eq!(
            start as u64,
            layout::offset(&self.config, id, W::FORMAT),
            "{id} lies where the table says"
        );
        part(self.weights, start, len)
    }
}
