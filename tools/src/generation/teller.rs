//! The loop that makes a text, token by token.

use std::time::Instant;

use minigpt_runtime::{StopStrings, StreamDecoder, Tokenizer};
use minigpt_trainer::evaluate::surprise;
use serde::Serialize;

use super::sampling::Sampling;
use super::sequence::Sequence;
use crate::failure::{Failure, Outcome};

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// The model ended it.
    EndOfText,
    /// The largest number of tokens.
    MaxTokens,
    /// A stop string, which is not part of the text.
    #[serde(rename = "stop_string")]
    Words,
    /// Someone wanted no more.
    Interrupted,
}

/// Where a text ends at the latest, and at the earliest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'s> {
    /// Before so many tokens neither the model nor a stop string ends the text.
    pub(crate) min_tokens: usize,
    pub(crate) max_tokens: usize,
    pub(crate) stops: &'s [String],
}

/// What a model added to a prompt.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// The token that ended the text included.
    pub(crate) tokens: Vec<u32>,
    /// `ln p` of each token as the model predicts, before any option changes that; empty unless asked for.
    pub(crate) logprobs: Vec<f64>,
    pub(crate) stop: Stop,
    /// Until the first token.
    pub(crate) prompt_seconds: f64,
    /// In all.
    pub(crate) seconds: f64,
}

impl Told {
    const NOTHING: Self = Self {
        text: String::new(),
        tokens: Vec::new(),
        logprobs: Vec::new(),
        stop: Stop::MaxTokens,
        prompt_seconds: 0.0,
        seconds: 0.0,
    };

    /// Tokens per second after the first; 0 where there is no second.
    pub(crate) fn rate(&self) -> f64 {
        let later = self.tokens.len().saturating_sub(1) as f64;
        later / (self.seconds - self.prompt_seconds).max(1e-9)
    }
}

/// Continues texts.
pub(crate) struct Teller<'a> {
    pub(crate) tokenizer: &'a Tokenizer<'a>,
    pub(crate) sequence: Sequence<'a>,
    pub(crate) with_logprobs: bool,
}

impl Teller<'_> {
    /// Continues `history`; `sink` gets the text as it is made, `halted` says when someone wants no more.
    ///
    /// A history that outgrows the context loses its middle: `n_keep` tokens stay in front. `in_text` says
    /// that the history holds text, so that a space in front of what follows belongs to it. Of a character
    /// that the largest number of tokens cuts nothing is written.
    pub(crate) fn tell(
        &mut self,
        mut history: Vec<u32>,
        (n_keep, in_text): (usize, bool),
        sampling: &mut Sampling,
        limits: Limits<'_>,
        sink: &mut dyn FnMut(&str) -> Outcome,
        halted: &dyn Fn() -> bool,
    ) -> Result<Told, Failure> {
        let start = Instant::now();
        let mut text = Text::new(limits, in_text)?;
        let ends: Vec<u32> = self.tokenizer.specials().ends().collect();
        let mut told = Told::NOTHING;
        while told.tokens.len() < limits.max_tokens {
            if halted() {
                told.stop = Stop::Interrupted;
                break;
            }
            let early = told.tokens.len() < limits.min_tokens;
            let barred = if early { &ends[..] } else { &[] };
            let token = self.next(&mut history, n_keep, sampling, barred, &mut told.logprobs)?;
            if told.tokens.is_empty() {
                told.prompt_seconds = start.elapsed().as_secs_f64();
            }
            told.tokens.push(token);
            if ends.contains(&token) {
                told.stop = Stop::EndOfText;
                break;
            }
            history.push(token);
            let (new, stopped) = text.push(self.tokenizer, token, early)?;
            emit(&mut told.text, &new, sink)?;
            if stopped {
                told.stop = Stop::Words;
                break;
            }
        }
        if told.stop != Stop::Words {
            emit(&mut told.text, &text.finish(told.stop), sink)?;
        }
        told.seconds = start.elapsed().as_secs_f64();
        Ok(told)
    }

    fn next(
        &mut self,
        history: &mut Vec<u32>,
        n_keep: usize,
        sampling: &mut Sampling,
        barred: &[u32],
        logprobs: &mut Vec<f64>,
    ) -> Result<u32, Failure> {
        let logits = self.sequence.logits(history, n_keep)?;
        let predicted = self.with_logprobs.then(|| logits.to_vec());
        // A model may have more rows than its tokenizer has tokens: they stand for no text.
        let logits = &mut logits[..self.tokenizer.n_vocab()];
        let token = sampling.choose(logits, history, barred);
        logprobs.extend(predicted.map(|logits| -surprise(&logits, token as usize)));
        Ok(token)
    }
}

fn emit(text: &mut String, new: &str, sink: &mut dyn FnMut(&str) -> Outcome) -> Outcome {
    text.push_str(new);
    match new {
        "" => Ok(()),
        new => sink(new),
    }
}

/// Tokens on their way to text.
struct Text<'s> {
    decoder: StreamDecoder,
    watch: StopStrings<'s, String>,
}

impl<'s> Text<'s> {
    fn new(limits: Limits<'s>, in_text: bool) -> Result<Self, Failure> {
        Ok(Self {
            decoder: match in_text {
                true => StreamDecoder::continuing(),
                false => StreamDecoder::new(),
            },
            watch: StopStrings::new(limits.stops).map_err(Failure::misuse)?,
        })
    }

    /// What becomes of the text by `token`, and whether a stop string is complete; an `early` token
    /// completes none.
    fn push(
        &mut self,
        tokenizer: &Tokenizer<'_>,
        token: u32,
        early: bool,
    ) -> Result<(String, bool), Failure> {
        let mut decoded = String::new();
        let pushed = self
            .decoder
            .push(tokenizer, token, &mut |part| decoded.push_str(part));
        pushed.map_err(Failure::failed)?;
        if early {
            return Ok((decoded, false));
        }
        let mut passed = String::new();
        let stopped = self
            .watch
            .push(&decoded, &mut |part| passed.push_str(part))
            .is_some();
        Ok((passed, stopped))
    }

    /// What was held back. A character that a limit cut is left out.
    fn finish(&mut self, stop: Stop) -> String {
        let mut rest = String::new();
        if stop == Stop::EndOfText {
            let mut decoded = String::new();
            self.decoder.finish(&mut |part| decoded.push_str(part));
            if self
                .watch
                .push(&decoded, &mut |part| rest.push_str(part))
                .is_some()
            {
                return rest;
            }
        }
        self.watch.finish(&mut |part| rest.push_str(part));
        rest
    }
}
