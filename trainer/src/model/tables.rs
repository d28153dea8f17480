//! What a model knows of positions without learning it.

use minigpt_runtime::config::Positions;
use minigpt_runtime::ops;

use crate::backend::{Backend, BackendError, Kind, Shape};

/// Sinusoids and rotation, as far as a model has them.
type Tables<T> = (Option<T>, Option<T>);

/// Tables of fixed positions: sinusoids `[T, C]`, rotation `[T, HS]`.
pub(super) fn tables<B: Backend>(
    backend: &mut B,
    shape: &Shape,
) -> Result<Tables<B::Buffer>, BackendError> {
    let (config, n_time) = (&shape.config, shape.batch.n_time);
    let mut table = |width: usize, fill: &dyn Fn(&mut [f32], usize)| {
        let mut values = vec![0.0; n_time * width];
        for (position, row) in values.chunks_exact_mut(width).enumerate() {
            fill(row, position);
        }
        let mut buffer = backend.buffer(values.len(), Kind::State)?;
        backend.write(&mut buffer, &values)?;
        Ok(buffer)
    };
    let frequencies = |width: usize, base| {
        let mut frequencies = vec![0.0; width / 2];
        ops::frequencies(&mut frequencies, base);
        frequencies
    };
    match config.positions() {
        Positions::Sinusoidal => {
            let turns = frequencies(config.n_embd(), ops::SINUSOID_BASE);
            let fill = |row: &mut [f32], position| ops::sinusoid(row, position, &turns);
            Ok((Some(table(config.n_embd(), &fill)?), None))
        }
        Positions::Rope => {
            let turns = frequencies(config.head_size(), config.rope_theta());
            let fill = |row: &mut [f32], position| ops::rope_table(row, position, &turns);
            Ok((None, Some(table(config.head_size(), &fill)?)))
        }
        _ => Ok((None, None)),
    }
}
