//! How well a model file predicts a text, measured by the runtime on the file's own bytes.

use minigpt_runtime::{KvFormat, ModelFile, SessionError, SessionOptions, Tokenizer};

use crate::data::windows::cuts;
use crate::inference::{AnySession, arena};

/// Tokens that go through the model together.
const CHUNK: usize = 32;

/// Sums over the predicted tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain sums")]
pub struct Evaluation {
    /// Sum of `-ln p(token)`, nats.
    pub nats: f64,
    /// Tokens predicted.
    pub tokens: usize,
    /// Bytes of text they stand for; special tokens stand for none.
    pub bytes: usize,
}

impl Evaluation {
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

/// Predicts each of `tokens` but the first, in windows of the model's context.
///
/// Windows are those of [`cuts`]: every token is predicted once, from the tokens before it in its
/// own document and window; keys and values are kept as `kv`. `progress` is called with the number of tokens predicted.
///
/// # Errors
/// A [`SessionError`]; [`SessionError::NoTokens`] for fewer than two tokens.
pub fn evaluate(
    file: &ModelFile<'_>,
    tokens: &[u32],
    kv: KvFormat,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, SessionError> {
    let options = SessionOptions {
        n_ctx: 0,
        n_chunk: CHUNK,
        kv,
    };
    let mut memory = arena(file, &options)?;
    let mut session = AnySession::new(file, memory.bytes_mut(), &options)?;
    let n_ctx = session.n_ctx();
    if tokens.len() < 2 {
        return Err(SessionError::NoTokens);
    }
    let bos = file.tokenizer().specials().bos;
    let mut sums = Evaluation::default();
    for window in cuts(tokens.len(), n_ctx, bos, |i| tokens[i]) {
        let targets = &tokens[window.start + 1..=window.end];
        session.reset();
        session.forward_each(&tokens[window], |i, logits| {
            sums.nats += surprise(logits, targets[i] as usize);
        })?;
        sums.tokens += targets.len();
        progress(sums.tokens);
    }
    sums.bytes = text_bytes(file.tokenizer(), tokens);
    Ok(sums)
}

/// `-ln softmax(logits)[target]`, in `f64`.
fn surprise(logits: &[f32], target: usize) -> f64 {
    let largest = f64::from(minigpt_runtime::ops::max(logits));
    let terms = logits
        .iter()
        .map(|logit| (f64::from(*logit) - largest).exp());
    terms.sum::<f64>().ln() + largest - f64::from(logits[target])
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
