//! Text to tokens.

use core::ffi::c_char;

use minigpt_runtime::Tokenizer;
use minigpt_runtime::tokenizer::TokenizeError;

use crate::model::{ModelHandle, OpenModel};
use crate::object;
use crate::pointers;
use crate::status::{Status, status};

/// How a text is encoded.
type Encode = fn(&Tokenizer<'_>, &[u8], &mut [u32]) -> Result<usize, TokenizeError>;

/// # Safety
/// As the crate says.
unsafe fn encode(
    how: Encode,
    model: *const ModelHandle,
    (text, text_bytes): (*const c_char, usize),
    (tokens, max_tokens): (*mut u32, usize),
    n_tokens: *mut usize,
) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let model: &OpenModel = unsafe { object::get(model) }?;
    // SAFETY: the caller promises it.
    let text = unsafe { pointers::array(text.cast::<u8>(), text_bytes) }?;
    // SAFETY: the caller promises it.
    let tokens = unsafe { pointers::array_mut(tokens, max_tokens) }?;
    // SAFETY: the caller promises it.
    let out = unsafe { pointers::out(n_tokens) }?;
    match how(model.file.tokenizer(), text, tokens) {
        Ok(n) => {
            out.write(n);
            Ok(())
        }
        Err(error) => {
            if let TokenizeError::BufferTooSmall { needed, .. } = error {
                out.write(needed);
            }
            Err(error.into())
        }
    }
}

/// Encodes a text.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_encode(
    model: *const ModelHandle,
    text: *const c_char,
    text_bytes: usize,
    tokens: *mut u32,
    max_tokens: usize,
    n_tokens: *mut usize,
) -> i32 {
    let (text, tokens) = ((text, text_bytes), (tokens, max_tokens));
    let how =
        |tokenizer: &Tokenizer<'_>, text: &[u8], tokens: &mut [u32]| tokenizer.encode(text, tokens);
    // SAFETY: the caller promises it.
    status(|| unsafe { encode(how, model, text, tokens, n_tokens) })
}

/// Encodes the beginning of a text.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_encode_prompt(
    model: *const ModelHandle,
    text: *const c_char,
    text_bytes: usize,
    tokens: *mut u32,
    max_tokens: usize,
    n_tokens: *mut usize,
) -> i32 {
    let (text, tokens) = ((text, text_bytes), (tokens, max_tokens));
    let how = |tokenizer: &Tokenizer<'_>, text: &[u8], tokens: &mut [u32]| {
        tokenizer.encode_prompt(text, tokens)
    };
    // SAFETY: the caller promises it.
    status(|| unsafe { encode(how, model, text, tokens, n_tokens) })
}

/// The bytes of a token.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_token_bytes(
    model: *const ModelHandle,
    token: u32,
    bytes: *mut c_char,
    max_bytes: usize,
    n_bytes: *mut usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let model: &OpenModel = unsafe { object::get(model) }?;
        // SAFETY: the caller promises it.
        let room = unsafe { pointers::array_mut(bytes.cast::<u8>(), max_bytes) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(n_bytes) }?;
        let mut buf = [0; 4];
        let found = model.file.tokenizer().token_bytes(token, &mut buf);
        let found = found.ok_or(Status::UnknownToken)?;
        out.write(found.len());
        let room = room.get_mut(..found.len()).ok_or(Status::BufferTooSmall)?;
        room.copy_from_slice(found);
        Ok(())
    })
}
