//! How well a model file predicts a text, measured by the runtime on the file's own bytes.

use minigpt_runtime::{KvFormat, ModelFile, SessionError, SessionOptions, Tokenizer, math, ops};

use crate::data::windows::cuts;
use crate::inference::{AnySession, CHUNK, arena};

/// Exponentials that are summed in `f32`.
const EXPONENTIALS: usize = 256;

/// Sums over the predicted tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain sums")]
pub struct Evaluation {
    /// Sum of `-ln p(token)`, nats.
    pub nats: f64,
    /// Tokens predicted.
    pub tokens: usize,
    /// Those that the model held for the likeliest.
    pub correct: usize,
    /// Bytes of text they stand for; special tokens stand for none.
    pub bytes: usize,
}

/// How a text is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers write all fields")]
pub struct EvaluationOptions {
    /// How keys and values are kept.
    pub kv: KvFormat,
    /// Tokens from the start of a window to the start of the next, from 1 to the model's `n_ctx`; 0 stands
    /// for `n_ctx`, where windows do not overlap. Less gives tokens more to be predicted from.
    pub stride: usize,
}

/// What a model made of one token of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain data")]
pub struct Scored {
    /// Where in the text.
    pub index: usize,
    /// `-ln p(token)`.
    pub nats: f64,
    /// Tokens that the model held for likelier.
    pub rank: usize,
}

impl Evaluation {
    fn add(&mut self, scored: &Scored) {
        self.nats += scored.nats;
        self.tokens += 1;
        self.correct += usize::from(scored.rank == 0);
    }

    /// Share of tokens that the model held for the likeliest.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.tokens as f64
    }

    /// Mean loss in nats per token.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// `e^loss`: comparable only between models with the same tokenizer.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Bits per byte of text: comparable between all models.
    #[must_use]
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / core::f64::consts::LN_2 / self.bytes as f64
    }
}

/// [`evaluate_each`] in windows of the model's context that do not overlap; `progress` is called with the
/// number of tokens predicted.
///
/// # Errors
/// As [`evaluate_each`].
pub fn evaluate(
    file: &ModelFile<'_>,
    tokens: &[u32],
    kv: KvFormat,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, SessionError> {
    let mut n = 0;
    evaluate_each(file, tokens, EvaluationOptions { kv, stride: 0 }, |_| {
        n += 1;
        progress(n);
    })
}

/// Predicts each of `tokens` but the first once, and calls `each` with what became of it, in order.
///
/// A token is predicted from the tokens before it in its own document (see [`cuts`]) and window. Windows of
/// a document are as long as the context and begin a stride apart; of each, the tokens count that the one
/// before did not reach.
///
/// # Errors
/// A [`SessionError`]; [`SessionError::NoTokens`] for fewer than two tokens.
/// # Source
/// The windows are those of Hugging Face's "Perplexity of fixed-length models".
pub fn evaluate_each(
    file: &ModelFile<'_>,
    tokens: &[u32],
    options: EvaluationOptions,
    mut each: impl FnMut(Scored),
) -> Result<Evaluation, SessionError> {
    let session_options = SessionOptions {
        n_ctx: 0,
        n_chunk: CHUNK,
        kv: options.kv,
    };
    let mut memory = arena(file, &session_options)?;
    let mut session = AnySession::new(file, memory.bytes_mut(), &session_options)?;
    let n_ctx = session.n_ctx();
    let stride = match options.stride {
        0 => n_ctx,
        stride => stride.min(n_ctx),
    };
    if tokens.len() < 2 {
        return Err(SessionError::NoTokens);
    }
    let bos = file.tokenizer().specials().bos;
    let mut sums = Evaluation::default();
    for document in cuts(tokens.len(), tokens.len(), bos, |i| tokens[i]) {
        let mut reached = document.start;
        for start in document.clone().step_by(stride) {
            let end = document.end.min(start + n_ctx);
            session.reset();
            if reached > start {
                session.forward(&tokens[start..reached])?;
            }
            session.forward_each(&tokens[reached..end], |i, logits| {
                let scored = scored(logits, reached + i + 1, tokens);
                sums.add(&scored);
                each(scored);
            })?;
            reached = end;
            if reached == document.end {
                break;
            }
        }
    }
    sums.bytes = text_bytes(file.tokenizer(), tokens);
    Ok(sums)
}

/// What `logits` say of token `index`; of equals, the lower id is the likelier.
fn scored(logits: &[f32], index: usize, tokens: &[u32]) -> Scored {
    let target = tokens[index] as usize;
    let likelier = logits.iter().enumerate().filter(|(id, logit)| {
        **logit > logits[target] || **logit == logits[target] && *id < target
    });
    Scored {
        index,
        nats: surprise(logits, target),
        rank: likelier.count(),
    }
}

/// `-ln softmax(logits)[target]`, in nats, to within 1e-6.
///
/// Exponentials are the runtime's, whole vectors of them; their sum is `f64`.
///
/// # Panics
/// If `target` is not below the number of logits.
#[must_use]
pub fn surprise(logits: &[f32], target: usize) -> f64 {
    let largest = ops::max(logits);
    let mut exponentials = [0.0; EXPONENTIALS];
    let sums = logits.chunks(EXPONENTIALS).map(|logits| {
        let exponentials = &mut exponentials[..logits.len()];
        for (exponential, logit) in exponentials.iter_mut().zip(logits) {
            *exponential = math::exp(logit - largest);
        }
        f64::from(ops::sum(exponentials))
    });
    sums.sum::<f64>().ln() + f64::from(largest) - f64::from(logits[target])
}

/// Bytes of text that all of `tokens` but the first stand for.
fn text_bytes(tokenizer: &Tokenizer<'_>, tokens: &[u32]) -> usize {
    let bos = tokenizer.specials().bos;
    let bytes = tokens.windows(2).map(|pair| {
        let mut buffer = [0; 4];
        let bytes = tokenizer.token_bytes(pair[1], &mut buffer);
        let len = bytes.map_or(0, <[u8]>::len);
        match tokenizer {
            // The space that encoding put in front of a document is not text.
            Tokenizer::SentencePiece(pieces) if bos == Some(pair[0]) => {
                len - usize::from(pieces.begins_with_space(pair[1]))
            }
            _ => len,
        }
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::rng::Rng;

    #[test]
    fn surprise_is_its_formula() {
        let mut rng = Rng::new(5, 0);
        for n in [1, 2, 255, 256, 257, 50_257] {
            for scale in [0.1, 5.0, 60.0] {
                let logits: Vec<f32> = (0..n).map(|_| scale * (rng.next_unit() - 0.5)).collect();
                let target = rng.next_below(n);
                let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
                let expected = sum.ln() - f64::from(logits[target]);
                assert!(
                    (surprise(&logits, target) - expected).abs() < 1e-6,
                    "{n} {scale}"
                );
            }
        }
        assert_eq!(surprise(&[f32::NEG_INFINITY, 3.0], 1), 0.0);
        assert_eq!(surprise(&[f32::NEG_INFINITY, 3.0], 0), f64::INFINITY);
    }
}
