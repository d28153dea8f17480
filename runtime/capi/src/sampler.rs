//! A sampler: how tokens are chosen.

use core::ffi::c_void;

use minigpt_runtime::Sampler;

use crate::object::{self, Kind, Object};
use crate::options::{self, SamplerOptions};
use crate::pointers;
use crate::status::{Status, status};

/// `minigpt_sampler`.
#[derive(Debug)]
#[repr(C)]
pub struct SamplerHandle {
    opaque: [u8; 0],
}

/// Largest top-k: it costs stack, of which microcontrollers have little.
const MAX_TOP_K: usize = if cfg!(target_os = "none") { 64 } else { 1024 };

/// What lies behind the handle.
pub(crate) struct OpenSampler(pub(crate) Sampler<MAX_TOP_K>);

impl Kind for OpenSampler {
    type Handle = SamplerHandle;
    const KIND: u32 = 0x6D67_5060;
}

/// `MINIGPT_SAMPLER_BYTES`, the same on every target.
pub(crate) const SAMPLER_BYTES: usize = 128;
const _: () = assert!(size_of::<Object<OpenSampler>>() <= SAMPLER_BYTES);

/// Bytes of a sampler.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_sampler_bytes() -> usize {
    size_of::<Object<OpenSampler>>()
}

/// Largest top-k.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_max_top_k() -> u32 {
    MAX_TOP_K as u32
}

impl SamplerOptions {
    /// As the runtime takes them.
    fn checked(&self) -> minigpt_runtime::SamplerOptions {
        minigpt_runtime::SamplerOptions {
            temperature: self.temperature,
            top_k: (self.top_k != 0).then_some(self.top_k as usize),
            top_p: if self.top_p == 0.0 { 1.0 } else { self.top_p },
            seed: self.seed,
        }
    }
}

/// Makes a sampler.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_sampler_init(
    options: *const SamplerOptions,
    memory: *mut c_void,
    memory_bytes: usize,
    sampler: *mut *mut SamplerHandle,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(sampler) }?;
        // SAFETY: the caller promises it.
        let options = unsafe { options::read(options) }?;
        let made = OpenSampler(Sampler::new(options.checked())?);
        // SAFETY: the caller promises it.
        out.write(unsafe { object::place(memory.cast(), memory_bytes, made) }?);
        Ok(())
    })
}

/// Chooses a token.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_sampler_sample(
    sampler: *mut SamplerHandle,
    logits: *mut f32,
    n_logits: usize,
    token: *mut u32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open: &mut OpenSampler = unsafe { object::get_mut(sampler) }?;
        // SAFETY: the caller promises it.
        let logits = unsafe { pointers::array_mut(logits, n_logits) }?;
        // SAFETY: the caller promises it.
        let out = unsafe { pointers::out(token) }?;
        if logits.is_empty() {
            return Err(Status::Empty);
        }
        out.write(open.0.sample(logits));
        Ok(())
    })
}
