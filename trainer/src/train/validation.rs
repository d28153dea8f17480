//! Validation: the loss over windows that are always the same.

use core::f64::consts::LN_2;

use crate::backend::{Backend, BackendError, Batch};
use crate::checkpoint::Best;
use crate::data::windows::{ValidationWindows, WindowBatch};
use crate::model::{Gpt, IGNORE};
use crate::run::Run;

/// Batches whose losses a device may owe.
const AT_ONCE: usize = 1000;

/// What to validate on.
#[derive(Debug)]
pub(super) struct Validation {
    windows: ValidationWindows,
    /// Bytes of text that the targets of all windows stand for.
    bytes: u64,
}

impl Validation {
    /// `None` if the validation part holds no text.
    pub(super) fn new(run: &Run, batch: Batch) -> Option<Self> {
        let max_batches = run.settings.training.eval_batches as usize;
        let (n_batch, n_time) = (batch.n_batch, batch.n_time);
        let tokenizer = run.tokenizer.view();
        let bos = tokenizer.specials().bos;
        let windows = ValidationWindows::new(&run.val, bos, n_batch, n_time, max_batches);
        let lengths: Vec<u64> = (0..tokenizer.n_vocab() as u32)
            .map(|id| {
                tokenizer
                    .token_bytes(id, &mut [0; 4])
                    .map_or(0, |b| b.len() as u64)
            })
            .collect();
        let mut bytes = 0;
        let mut scratch = WindowBatch::new(n_batch, n_time);
        for i in 0..windows.n_batches() {
            windows.fill(&run.val, i, &mut scratch);
            let scored = scratch.targets.iter().filter(|target| **target != IGNORE);
            bytes += scored.map(|target| lengths[*target as usize]).sum::<u64>();
        }
        (bytes > 0).then_some(Self { windows, bytes })
    }

    /// Mean loss and bits per byte, `loss / ln 2 * tokens / bytes`, over all windows.
    pub(super) fn measure<B: Backend>(
        &self,
        step: u64,
        gpt: &mut Gpt<B>,
        run: &Run,
    ) -> Result<Best, BackendError> {
        let batch = gpt.batch();
        let mut scratch = WindowBatch::new(batch.n_batch, batch.n_time);
        let (mut sum, mut count) = (0.0, 0);
        let batches: Vec<usize> = (0..self.windows.n_batches()).collect();
        for batches in batches.chunks(AT_ONCE) {
            let losses = batches.iter().map(|i| {
                self.windows.fill(&run.val, *i, &mut scratch);
                gpt.evaluate(&scratch.tokens, &scratch.targets)
            });
            for pending in losses.collect::<Result<Vec<_>, _>>()? {
                let loss = gpt.loss(&pending)?;
                sum += loss.sum;
                count += loss.count;
            }
        }
        Ok(Best {
            step,
            val_loss: sum / count as f64,
            val_bits_per_byte: sum / LN_2 / self.bytes as f64,
        })
    }
}
