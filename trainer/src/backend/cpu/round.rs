//! Parameters as a model file holds them.

use core::ops::DerefMut;

use minigpt_runtime::config::Config;
use minigpt_runtime::{Format, layout};
use rayon::prelude::*;

use super::wide::wide;

/// Values that one thread rounds at once, whole rows.
const CHUNK: usize = 1 << 12;

/// [`crate::backend::Backend::round`], on arrays of any kind.
pub(in crate::backend) fn round<T: DerefMut<Target = [f32]>>(
    out: &mut [T],
    params: &[T],
    config: &Config,
    format: Format,
) {
    let tensors = layout::tensors(config).zip(out.iter_mut().zip(params));
    let chunks = tensors.flat_map(|(spec, (out, params))| {
        let (format, cols) = (spec.stored_format(format), spec.cols);
        let len = (CHUNK / cols).max(1) * cols;
        let both = out.chunks_mut(len).zip(params.chunks(len));
        both.map(move |(out, params)| (out, params, format, cols))
    });
    let mut chunks: Vec<_> = chunks.collect();
    chunks
        .par_iter_mut()
        .for_each(|(out, params, format, cols)| {
            wide(
                #[inline(always)]
                || format.round(out, params, *cols),
            );
        });
}
