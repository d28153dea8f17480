//! Tokens to text as they come.

use core::ffi::{c_char, c_void};

use minigpt_runtime::{StreamDecoder, Tokenizer};

use crate::model::{ModelHandle, ModelRef};
use crate::object::{self, Kind, Object};
use crate::pointers;
use crate::status::{Status, status};

/// `minigpt_decoder`.
#[derive(Debug)]
#[repr(C)]
pub struct DecoderHandle {
    opaque: [u8; 0],
}

/// What lies behind the handle.
struct OpenDecoder {
    model: ModelRef,
    decoder: StreamDecoder,
}

impl Kind for OpenDecoder {
    type Handle = DecoderHandle;
    const KIND: u32 = 0x6D67_4420;
}

/// `MINIGPT_DECODER_BYTES`, the same on every target.
pub(crate) const DECODER_BYTES: usize = 64;
const _: () = assert!(size_of::<Object<OpenDecoder>>() <= DECODER_BYTES);

/// Bytes of a decoder.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_decoder_bytes() -> usize {
    size_of::<Object<OpenDecoder>>()
}

/// Makes a decoder.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_decoder_init(
    model: *const ModelHandle,
    continuing: i32,
    memory: *mut c_void,
    memory_bytes: usize,
    decoder: *mut *mut DecoderHandle,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(decoder) }?;
        let made = OpenDecoder {
            // SAFETY: the caller promises it.
            model: unsafe { ModelRef::new(model) }?,
            decoder: match continuing {
                0 => StreamDecoder::new(),
                _ => StreamDecoder::continuing(),
            },
        };
        // SAFETY: the caller promises it.
        out.write(unsafe { object::place(memory.cast(), memory_bytes, made) }?);
        Ok(())
    })
}

/// Text on its way into the caller's room.
struct Written<'a> {
    room: &'a mut [u8],
    n: usize,
}

impl Written<'_> {
    /// Adds what still fits, and counts all of it.
    fn add(&mut self, text: &str) {
        let end = self.n.saturating_add(text.len());
        if let Some(room) = self.room.get_mut(self.n..end) {
            room.copy_from_slice(text.as_bytes());
        }
        self.n = end;
    }
}

/// Where text goes: room, its bytes, and the number written.
type Out = (*mut c_char, usize, *mut usize);

/// Lets `work` write text; a decoder for whose text there is no room stays as it was.
///
/// # Safety
/// As the crate says.
unsafe fn decode(
    decoder: *mut DecoderHandle,
    (text, max_bytes, n_bytes): Out,
    work: impl FnOnce(&mut StreamDecoder, &Tokenizer<'_>, &mut Written<'_>) -> Result<(), Status>,
) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let open: &mut OpenDecoder = unsafe { object::get_mut(decoder) }?;
    // SAFETY: the caller promises it.
    let model = unsafe { open.model.get() }?;
    // SAFETY: the caller promises it.
    let room = unsafe { pointers::array_mut(text.cast::<u8>(), max_bytes) }?;
    // SAFETY: the caller promises it.
    let out = unsafe { pointers::out(n_bytes) }?;
    let mut changed = open.decoder.clone();
    let mut written = Written { room, n: 0 };
    work(&mut changed, model.file.tokenizer(), &mut written)?;
    out.write(written.n);
    if written.n > max_bytes {
        return Err(Status::BufferTooSmall);
    }
    open.decoder = changed;
    Ok(())
}

/// Decodes a token.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_decoder_push(
    decoder: *mut DecoderHandle,
    token: u32,
    text: *mut c_char,
    max_bytes: usize,
    n_bytes: *mut usize,
) -> i32 {
    let work = |decoder: &mut StreamDecoder, tokenizer: &Tokenizer<'_>, out: &mut Written<'_>| {
        Ok(decoder.push(tokenizer, token, &mut |text| out.add(text))?)
    };
    // SAFETY: the caller promises it.
    status(|| unsafe { decode(decoder, (text, max_bytes, n_bytes), work) })
}

/// Decodes bytes.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_decoder_push_bytes(
    decoder: *mut DecoderHandle,
    bytes: *const c_char,
    n: usize,
    text: *mut c_char,
    max_bytes: usize,
    n_bytes: *mut usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let bytes = unsafe { pointers::array(bytes.cast::<u8>(), n) }?;
        let work = |decoder: &mut StreamDecoder, _: &Tokenizer<'_>, out: &mut Written<'_>| {
            decoder.push_bytes(bytes, &mut |text| out.add(text));
            Ok(())
        };
        // SAFETY: the caller promises it.
        unsafe { decode(decoder, (text, max_bytes, n_bytes), work) }
    })
}

/// Ends a text.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_decoder_finish(
    decoder: *mut DecoderHandle,
    text: *mut c_char,
    max_bytes: usize,
    n_bytes: *mut usize,
) -> i32 {
    let work = |decoder: &mut StreamDecoder, _: &Tokenizer<'_>, out: &mut Written<'_>| {
        decoder.finish(&mut |text| out.add(text));
        Ok(())
    };
    // SAFETY: the caller promises it.
    status(|| unsafe { decode(decoder, (text, max_bytes, n_bytes), work) })
}
