//! What a call says.

use core::ffi::{CStr, c_char};

use minigpt_runtime::format::HeaderError;
use minigpt_runtime::tokenizer::{DecodeError, TokenizeError};
use minigpt_runtime::{LoadError, SamplerError, SessionError};

/// The numbers, names and texts, once.
macro_rules! statuses {
    ($($variant:ident = $number:literal, $name:literal, $text:literal;)*) => {
        /// What a call says; the header explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "the header says it, and the text")]
        pub enum Status {
            $($variant = $number,)*
        }

        impl Status {
            /// Every status, with its name in the header and its text.
            #[cfg(test)]
            pub(crate) const ALL: &[(Self, &str, &CStr)] = &[$((Self::$variant, $name, $text),)*];

            /// What `number` means, and what to do.
            const fn text(number: i32) -> &'static CStr {
                match number {
                    $($number => $text,)*
                    _ => c"no status of this library; compare minigpt_version() with the header",
                }
            }
        }
    };
}

statuses! {
    Ok = 0, "MINIGPT_OK", c"no error";
    Null = 1, "MINIGPT_NULL", c"a pointer is NULL; give every one that the header does not call optional";
    Misaligned = 2, "MINIGPT_MISALIGNED", c"a pointer is not aligned; memory for objects begins at a multiple of 16, arrays at one of their elements' size";
    MemoryTooSmall = 3, "MINIGPT_MEMORY_TOO_SMALL", c"the memory is too small; a model takes MINIGPT_MODEL_BYTES, a sampler MINIGPT_SAMPLER_BYTES, a decoder MINIGPT_DECODER_BYTES, a session what minigpt_session_bytes says, less with a shorter context (minigpt_session_fit)";
    TooLarge = 4, "MINIGPT_TOO_LARGE", c"a size is beyond what this machine can address; use a smaller model or a shorter context";
    NotReady = 5, "MINIGPT_NOT_READY", c"the object was not begun, was copied, or was overwritten; open or init it, and leave its memory alone";
    Closed = 6, "MINIGPT_CLOSED", c"the object was closed, or its model was; open and init them again";
    Busy = 7, "MINIGPT_BUSY", c"the object is in use by minigpt_generate; wait for its return";
    Overlap = 8, "MINIGPT_OVERLAP", c"memory of an object overlaps the model or its file; give it memory of its own";
    BufferTooSmall = 9, "MINIGPT_BUFFER_TOO_SMALL", c"the output does not fit; give as much room as the length that was written says";
    Empty = 10, "MINIGPT_EMPTY", c"nothing was given to work on; give at least one token, or one logit";
    OptionsSize = 11, "MINIGPT_OPTIONS_SIZE", c"the size of a struct is of no version that this library knows; set it with the _INIT macro, and update the library";
    NotAModel = 20, "MINIGPT_NOT_A_MODEL", c"not a minigpt model: the bytes do not begin with \"MGPT\"; check the address, or write the file there";
    FileVersion = 21, "MINIGPT_FILE_VERSION", c"the model is of a version that this library does not read; update the library or export the model again";
    FileTruncated = 22, "MINIGPT_FILE_TRUNCATED", c"the model is cut short; copy or export it again";
    FileMalformed = 23, "MINIGPT_FILE_MALFORMED", c"the model is damaged; copy or export it again";
    FileTooLong = 24, "MINIGPT_FILE_TOO_LONG", c"bytes follow the model; give its exact length, or use minigpt_model_open_at";
    FileConfig = 25, "MINIGPT_FILE_CONFIG", c"the sizes in the file are no model's; export it again";
    FileTokenizer = 26, "MINIGPT_FILE_TOKENIZER", c"the tokenizer in the file is damaged or larger than the model; export it again";
    FileWeights = 27, "MINIGPT_FILE_WEIGHTS", c"the weights are of another length than the model's sizes ask for; copy or export it again";
    FileMisaligned = 28, "MINIGPT_FILE_MISALIGNED", c"the model does not lie on a 16-byte boundary; move it to one";
    FileChecksum = 29, "MINIGPT_FILE_CHECKSUM", c"the model is damaged: its checksum is another; copy or export it again";
    FileFormat = 30, "MINIGPT_FILE_FORMAT", c"the library was built without the model's weight format (f32, f16, q8, q8-dsp, q4) or another part that it needs; minigpt inspect MODEL names both, cargo xtask capi takes them as --formats and --parts; or export the model in another format";
    BadKv = 40, "MINIGPT_BAD_KV", c"kv is no format of keys and values, or none of this library; use a MINIGPT_KV_ number";
    BadTemperature = 41, "MINIGPT_BAD_TEMPERATURE", c"temperature must be a number from 0 (always the most likely token) up";
    BadTopK = 42, "MINIGPT_BAD_TOP_K", c"top_k is larger than minigpt_max_top_k(); use less, or 0 for all tokens";
    BadTopP = 43, "MINIGPT_BAD_TOP_P", c"top_p must be from 0 (all tokens) to 1";
    BadMinP = 44, "MINIGPT_BAD_MIN_P", c"the share of the likeliest must be from 0 (all tokens) to 1";
    BadPenalty = 45, "MINIGPT_BAD_PENALTY", c"a penalty must be a finite number, and that for repetition not negative; 0 is none";
    ContextFull = 60, "MINIGPT_CONTEXT_FULL", c"the tokens do not fit into the context; give fewer, or slide, truncate or reset the session";
    ContextTooShort = 61, "MINIGPT_CONTEXT_TOO_SHORT", c"a context of one token cannot slide; give the session a longer one";
    ChunkTooLong = 65, "MINIGPT_CHUNK_TOO_LONG", c"more tokens than the session takes in one piece; begin with fewer, or give it a larger n_chunk";
    NotBegun = 66, "MINIGPT_NOT_BEGUN", c"there is nothing to go on with; call minigpt_session_begin first";
    UnknownToken = 62, "MINIGPT_UNKNOWN_TOKEN", c"the vocabulary has no such token; use one below n_tokens";
    UnknownCharacter = 63, "MINIGPT_UNKNOWN_CHARACTER", c"the model's alphabet lacks a character of the text; leave it out";
    InvalidUtf8 = 64, "MINIGPT_INVALID_UTF8", c"the text is not UTF-8, which this model's tokenizer needs; convert it";
}

/// What `status` means and what to do.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_status_text(status: i32) -> *const c_char {
    Status::text(status).as_ptr()
}

/// The number of what `work` says.
pub(crate) fn status(work: impl FnOnce() -> Result<(), Status>) -> i32 {
    match work() {
        Ok(()) => Status::Ok as i32,
        Err(status) => status as i32,
    }
}

impl From<LoadError> for Status {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NotAModel => Self::NotAModel,
            LoadError::Version { .. } => Self::FileVersion,
            LoadError::Truncated => Self::FileTruncated,
            LoadError::TrailingBytes { .. } => Self::FileTooLong,
            LoadError::Header(error) if error.absent_feature().is_some() => Self::FileFormat,
            LoadError::Header(HeaderError::Config(_)) => Self::FileConfig,
            LoadError::Header(_) => Self::FileTokenizer,
            LoadError::WeightsLength { .. } => Self::FileWeights,
            LoadError::Misaligned { .. } => Self::FileMisaligned,
            LoadError::Checksum { .. } => Self::FileChecksum,
            LoadError::Format { .. } => Self::FileFormat,
            // `Malformed`, and what else the runtime may come to find wrong with a file.
            _ => Self::FileMalformed,
        }
    }
}

impl From<SessionError> for Status {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::ArenaMisaligned { .. } => Self::Misaligned,
            SessionError::ArenaTooSmall { .. } => Self::MemoryTooSmall,
            SessionError::Absent { .. } => Self::BadKv,
            SessionError::ContextFull { .. } => Self::ContextFull,
            SessionError::ContextTooShort { .. } => Self::ContextTooShort,
            SessionError::ChunkTooLong { .. } => Self::ChunkTooLong,
            SessionError::NotBegun => Self::NotBegun,
            SessionError::UnknownToken { .. } => Self::UnknownToken,
            _ => Self::Empty,
        }
    }
}

impl From<SamplerError> for Status {
    fn from(error: SamplerError) -> Self {
        match error {
            SamplerError::TopK { .. } => Self::BadTopK,
            SamplerError::TopP { .. } => Self::BadTopP,
            _ => Self::BadTemperature,
        }
    }
}

impl From<TokenizeError> for Status {
    fn from(error: TokenizeError) -> Self {
        match error {
            TokenizeError::UnknownChar { .. } => Self::UnknownCharacter,
            TokenizeError::InvalidUtf8 { .. } => Self::InvalidUtf8,
            _ => Self::BufferTooSmall,
        }
    }
}

impl From<DecodeError> for Status {
    fn from(_: DecodeError) -> Self {
        Self::UnknownToken
    }
}
