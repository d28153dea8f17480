//! Training on the CPU.
//!
//! Each step runs in a few parallel phases. A phase is cut into chunks of rows, of heads or of
//! outputs whose sizes depend on shapes only; a chunk is computed by one thread in one order, and
//! partial sums of chunks are added in the chunks' order. So results do not depend on the number of
//! threads. Matrix products are in `panels` and `outer`; all else is [`minigpt_runtime::ops`],
//! compiled for several vector widths (`wide`). None of it depends on the width either.

use std::borrow::Cow;

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    AttentionSaved, Backend, BackendError, Branch, Dropout, Head, Kind, Memory, MlpSaved,
    Optimized, Shape,
};
use crate::data::token_file::TokenFile;
use crate::data::windows::Draw;
use crate::optimizer::Optimizer;

mod attention;
mod buffer;
mod dropout;
mod embedding;
mod heads;
mod linear;
mod loss;
mod mlp;
mod muon;
mod norm;
mod outer;
mod panels;
pub(super) mod round;
mod rows;
#[cfg(test)]
mod tests;
mod update;
mod wide;

pub use buffer::Buffer;
use buffer::Workspace;

/// The CPU as a [`Backend`].
#[derive(Debug, Default)]
pub struct Cpu {
    pool: Option<ThreadPool>,
    workspace: Workspace,
    bytes: u64,
}

impl Cpu {
    /// On a pool of `threads` threads, or on rayon's global pool.
    ///
    /// # Panics
    /// If the system refuses to start the threads.
    #[must_use]
    pub fn new(threads: Option<usize>) -> Self {
        let start = |n| ThreadPoolBuilder::new().num_threads(n).build();
        let pool = threads.map(|n| start(n).expect("the system starts threads"));
        Self {
            pool,
            ..Self::default()
        }
    }

    /// Runs `step` with the workspace, on the pool.
    fn run<R: Send>(&mut self, step: impl FnOnce(&mut Workspace) -> R + Send) -> R {
        let workspace = &mut self.workspace;
        match &self.pool {
            Some(pool) => pool.install(|| step(workspace)),
            None => step(workspace),
        }
    }
}

impl Memory for Cpu {
    type Buffer = Buffer;
    type Ids = Vec<u32>;
    type Corpus = TokenFile;
    type Scalar = f64;

    fn buffer(&mut self, len: usize, _: Kind) -> Result<Buffer, BackendError> {
        let buffer = Buffer::new(len);
        self.bytes += buffer.bytes();
        Ok(buffer)
    }

    fn ids(&mut self, len: usize) -> Result<Vec<u32>, BackendError> {
        self.bytes += (len * size_of::<u32>()) as u64;
        Ok(vec![0; len])
    }

    fn write_ids(&mut self, ids: &mut Vec<u32>, values: &[u32]) -> Result<(), BackendError> {
        ids.copy_from_slice(values);
        Ok(())
    }

    fn corpus(&mut self, file: &TokenFile) -> Result<TokenFile, BackendError> {
        Ok(file.clone())
    }

    fn draw(
        &mut self,
        tokens: &mut Vec<u32>,
        targets: &mut Vec<u32>,
        corpus: &TokenFile,
        draw: &Draw,
        shape: &Shape,
    ) -> Result<(), BackendError> {
        draw.fill(corpus, shape.batch.n_time, tokens, targets);
        Ok(())
    }

    fn write(&mut self, buffer: &mut Buffer, values: &[f32]) -> Result<(), BackendError> {
        buffer.copy_from_slice(values);
        Ok(())
    }

    fn read<'a>(&self, buffer: &'a Buffer) -> Result<Cow<'a, [f32]>, BackendError> {
        Ok(Cow::Borrowed(buffer))
    }

    fn read_scalar(&self, scalar: &f64) -> Result<f64, BackendError> {
        Ok(*scalar)
    }

    fn bytes(&self) -> u64 {
        self.bytes + self.workspace.bytes() + buffer::scratch_bytes()
    }
}

impl Backend for Cpu {
    fn embed_forward(
        &mut self,
        out: &mut Buffer,
        ids: &Vec<u32>,
        wte: &Buffer,
        positions: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        self.run(|_| embedding::forward(out, ids, wte, positions, shape, dropout));
        Ok(())
    }

    fn embed_backward(
        &mut self,
        d_wte: &mut Buffer,
        d_wpe: Option<&mut Buffer>,
        d_out: &mut Buffer,
        ids: &Vec<u32>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        self.run(|_| embedding::backward(d_wte, d_wpe, d_out, ids, shape, dropout));
        Ok(())
    }

    fn attention_forward(
        &mut self,
        out: &mut Buffer,
        saved: &mut AttentionSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        rotation: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let rotation = rotation.map(|table| &**table);
        self.run(|workspace| {
            attention::forward(workspace, out, saved, x, weights, rotation, shape, dropout)
        });
        Ok(())
    }

    fn attention_backward(
        &mut self,
        d_x: &mut Buffer,
        d_weights: Branch<&mut Buffer>,
        d_out: &Buffer,
        saved: &AttentionSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        rotation: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let rotation = rotation.map(|table| &**table);
        self.run(|workspace| {
            attention::backward(
                workspace, d_x, d_weights, d_out, saved, x, weights, rotation, shape, dropout,
            );
        });
        Ok(())
    }

    fn mlp_forward(
        &mut self,
        out: &mut Buffer,
        saved: &mut MlpSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        self.run(|workspace| mlp::forward(workspace, out, saved, x, weights, shape, dropout));
        Ok(())
    }

    fn mlp_backward(
        &mut self,
        d_x: &mut Buffer,
        d_weights: Branch<&mut Buffer>,
        d_out: &Buffer,
        saved: &MlpSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        self.run(|workspace| {
            mlp::backward(
                workspace, d_x, d_weights, d_out, saved, x, weights, shape, dropout,
            );
        });
        Ok(())
    }

    fn logits(
        &mut self,
        x: &Buffer,
        head: Head<&Buffer>,
        shape: &Shape,
    ) -> Result<Vec<f32>, BackendError> {
        Ok(self.run(|workspace| loss::logits(workspace, x, head, shape)))
    }

    fn loss(
        &mut self,
        x: &Buffer,
        head: Head<&Buffer>,
        targets: &Vec<u32>,
        shape: &Shape,
    ) -> Result<f64, BackendError> {
        Ok(self.run(|workspace| loss::forward(workspace, x, head, targets, shape)))
    }

    fn loss_backward(
        &mut self,
        d_x: &mut Buffer,
        d_head: Head<&mut Buffer>,
        x: &Buffer,
        head: Head<&Buffer>,
        targets: &Vec<u32>,
        scale: f32,
        shape: &Shape,
    ) -> Result<f64, BackendError> {
        Ok(self.run(|workspace| {
            loss::backward(workspace, d_x, d_head, x, head, targets, scale, shape)
        }))
    }

    fn gradient_norm(&mut self, gradients: &[Buffer]) -> Result<f64, BackendError> {
        Ok(f64::from(self.run(|_| update::norm(gradients))))
    }

    fn update(
        &mut self,
        state: Optimized<'_, Buffer>,
        optimizer: &Optimizer,
        norm: Option<&f64>,
        step: u64,
    ) -> Result<(), BackendError> {
        match norm.filter(|norm| norm.is_finite()) {
            Some(norm) => {
                let clip = optimizer.adamw.clip_scale(*norm as f32);
                self.run(|_| update::update(state, optimizer, clip, step));
            }
            None => {
                for gradient in state.gradients {
                    gradient.fill(0.0);
                }
            }
        }
        Ok(())
    }

    fn average(
        &mut self,
        average: &mut [Buffer],
        params: &[Buffer],
        decay: f32,
    ) -> Result<(), BackendError> {
        self.run(|_| update::average(average, params, decay));
        Ok(())
    }

    fn round(
        &mut self,
        out: &mut [Buffer],
        params: &[Buffer],
        config: &Config,
        format: Format,
    ) -> Result<(), BackendError> {
        self.run(|_| round::round(out, params, config, format));
        Ok(())
    }
}
