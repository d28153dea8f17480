//! Forward and backward through the layers.

use core::mem;

use minigpt_runtime::layout::Tensor;

use super::{Gpt, PassOptions};
use crate::activations::{LayerSaved, place};
use crate::backend::{Backend, BackendError, Dropout, Shape};
use crate::params::Params;

/// First of the streams of random numbers that dropout uses.
const DROPOUT_STREAMS: u64 = 1 << 63;

/// What all layers of a pass have in common.
struct Pass<'a, T> {
    params: &'a Params<T>,
    rotation: Option<&'a T>,
    shape: &'a Shape,
    /// Site 0 is the embedding, then each branch in order.
    drops: &'a [Dropout],
}

impl<B: Backend> Gpt<B> {
    /// What each site drops: nothing without `options`.
    fn drops(&self, options: Option<PassOptions>) -> Vec<Dropout> {
        let sites = 2 * self.shape.config.n_layer() as u64 + 1;
        let drop = |site| {
            options.map_or(Dropout::OFF, |options| Dropout {
                probability: options.dropout,
                seed: options.seed,
                stream: DROPOUT_STREAMS | (options.micro_step * sites + site),
            })
        };
        (0..sites).map(drop).collect()
    }

    /// Fills the activations from the batch's tokens; dropout if there are `options`.
    pub(super) fn forward(&mut self, options: Option<PassOptions>) -> Result<(), BackendError> {
        let drops = self.drops(options);
        let Self {
            backend,
            shape,
            params,
            rounded,
            activations,
            tokens: ids,
            sinusoids,
            rotation,
            ..
        } = self;
        rounded.refresh(backend, params, &shape.config)?;
        let pass = Pass {
            params: rounded.or(params),
            rotation: rotation.as_ref(),
            shape,
            drops: &drops,
        };
        let stream = &mut activations.residual;
        let positions = pass.params.get(Tensor::Wpe).or(sinusoids.as_ref());
        let wte = pass.params.get(Tensor::Wte).expect("every model has wte");
        backend.embed_forward(&mut stream[0], ids, wte, positions, shape, drops[0])?;
        let places = activations.layers.len();
        for layer in 0..shape.config.n_layer() {
            let saved = &mut activations.layers[place(layer, places)];
            layer_forward(backend, stream, saved, layer, &pass)?;
        }
        Ok(())
    }

    /// The loss behind the last layer and, times `scale`, its gradient there.
    pub(super) fn loss_backward(&mut self, scale: f32) -> Result<B::Scalar, BackendError> {
        let activations = &mut self.activations;
        let x = activations.residual.last();
        self.backend.loss_backward(
            &mut activations.d_residual.0,
            self.gradients.head_mut(),
            x.expect("the embedding is always there"),
            self.rounded.or(&self.params).head(),
            &self.targets,
            scale,
            &self.shape,
        )
    }

    /// From the gradient behind the last layer to that of the embedding.
    ///
    /// Of rounded parameters, the gradient is taken as that of the parameters themselves.
    pub(super) fn backward(&mut self, options: PassOptions) -> Result<(), BackendError> {
        let drops = self.drops(Some(options));
        let Self {
            backend,
            shape,
            params,
            rounded,
            gradients,
            activations,
            tokens: ids,
            rotation,
            ..
        } = self;
        let pass = Pass {
            params: rounded.or(params),
            rotation: rotation.as_ref(),
            shape,
            drops: &drops,
        };
        let (n_layer, places) = (shape.config.n_layer(), activations.layers.len());
        let stream = &mut activations.residual;
        for layer in (0..n_layer).rev() {
            let saved = &mut activations.layers[place(layer, places)];
            // What the last layer saved is still there.
            if places < n_layer && layer + 1 < n_layer {
                layer_forward(backend, stream, saved, layer, &pass)?;
            }
            let gradient = &mut activations.d_residual;
            layer_backward(
                backend,
                gradient,
                gradients,
                &stream[layer],
                saved,
                layer,
                &pass,
            )?;
        }
        let (d_wte, d_wpe) = gradients.embedding_mut();
        let d_out = &mut activations.d_residual.0;
        backend.embed_backward(d_wte, d_wpe, d_out, ids, shape, drops[0])
    }
}

/// From the input of `layer` in the residual stream to its output there.
fn layer_forward<B: Backend>(
    backend: &mut B,
    stream: &mut [B::Buffer],
    saved: &mut LayerSaved<B::Buffer>,
    layer: usize,
    pass: &Pass<'_, B::Buffer>,
) -> Result<(), BackendError> {
    let LayerSaved {
        attention,
        middle,
        mlp,
    } = saved;
    let [x, out] = &mut stream[layer..layer + 2] else {
        unreachable!("an output behind each input");
    };
    let (weights, drop) = (pass.params.attention(layer), pass.drops[2 * layer + 1]);
    let (rotation, shape) = (pass.rotation, pass.shape);
    backend.attention_forward(middle, attention, x, weights, rotation, shape, drop)?;
    let (weights, drop) = (pass.params.mlp(layer), pass.drops[2 * layer + 2]);
    backend.mlp_forward(out, mlp, middle, weights, shape, drop)
}

/// From the gradient of the output of `layer` to that of its input `x`, both the first of `gradient`.
fn layer_backward<B: Backend>(
    backend: &mut B,
    gradient: &mut (B::Buffer, B::Buffer),
    gradients: &mut Params<B::Buffer>,
    x: &B::Buffer,
    saved: &LayerSaved<B::Buffer>,
    layer: usize,
    pass: &Pass<'_, B::Buffer>,
) -> Result<(), BackendError> {
    let ((d_out, d_x), shape) = (gradient, pass.shape);
    let LayerSaved {
        attention,
        middle,
        mlp,
    } = saved;
    let (weights, drop) = (pass.params.mlp(layer), pass.drops[2 * layer + 2]);
    let d_weights = gradients.mlp_mut(layer);
    backend.mlp_backward(d_x, d_weights, d_out, mlp, middle, weights, shape, drop)?;
    mem::swap(d_out, d_x);
    let (weights, drop) = (pass.params.attention(layer), pass.drops[2 * layer + 1]);
    let (d_weights, rotation) = (gradients.attention_mut(layer), pass.rotation);
    backend.attention_backward(
        d_x, d_weights, d_out, attention, x, weights, rotation, shape, drop,
    )?;
    mem::swap(d_out, d_x);
    Ok(())
}
