//! What one pass leaves behind on the device: made once, used by every step.

use crate::backend::{AttentionSaved, Backend, BackendError, Kind, MlpSaved, Shape};

/// Activations of all layers and the gradient that walks back through them.
#[derive(Debug)]
pub struct Activations<T> {
    /// The residual stream `[R, C]`: the embedding, then the output of each layer; `L + 1`.
    pub residual: Vec<T>,
    /// Of each layer, or of the one at work where they are made again in backward.
    pub layers: Vec<LayerSaved<T>>,
    /// Gradient of the residual stream `[R, C]`, before and behind the branch at work.
    pub d_residual: (T, T),
}

/// What a layer's two branches saved.
#[derive(Debug)]
pub struct LayerSaved<T> {
    /// Attention's.
    pub attention: AttentionSaved<T>,
    /// The residual stream between both `[R, C]`.
    pub middle: T,
    /// The MLP's.
    pub mlp: MlpSaved<T>,
}

impl<T> Activations<T> {
    /// Buffers for `shape` on `backend`: with `recompute`, layers share what they save.
    ///
    /// # Errors
    /// A [`BackendError`] if the device has not the memory.
    pub fn new<B: Backend<Buffer = T>>(
        backend: &mut B,
        shape: &Shape,
        recompute: bool,
    ) -> Result<Self, BackendError> {
        let (config, rows) = (&shape.config, shape.batch.rows());
        let mut buffer = |len, kind| backend.buffer(len, kind);
        let stream = rows * config.n_embd();
        let residual = (0..=config.n_layer()).map(|_| buffer(stream, Kind::State));
        let residual = residual.collect::<Result<_, _>>()?;
        let saved = if recompute { 1 } else { config.n_layer() };
        let layers = (0..saved).map(|_| {
            Ok(LayerSaved {
                attention: AttentionSaved {
                    stats: buffer(rows * 2, Kind::State)?,
                    qkv: buffer(rows * config.n_qkv(), Kind::Activation)?,
                    heads: buffer(stream, Kind::Activation)?,
                    log_sum_exp: buffer(rows * config.n_head(), Kind::State)?,
                },
                middle: buffer(stream, Kind::State)?,
                mlp: MlpSaved {
                    stats: buffer(rows * 2, Kind::State)?,
                    fc: buffer(rows * config.n_fc(), Kind::Activation)?,
                },
            })
        });
        Ok(Self {
            residual,
            layers: layers.collect::<Result<_, _>>()?,
            d_residual: (buffer(stream, Kind::State)?, buffer(stream, Kind::State)?),
        })
    }

    /// The output of the last layer.
    ///
    /// # Panics
    /// Never: the embedding is always there.
    pub fn last(&self) -> &T {
        self.residual.last().expect("the embedding is always there")
    }
}

/// Where layer number `layer` saves, of `places`.
pub(crate) const fn place(layer: usize, places: usize) -> usize {
    match places {
        1 => 0,
        _ => layer,
    }
}
