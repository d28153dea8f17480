//! Norm of the gradients, the optimiser step and the average, over chunks of all tensors.

use minigpt_runtime::ops;
use rayon::prelude::*;

use super::Buffer;
use super::muon;
use super::wide::wide;
use crate::backend::Optimized;
use crate::optimizer::{AdamW, Optimizer, Rule};

/// Values that one thread updates at once.
const CHUNK: usize = 1 << 14;

/// [`crate::backend::Backend::gradient_norm`].
pub(super) fn norm(gradients: &[Buffer]) -> f32 {
    let chunks: Vec<&[f32]> = gradients.iter().flat_map(|all| all.chunks(CHUNK)).collect();
    let square = |chunk: &&[f32]| {
        wide(
            #[inline(always)]
            || f64::from(ops::dot(chunk, chunk)),
        )
    };
    let squares: Vec<f64> = chunks.par_iter().map(square).collect();
    squares.iter().sum::<f64>().sqrt() as f32
}

/// [`crate::backend::Backend::update`].
pub(super) fn update(state: Optimized<'_, Buffer>, optimizer: &Optimizer, clip: f32, step: u64) {
    let Optimized {
        params,
        gradients,
        first,
        second,
        rules,
    } = state;
    let values = params.iter_mut().zip(gradients);
    let tensors = values.zip(first.iter_mut().zip(second)).zip(rules);
    let (mut chunks, mut matrices) = (Vec::new(), Vec::new());
    for (((param, gradient), (first, second)), rule) in tensors {
        match rule {
            Rule::AdamW { decays } => {
                chunks.extend(chunked([param, gradient, first, second], *decays));
            }
            Rule::Muon { rows, cols } => {
                matrices.extend(muon::matrices([param, gradient, first], rows, *cols));
            }
        }
    }
    chunks.par_iter_mut().for_each(|chunk| {
        wide(
            #[inline(always)]
            || adamw(chunk, &optimizer.adamw, clip, step),
        );
    });
    let matrices = matrices.par_iter_mut().with_max_len(1);
    matrices.for_each(|matrix| muon::update(matrix, &optimizer.muon, clip));
}

/// A tensor in chunks.
fn chunked(tensor: [&mut Buffer; 4], decays: bool) -> impl Iterator<Item = Chunk<'_>> {
    let [param, gradient, first, second] = tensor;
    let values = param.chunks_mut(CHUNK).zip(gradient.chunks_mut(CHUNK));
    let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
    let both = values.zip(moments);
    both.map(move |((param, gradient), (first, second))| Chunk {
        param,
        gradient,
        first,
        second,
        decays,
    })
}

/// [`crate::backend::Backend::average`].
pub(super) fn average(average: &mut [Buffer], params: &[Buffer], decay: f32) {
    let tensors = average.iter_mut().zip(params);
    let mut chunks: Vec<(&mut [f32], &[f32])> = tensors
        .flat_map(|(average, params)| average.chunks_mut(CHUNK).zip(params.chunks(CHUNK)))
        .collect();
    chunks.par_iter_mut().for_each(|(average, params)| {
        wide(
            #[inline(always)]
            || {
                for (average, param) in average.iter_mut().zip(*params) {
                    *average = decay * *average + (1.0 - decay) * param;
                }
            },
        );
    });
}

struct Chunk<'a> {
    param: &'a mut [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    decays: bool,
}

/// The formula of [`AdamW`].
#[inline(always)]
fn adamw(chunk: &mut Chunk<'_>, optimizer: &AdamW, clip: f32, step: u64) {
    let AdamW {
        learning_rate,
        beta1,
        beta2,
        eps,
        weight_decay,
        ..
    } = *optimizer;
    let (correct_first, correct_second) = optimizer.bias_corrections(step);
    let keep = if chunk.decays {
        1.0 - learning_rate * weight_decay
    } else {
        1.0
    };
    let rate = learning_rate * correct_first;
    let values = chunk.param.iter_mut().zip(&mut *chunk.gradient);
    let moments = chunk.first.iter_mut().zip(&mut *chunk.second);
    for ((param, gradient), (first, second)) in values.zip(moments) {
        let g = *gradient * clip;
        *first = beta1 * *first + (1.0 - beta1) * g;
        *second = beta2 * *second + (1.0 - beta2) * g * g;
        // The standard library's root is one instruction, and correctly rounded everywhere.
        let deviation = second.sqrt() * correct_second + eps;
        *param = keep * *param - rate * *first / deviation;
        *gradient = 0.0;
    }
}
