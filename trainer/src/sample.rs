//! Texts of a model in training.

use minigpt_runtime::{Sampler, SamplerOptions, StreamDecoder, Tokenizer};

use crate::backend::{Backend, BackendError};
use crate::model::{Gpt, Single};

/// How tokens of a sample are drawn, but for the seed.
pub const OPTIONS: SamplerOptions = SamplerOptions {
    temperature: 0.5,
    top_k: None,
    top_p: 0.95,
    seed: 0,
};

/// A text by `gpt` as it is now, drawn by [`OPTIONS`] with `seed`. It ends where the model ends it, or where
/// `single` has no more room; a character that is cut there is left out.
///
/// # Errors
/// A [`BackendError`]; the model is of no use then.
///
/// # Panics
/// If `tokenizer` has more tokens than the model.
pub fn sample<B: Backend>(
    gpt: &mut Gpt<B>,
    single: &mut Single<B>,
    tokenizer: &Tokenizer<'_>,
    seed: u64,
) -> Result<String, BackendError> {
    let options = SamplerOptions { seed, ..OPTIONS };
    let mut sampler: Sampler = Sampler::new(options).expect("the options are in their ranges");
    let (mut decoder, mut text) = (StreamDecoder::new(), String::new());
    let mut history = vec![tokenizer.beginning()];
    while history.len() <= single.n_time() {
        let mut logits = gpt.next_logits(single, &history)?;
        // A model may have more rows than its tokenizer has tokens: they stand for no text.
        let token = sampler.sample(&mut logits[..tokenizer.n_vocab()]);
        if tokenizer.specials().is_end(token) {
            decoder.finish(&mut |part| text.push_str(part));
            break;
        }
        let pushed = decoder.push(tokenizer, token, &mut |part| text.push_str(part));
        pushed.expect("the token is one of the tokenizer's");
        history.push(token);
    }
    Ok(text)
}
