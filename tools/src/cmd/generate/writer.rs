//! The loop that makes a text, token by token.

use std::time::Instant;

use minigpt_runtime::{Sampler, StreamDecoder, Tokenizer};
use minigpt_trainer::inference::AnySession;
use serde::Serialize;

use super::MAX_TOP_K;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    /// The model ended it.
    EndOfText,
    /// `--max-tokens`.
    MaxTokens,
}

/// A text and how it came about; what `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) prompt: String,
    pub(super) text: String,
    pub(super) stop: Stop,
    pub(super) seed: u64,
    pub(super) prompt_tokens: usize,
    pub(super) tokens: usize,
    pub(super) prompt_seconds: f64,
    pub(super) tokens_per_second: f64,
    pub(super) kernels: &'static str,
}

/// Continues a text and writes it as it is made.
pub(super) struct Writer<'a> {
    tokenizer: &'a Tokenizer<'a>,
    session: AnySession<'a>,
    sampler: Sampler<MAX_TOP_K>,
    decoder: StreamDecoder,
    text: String,
    quiet: bool,
}

impl<'a> Writer<'a> {
    /// A `quiet` one writes nothing: the text is in the report.
    pub(super) fn new(
        tokenizer: &'a Tokenizer<'a>,
        session: AnySession<'a>,
        sampler: Sampler<MAX_TOP_K>,
        quiet: bool,
    ) -> Self {
        Self {
            tokenizer,
            session,
            sampler,
            decoder: StreamDecoder::new(),
            text: String::new(),
            quiet,
        }
    }

    /// Continues `prompt`, which is `history` in tokens, by up to `max_tokens` tokens.
    pub(super) fn write(
        mut self,
        prompt: &str,
        mut history: Vec<u32>,
        max_tokens: usize,
        seed: u64,
    ) -> Result<Report, Failure> {
        let prompt_tokens = history.len();
        let start = Instant::now();
        self.push_text(prompt.as_bytes())?;
        let mut prompt_end = start;
        let (mut tokens, mut stop) = (0, Stop::MaxTokens);
        while tokens < max_tokens {
            let token = self.next(&mut history)?;
            tokens += 1;
            if tokens == 1 {
                prompt_end = Instant::now();
            }
            let specials = self.tokenizer.specials();
            if specials.eos == Some(token) || specials.bos == Some(token) {
                stop = Stop::EndOfText;
                break;
            }
            history.push(token);
            self.push_token(token)?;
        }
        self.finish()?;
        let decode_seconds = prompt_end.elapsed().as_secs_f64();
        Ok(Report {
            prompt: prompt.to_owned(),
            text: self.text,
            stop,
            seed,
            prompt_tokens,
            tokens,
            prompt_seconds: (prompt_end - start).as_secs_f64(),
            tokens_per_second: tokens as f64 / decode_seconds.max(1e-9),
            kernels: self.session.isa().name(),
        })
    }

    /// The token behind `history`, which is shortened where it has outgrown the context.
    fn next(&mut self, history: &mut Vec<u32>) -> Result<u32, Failure> {
        let logits = if self.session.position() == self.session.n_ctx() {
            let n_keep = usize::from(self.tokenizer.specials().bos.is_some());
            let slid = self.session.slide(history, n_keep);
            let (kept, logits) = slid.map_err(Failure::failed)?;
            history.truncate(kept);
            logits
        } else {
            let new = &history[self.session.position()..];
            self.session.forward(new).map_err(Failure::failed)?
        };
        // A model may have more rows than its tokenizer has tokens: they stand for no text.
        Ok(self.sampler.sample(&mut logits[..self.tokenizer.n_vocab()]))
    }

    /// The prompt is part of the text, as it was given.
    fn push_text(&mut self, text: &[u8]) -> Outcome {
        let mut complete = String::new();
        self.decoder
            .push_bytes(text, &mut |part| complete.push_str(part));
        self.emit(&complete)
    }

    fn push_token(&mut self, token: u32) -> Outcome {
        let mut complete = String::new();
        self.decoder
            .push(self.tokenizer, token, &mut |part| complete.push_str(part))
            .map_err(Failure::failed)?;
        self.emit(&complete)
    }

    fn finish(&mut self) -> Outcome {
        let mut complete = String::new();
        self.decoder.finish(&mut |part| complete.push_str(part));
        self.emit(&complete)
    }

    fn emit(&mut self, text: &str) -> Outcome {
        self.text.push_str(text);
        if self.quiet || text.is_empty() {
            return Ok(());
        }
        output::print(text)
    }
}
