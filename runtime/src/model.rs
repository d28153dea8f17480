//! The tensors of a model, borrowed from its file.

use core::fmt;
use core::marker::PhantomData;

use crate::bytes;
use crate::config::Config;
use crate::kernels::Isa;
use crate::layout::{self, Role, Tensor, TensorId};
use crate::quant::WeightFormat;

/// A model that can run: a configuration and weights that lie in the caller's file.
#[derive(Clone, Copy, Debug)]
pub struct Model<'w, W: WeightFormat> {
    config: Config,
    weights: &'w [u8],
    format: PhantomData<W>,
}

/// A matrix with the bias of its outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'w, W: WeightFormat> {
    pub(crate) weight: W::Matrix<'w>,
    pub(crate) bias: Option<&'w [f32]>,
}

/// A norm's weight and bias, `[C]` both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormWeights<'w> {
    pub(crate) weight: &'w [f32],
    pub(crate) bias: Option<&'w [f32]>,
}

/// The tensors of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'w, W: WeightFormat> {
    pub(crate) ln_1: NormWeights<'w>,
    pub(crate) c_attn: Linear<'w, W>,
    pub(crate) attn_proj: Linear<'w, W>,
    pub(crate) ln_2: NormWeights<'w>,
    pub(crate) c_fc: Linear<'w, W>,
    pub(crate) mlp_proj: Linear<'w, W>,
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
    pub(crate) const fn new(config: Config, weights: &'w [u8]) -> Self {
        Self {
            config,
            weights,
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
        let mut cursor = self.at(id);
        match spec.role {
            Role::Vector => cursor
                .vector(id.tensor)
                .into_iter()
                .for_each(|x| each(0, x)),
            Role::Matrix => {
                let (matrix, isa) = (cursor.matrix(id.tensor), Isa::detect());
                for i in 0..spec.rows {
                    W::row(isa, row, matrix, i);
                    each(i, row);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn wte(&self) -> W::Matrix<'w> {
        self.outside(Tensor::Wte)
    }

    pub(crate) fn wpe(&self) -> W::Matrix<'w> {
        self.outside(Tensor::Wpe)
    }

    pub(crate) fn ln_f(&self) -> NormWeights<'w> {
        self.at(TensorId::new(Tensor::LnFWeight, 0))
            .norm(Tensor::LnFWeight, Tensor::LnFBias)
    }

    pub(crate) fn lm_head(&self) -> W::Matrix<'w> {
        self.outside(if self.config.tied_head() {
            Tensor::Wte
        } else {
            Tensor::LmHead
        })
    }

    pub(crate) fn layer(&self, index: usize) -> Layer<'w, W> {
        let mut cursor = self.at(TensorId::new(Tensor::Ln1Weight, index));
        Layer {
            ln_1: cursor.norm(Tensor::Ln1Weight, Tensor::Ln1Bias),
            c_attn: cursor.linear(Tensor::CAttnWeight, Tensor::CAttnBias),
            attn_proj: cursor.linear(Tensor::AttnProjWeight, Tensor::AttnProjBias),
            ln_2: cursor.norm(Tensor::Ln2Weight, Tensor::Ln2Bias),
            c_fc: cursor.linear(Tensor::CFcWeight, Tensor::CFcBias),
            mlp_proj: cursor.linear(Tensor::MlpProjWeight, Tensor::MlpProjBias),
        }
    }

    fn outside(&self, tensor: Tensor) -> W::Matrix<'w> {
        self.at(TensorId::new(tensor, 0)).matrix(tensor)
    }

    fn at(&self, id: TensorId) -> Cursor<'w, W> {
        let offset = layout::offset(&self.config, id, W::FORMAT) as usize;
        Cursor {
            config: self.config,
            layer: id.layer,
            end: self.weights.len(),
            rest: &self.weights[offset..],
            format: PhantomData,
        }
    }
}

/// Takes tensors one after the other, in the order of the table, which builds with debug
/// assertions check.
struct Cursor<'w, W> {
    config: Config,
    layer: usize,
    /// Bytes of all weights.
    end: usize,
    rest: &'w [u8],
    format: PhantomData<W>,
}

impl<'w, W: WeightFormat> Cursor<'w, W> {
    fn vector(&mut self, tensor: Tensor) -> Option<&'w [f32]> {
        let spec = layout::spec(&self.config, TensorId::new(tensor, self.layer))?;
        self.check(tensor);
        let (bytes, rest) = self.rest.split_at(spec.bytes(W::FORMAT) as usize);
        self.rest = rest;
        Some(bytes::cast(&bytes[..4 * spec.cols]))
    }

    /// `tensor` is the one that comes next.
    fn check(&self, tensor: Tensor) {
        debug_assert_eq!(
            (self.end - self.rest.len()) as u64,
            layout::offset(&self.config, TensorId::new(tensor, self.layer), W::FORMAT),
            "{tensor:?} comes next in the table"
        );
    }

    /// `tensor` exists in this configuration.
    fn matrix(&mut self, tensor: Tensor) -> W::Matrix<'w> {
        let (rows, cols, _) = tensor.shape(&self.config).unwrap_or((0, 1, Role::Matrix));
        self.check(tensor);
        let len = W::FORMAT.matrix_bytes(rows, cols) as usize;
        let (bytes, rest) = self.rest.split_at(len.next_multiple_of(layout::ALIGNMENT));
        self.rest = rest;
        W::matrix(&bytes[..len], rows, cols)
    }

    fn linear(&mut self, weight: Tensor, bias: Tensor) -> Linear<'w, W> {
        Linear {
            weight: self.matrix(weight),
            bias: self.vector(bias),
        }
    }

    fn norm(&mut self, weight: Tensor, bias: Tensor) -> NormWeights<'w> {
        NormWeights {
            weight: self.vector(weight).unwrap_or(&[]),
            bias: self.vector(bias),
        }
    }
}
