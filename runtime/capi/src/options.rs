//! The structs of the header, which grow at their ends.

use minigpt_runtime::KvFormat;

use crate::pointers;
use crate::status::Status;

/// Largest size of a struct that is believed; more is a `size` that was never set.
const MAX_SIZE: usize = 4096;

/// A struct that begins with its size in bytes, as `u32`.
///
/// # Safety
/// `repr(C)`, without padding, every bit pattern a value, `size` first.
pub(crate) unsafe trait Sized32: Copy {
    /// Bytes of the first version that there was.
    const FIRST: usize;
    /// All zeros: the defaults.
    const ZERO: Self;
}

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident $bytes:literal { $($field:ident: $type:ty = $zero:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        #[allow(missing_docs, clippy::exhaustive_structs, reason = "the header's")]
        pub struct $name { pub size: u32, $(pub $field: $type,)* }

        // The header's struct has this size on every target.
        const _: () = assert!(size_of::<$name>() == $bytes);

        // SAFETY: `repr(C)`, numbers only, `size` first; the assertion above rules out padding.
        unsafe impl Sized32 for $name {
            const FIRST: usize = $bytes;
            const ZERO: Self = Self { size: 0, $($field: $zero),* };
        }
    )*};
}

structs! {
    /// `minigpt_model_facts`.
    ModelFacts 96 {
        format: u32 = 0, n_vocab: u32 = 0, n_tokens: u32 = 0, n_ctx: u32 = 0, n_embd: u32 = 0,
        n_head: u32 = 0, n_head_kv: u32 = 0, n_layer: u32 = 0, n_ff: u32 = 0, positions: u32 = 0,
        rope_theta: f32 = 0.0, norm: u32 = 0, mlp: u32 = 0, bias: u32 = 0, tied_head: u32 = 0,
        tokenizer: u32 = 0, pad: u32 = 0, unk: u32 = 0, bos: u32 = 0, eos: u32 = 0,
        bits_per_byte: f32 = 0.0, file_bytes: u64 = 0,
    }
    /// `minigpt_session_options`.
    SessionOptions 16 { n_ctx: u32 = 0, n_chunk: u32 = 0, kv: u32 = 0 }
    /// `minigpt_sampler_options`.
    SamplerOptions 24 { temperature: f32 = 0.0, top_k: u32 = 0, top_p: f32 = 0.0, seed: u64 = 0 }
    /// `minigpt_penalty_options`.
    PenaltyOptions 20 { repetition: f32 = 0.0, presence: f32 = 0.0, frequency: f32 = 0.0, window: u32 = 0 }
    /// `minigpt_generate_options`.
    GenerateOptions 12 { max_tokens: u32 = 0, echo: u32 = 0 }
    /// `minigpt_generated`.
    Generated 16 { stop: u32 = 0, n_prompt: u32 = 0, n_tokens: u32 = 0 }
}

/// The size that the caller wrote, if it can be one of `T`.
///
/// # Safety
/// `pointer`, where it passes the checks, points to a `u32`.
unsafe fn size<T: Sized32>(pointer: *const T) -> Result<usize, Status> {
    pointers::check(pointer)?;
    // SAFETY: aligned; the rest the caller promises.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if (T::FIRST..=MAX_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(Status::OptionsSize)
    }
}

/// Options of any version: NULL, and members that the caller does not know, are zeros.
///
/// # Safety
/// `pointer`, where it passes the checks, points to as many bytes as its `size` says.
pub(crate) unsafe fn read<T: Sized32>(pointer: *const T) -> Result<T, Status> {
    if pointer.is_null() {
        return Ok(T::ZERO);
    }
    // SAFETY: the caller promises it.
    let size = unsafe { size(pointer) }?;
    // SAFETY: the caller promises it.
    let given: &[u8] = unsafe { pointers::array(pointer.cast(), size) }?;
    let (known, unknown) = given.split_at(size.min(size_of::<T>()));
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(Status::OptionsSize);
    }
    let mut options = T::ZERO;
    let bytes = (&raw mut options).cast::<u8>();
    // SAFETY: `known` is no longer than `T`, and any bytes are a value of it.
    unsafe { bytes.copy_from_nonoverlapping(known.as_ptr(), known.len()) };
    Ok(options)
}

/// Room for facts of any version; what the caller's version lacks is left out.
pub(crate) struct Room<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Sized32> Room<T> {
    /// The room at `pointer`; NULL is nowhere.
    ///
    /// # Safety
    /// `pointer`, where it passes the checks, points to as many bytes as its `size` says, and nobody else
    /// uses them until [`Self::write`].
    pub(crate) unsafe fn new(pointer: *mut T) -> Result<Option<Self>, Status> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller promises it.
        let size = unsafe { size(pointer) }?;
        Ok(Some(Self { pointer, size }))
    }

    /// Writes all members of `value` but `size`.
    pub(crate) fn write(self, value: &T) {
        let n = self.size.min(size_of::<T>()) - size_of::<u32>();
        let from = (&raw const *value).cast::<u8>();
        // SAFETY: `T` is longer than its first member.
        let from = unsafe { from.add(size_of::<u32>()) };
        // SAFETY: the same, and `new` was promised the room.
        let to = unsafe { self.pointer.cast::<u8>().add(size_of::<u32>()) };
        // SAFETY: `n` bytes are left of both.
        unsafe { to.copy_from_nonoverlapping(from, n) };
    }
}

impl SessionOptions {
    /// As the runtime takes them.
    pub(crate) fn checked(&self) -> Result<minigpt_runtime::SessionOptions, Status> {
        let kv = *KV.get(self.kv as usize).ok_or(Status::BadKv)?;
        Ok(minigpt_runtime::SessionOptions {
            n_ctx: self.n_ctx as usize,
            n_chunk: self.n_chunk.max(1) as usize,
            kv,
        })
    }
}

/// By `MINIGPT_KV_` number.
pub(crate) const KV: [KvFormat; 3] = [KvFormat::F32, KvFormat::F16, KvFormat::Q8];

/// All members 0.
#[cfg(test)]
pub(crate) const fn zero<T: Sized32>() -> T {
    T::ZERO
}
