//! The C library of minigpt: `include/minigpt.h` is its manual, `README.md` its guide.
//!
//! Every function here is one of the header, with the same name, in the header's order, and is
//! documented there. All of them work alike: [`pointers`] checks what C gave, [`object`] finds the
//! Rust value that lies in the caller's memory, the runtime does the work, and [`Status`] says how it
//! went.
//!
//! # Safety
//!
//! What can be seen is checked: NULL, alignment, sizes, and the marks of objects. What cannot be seen
//! the header asks for: that pointers point to as much memory as the caller says, that memory stays
//! where it is while an object in it is used, and that one thread at a time uses a session, a sampler
//! or a decoder. Each function's `# Safety` is this.
#![cfg_attr(any(target_os = "none", target_family = "wasm"), no_std)]
#![allow(
    unsafe_code,
    reason = "C gives raw pointers; each is checked as far as it can be"
)]

#[cfg(not(any(
    feature = "f32",
    feature = "f16",
    feature = "q8",
    feature = "q8-dsp",
    feature = "q4"
)))]
compile_error!("without a weight format no model can run: enable f32, f16, q8, q8-dsp or q4");

mod any_session;
mod decoder;
mod encode;
mod generate;
mod logits;
mod model;
mod object;
mod options;
mod pointers;
mod sampler;
mod sequence;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod version;

pub use decoder::*;
pub use encode::*;
pub use generate::*;
pub use logits::*;
pub use model::*;
pub use options::{
    GenerateOptions, Generated, ModelFacts, PenaltyOptions, SamplerOptions, SessionOptions,
};
pub use sampler::*;
pub use sequence::*;
pub use session::*;
pub use status::{Status, minigpt_status_text};
pub use version::*;

/// Ends in the fault handler: there is nobody to tell.
#[cfg(all(
    feature = "panic-handler",
    any(target_os = "none", target_family = "wasm")
))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(target_arch = "arm")]
    // SAFETY: an undefined instruction, which does not return.
    unsafe {
        core::arch::asm!("udf #0", options(noreturn))
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: an instruction that is never defined, which does not return.
    unsafe {
        core::arch::asm!("unimp", options(noreturn))
    }
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable()
}
