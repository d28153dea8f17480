//! What `--json` prints of a text.

use serde::Serialize;

use super::Job;
use crate::generation::teller::{Stop, Told};

/// A text and how it came about.
#[derive(Serialize)]
pub(super) struct Report {
    /// The prompt's place among the prompts, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    pub(super) prompt: String,
    /// The prompt and what follows it.
    pub(super) text: String,
    pub(super) stop: Stop,
    pub(super) seed: u64,
    pub(super) prompt_tokens: usize,
    pub(super) tokens: usize,
    /// Of what follows the prompt, with the token that ended the text.
    pub(super) token_ids: Vec<u32>,
    /// `ln p` of each of them as the model predicts.
    pub(super) logprobs: Vec<f64>,
    pub(super) prompt_seconds: f64,
    pub(super) seconds: f64,
    pub(super) tokens_per_second: f64,
    pub(super) kernels: &'static str,
}

impl Report {
    pub(super) fn new(
        prompt: &str,
        prompt_tokens: usize,
        told: Told,
        seed: u64,
        kernels: &'static str,
    ) -> Self {
        Self {
            index: None,
            prompt: prompt.to_owned(),
            text: format!("{prompt}{}", told.text),
            stop: told.stop,
            seed,
            prompt_tokens,
            tokens: told.tokens.len(),
            tokens_per_second: told.rate(),
            token_ids: told.tokens,
            logprobs: told.logprobs,
            prompt_seconds: told.prompt_seconds,
            seconds: told.seconds,
            kernels,
        }
    }

    /// The line of standard error behind a text.
    pub(super) fn summary(&self, job: &Job<'_>) -> String {
        format!(
            "{} tokens, {:.0} tokens/s, {} weights, {} kernels",
            self.tokens,
            self.tokens_per_second,
            job.file.format().name(),
            self.kernels
        )
    }
}
