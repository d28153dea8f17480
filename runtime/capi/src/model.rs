//! A model: a file that was opened.

use core::ffi::{c_char, c_void};

use minigpt_runtime::{Format, Mlp, ModelFile, Norm, Positions, Tokenizer};

use crate::any_session;
use crate::object::{self, Kind, Object};
use crate::options::{ModelFacts, Room};
use crate::pointers;
use crate::status::{Status, status};

/// `minigpt_model`.
#[derive(Debug)]
#[repr(C)]
pub struct ModelHandle {
    opaque: [u8; 0],
}

/// What lies behind the handle.
#[derive(Clone, Copy)]
pub(crate) struct OpenModel {
    /// Borrows the caller's memory for as long as the caller leaves it there.
    pub(crate) file: ModelFile<'static>,
    /// Where the file begins.
    pub(crate) at: *const u8,
}

impl Kind for OpenModel {
    type Handle = ModelHandle;
    const KIND: u32 = 0x6D67_4D40;
}

/// `MINIGPT_MODEL_BYTES`, the same on every target.
pub(crate) const MODEL_BYTES: usize = 512;
const _: () = assert!(size_of::<Object<OpenModel>>() <= MODEL_BYTES);

/// A model that an object needs as long as it lives.
#[derive(Clone, Copy)]
pub(crate) struct ModelRef {
    handle: *const ModelHandle,
    at: *const u8,
}

impl ModelRef {
    /// To the live model at `handle`.
    ///
    /// # Safety
    /// As the crate says.
    pub(crate) unsafe fn new(handle: *const ModelHandle) -> Result<Self, Status> {
        // SAFETY: the caller promises it.
        let at = unsafe { object::get::<OpenModel>(handle) }?.at;
        Ok(Self { handle, at })
    }

    /// The model, if it still is the one that it was.
    ///
    /// # Safety
    /// As the crate says.
    pub(crate) unsafe fn get<'a>(self) -> Result<&'a OpenModel, Status> {
        // SAFETY: the caller promises it.
        match unsafe { object::get::<OpenModel>(self.handle) } {
            Ok(model) if model.at == self.at => Ok(model),
            _ => Err(Status::Closed),
        }
    }
}

/// Bytes of a model object.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_model_bytes() -> usize {
    size_of::<Object<OpenModel>>()
}

/// Alignment of all objects.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_alignment() -> usize {
    object::ALIGNMENT
}

/// How a file is opened.
type Open = fn(&'static [u8]) -> Result<ModelFile<'static>, minigpt_runtime::LoadError>;

/// # Safety
/// As the crate says.
unsafe fn open(
    how: Open,
    (file, file_bytes): (*const c_void, usize),
    (memory, memory_bytes): (*mut c_void, usize),
    model: *mut *mut ModelHandle,
) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let out = unsafe { pointers::out(model) }?;
    object::check_room::<OpenModel>(memory.cast(), memory_bytes)?;
    let at: *const u8 = file.cast();
    pointers::check(at)?;
    // SAFETY: the caller promises it, and that the file stays where it is.
    let bytes = unsafe { pointers::array(at, file_bytes) }?;
    if pointers::overlap(memory.cast(), memory_bytes, at, file_bytes) {
        return Err(Status::Overlap);
    }
    let file = how(bytes)?;
    if !any_session::is_built(file.format()) {
        return Err(Status::FileFormat);
    }
    // SAFETY: the caller promises it.
    let handle = unsafe { object::place(memory.cast(), memory_bytes, OpenModel { file, at }) }?;
    out.write(handle);
    Ok(())
}

/// Opens a file of exactly these bytes.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_open(
    file: *const c_void,
    file_bytes: usize,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut ModelHandle,
) -> i32 {
    let (file, memory) = ((file, file_bytes), (memory, memory_bytes));
    // SAFETY: the caller promises it.
    status(|| unsafe { open(ModelFile::open, file, memory, model) })
}

/// Opens the file at the beginning of these bytes.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_open_at(
    partition: *const c_void,
    partition_bytes: usize,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut ModelHandle,
) -> i32 {
    let (file, memory) = ((partition, partition_bytes), (memory, memory_bytes));
    // SAFETY: the caller promises it.
    status(|| unsafe { open(ModelFile::open_at, file, memory, model) })
}

/// Compares the checksum.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_verify(model: *const ModelHandle) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let model: &OpenModel = unsafe { object::get(model) }?;
        Ok(model.file.verify()?)
    })
}

/// Writes the facts.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_facts_of(
    model: *const ModelHandle,
    facts: *mut ModelFacts,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let model: &OpenModel = unsafe { object::get(model) }?;
        // SAFETY: the caller promises it.
        let room = unsafe { Room::new(facts) }?.ok_or(Status::Null)?;
        room.write(&facts_of(&model.file));
        Ok(())
    })
}

/// Writes a text that lies in the file.
///
/// # Safety
/// As the crate says.
unsafe fn text_of(
    model: *const ModelHandle,
    choose: fn(&OpenModel) -> &'static str,
    text: *mut *const c_char,
    text_bytes: *mut usize,
) -> Result<(), Status> {
    // SAFETY: the caller promises it.
    let chosen = choose(unsafe { object::get(model) }?);
    // SAFETY: the caller promises it.
    let text = unsafe { pointers::out(text) }?;
    // SAFETY: the caller promises it.
    let text_bytes = unsafe { pointers::out(text_bytes) }?;
    text.write(chosen.as_ptr().cast());
    text_bytes.write(chosen.len());
    Ok(())
}

/// A name for people.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_name(
    model: *const ModelHandle,
    text: *mut *const c_char,
    text_bytes: *mut usize,
) -> i32 {
    let choose = |model: &OpenModel| model.file.header().metadata.name;
    // SAFETY: the caller promises it.
    status(|| unsafe { text_of(model, choose, text, text_bytes) })
}

/// How the model was made.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_made_by(
    model: *const ModelHandle,
    text: *mut *const c_char,
    text_bytes: *mut usize,
) -> i32 {
    let choose = |model: &OpenModel| model.file.header().metadata.made_by;
    // SAFETY: the caller promises it.
    status(|| unsafe { text_of(model, choose, text, text_bytes) })
}

/// Ends the use of a model.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_model_close(model: *mut ModelHandle) -> i32 {
    // SAFETY: the caller promises it.
    status(|| unsafe { object::close::<OpenModel>(model) })
}

fn facts_of(file: &ModelFile<'_>) -> ModelFacts {
    let (shape, header) = (file.config().hyperparameters(), file.header());
    let specials = header.tokenizer.specials();
    let id = |token: Option<u32>| token.unwrap_or(u32::MAX);
    ModelFacts {
        size: 0,
        format: number(&FORMATS, &header.format),
        n_vocab: shape.n_vocab,
        n_tokens: header.tokenizer.n_vocab() as u32,
        n_ctx: shape.n_ctx,
        n_embd: shape.n_embd,
        n_head: shape.n_head,
        n_head_kv: shape.n_head_kv,
        n_layer: shape.n_layer,
        n_ff: shape.n_ff,
        positions: number(&POSITIONS, &shape.positions),
        rope_theta: shape.rope_theta,
        norm: number(&NORMS, &shape.norm),
        mlp: number(&MLPS, &shape.mlp),
        bias: u32::from(shape.bias),
        tied_head: u32::from(shape.tied_head),
        tokenizer: tokenizer_number(&header.tokenizer),
        pad: id(specials.pad),
        unk: id(specials.unk),
        bos: id(specials.bos),
        eos: id(specials.eos),
        bits_per_byte: header.metadata.bits_per_byte.unwrap_or(f32::NAN),
        file_bytes: file.len() as u64,
    }
}

/// By `MINIGPT_FORMAT_` number.
pub(crate) const FORMATS: [Format; 5] = [
    Format::F32,
    Format::F16,
    Format::Q8,
    Format::Q8Dsp,
    Format::Q4,
];

/// By `MINIGPT_POSITIONS_` number.
pub(crate) const POSITIONS: [Positions; 3] =
    [Positions::Learned, Positions::Sinusoidal, Positions::Rope];

/// By `MINIGPT_NORM_` number.
pub(crate) const NORMS: [Norm; 2] = [Norm::LayerNorm, Norm::RmsNorm];

/// By `MINIGPT_MLP_` number.
pub(crate) const MLPS: [Mlp; 4] = [Mlp::Relu, Mlp::Gelu, Mlp::Swiglu, Mlp::ReluSquared];

fn number<T: PartialEq>(numbered: &[T], value: &T) -> u32 {
    let found = numbered.iter().position(|other| other == value);
    found.map_or(u32::MAX, |index| index as u32)
}

fn tokenizer_number(tokenizer: &Tokenizer<'_>) -> u32 {
    match tokenizer {
        Tokenizer::Byte => 0,
        Tokenizer::Char(_) => 1,
        Tokenizer::Bpe(_) => 2,
        Tokenizer::SentencePiece(_) => 3,
        _ => u32::MAX,
    }
}
