//! The tokens of a prompt.

use std::ffi::OsStr;

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::TokenizeError;

use crate::failure::Failure;

/// The text of `what`, which must be UTF-8.
pub(crate) fn utf8<'t>(what: &str, text: &'t OsStr) -> Result<&'t str, Failure> {
    core::str::from_utf8(text.as_encoded_bytes()).map_err(|error| {
        Failure::Misuse(format!(
            "{what} is not UTF-8 from byte {} on; give text",
            error.valid_up_to()
        ))
    })
}

/// The start token, if the tokenizer has one, and the tokens of `text`, which is called `what`; of an empty
/// text, what it comes after.
pub(crate) fn prompt_tokens(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    what: &str,
) -> Result<Vec<u32>, Failure> {
    let encoded = |tokens: &mut [u32]| tokenizer.encode_prompt(text.as_bytes(), tokens);
    tokens(vec![0; text.len() + 2], encoded, what)
}

/// The tokens of `text`, which is called `what`.
pub(crate) fn encode(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    what: &str,
) -> Result<Vec<u32>, Failure> {
    let encoded = |tokens: &mut [u32]| tokenizer.encode(text.as_bytes(), tokens);
    tokens(vec![0; text.len() + 1], encoded, what)
}

/// What `encoded` makes in `room` of the text of `what`.
fn tokens(
    mut room: Vec<u32>,
    encoded: impl Fn(&mut [u32]) -> Result<usize, TokenizeError>,
    what: &str,
) -> Result<Vec<u32>, Failure> {
    let n = encoded(&mut room).map_err(|error| {
        Failure::Misuse(match error {
            TokenizeError::UnknownChar { .. } => format!(
                "{error}; this model knows only the characters of the text it was trained on: leave it out of {what}"
            ),
            _ => format!("{what} cannot be encoded: {error}"),
        })
    })?;
    room.truncate(n);
    Ok(room)
}

/// Refuses a prompt of `n_tokens` that a context of `n_ctx` does not hold.
pub(crate) fn check_length(
    n_tokens: usize,
    n_ctx: usize,
    longest: usize,
    what: &str,
) -> Result<(), Failure> {
    if n_tokens <= n_ctx {
        return Ok(());
    }
    let raise = if n_ctx < longest {
        " or raise --context"
    } else {
        ""
    };
    Err(Failure::Misuse(format!(
        "{what} has {n_tokens} tokens and the context holds {n_ctx}; shorten it{raise}"
    )))
}
