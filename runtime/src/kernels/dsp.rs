//! Cortex-M4, M7, M33 and M55: the DSP extension's pairs of 16 bits, with single precision.
//!
//! `smlad` multiplies two pairs of 16 bits and adds both products. A matrix in the order of
//! [`crate::quant::Q8Dsp`] has two weights in 16 bits, `lane = 256 high + low`, so a word is used as it is
//! loaded: `lane * x_high` adds `low * x_high` too much and lacks `256 low * x_low`, which one product of
//! the extracted low bytes puts right:
//!
//! `256 (high x_high + low x_low) = lane * x_high + low * (256 x_low - x_high)`
//!
//! Weights of four bits have one order for all cores; [`q4`] says how their products need no masks.
//!
//! Pointers are aligned to words, but for exponents: arenas and files lie on 16 bytes, and widths and
//! records are whole words.
//! Four rows share each load of activations: 27 instructions for 32 multiply-adds. Everything here is
//! assembly: the intrinsics are unstable, and inline assembly may not name float registers.

use core::arch::naked_asm;

use half::f16;

/// What the assembler is told of the core, at the beginning of each function: it does not know the
/// target's features where a library's symbols are listed.
#[cfg(not(kernel_dsp_optional))]
macro_rules! features {
    () => {
        ".fpu fpv4-sp-d16"
    };
}
#[cfg(kernel_dsp_optional)]
macro_rules! features {
    () => {
        ".cpu cortex-m33"
    };
}

#[macro_use]
mod integers;
mod activations;
mod attention;
mod floats;
mod matrix;
mod q4;
mod residual;
mod vector;

// The heads that this build runs; a model with others is refused where it is opened.
const NARROW_HEADS: bool = cfg!(feature = "narrow-heads");
const WIDE_HEADS: bool = cfg!(feature = "wide-heads");
const ODD_HEADS: bool = cfg!(feature = "odd-heads");

/// Square root, correctly rounded: one instruction, which `libm` does not know.
#[inline]
pub(crate) fn root(x: f32) -> f32 {
    #[unsafe(naked)]
    extern "C" fn root(x: f32) -> f32 {
        naked_asm!(features!(), "vsqrt.f32 s0, s0", "bx lr")
    }
    root(x)
}

/// A number in half precision, exactly: one instruction for what `half` takes a hundred bytes for.
#[inline]
pub(crate) fn widened(x: f16) -> f32 {
    #[unsafe(naked)]
    extern "C" fn widened(x: u32) -> f32 {
        naked_asm!(features!(), "vmov s0, r0", "vcvtb.f32.f16 s0, s0", "bx lr")
    }
    widened(u32::from(x.to_bits()))
}

/// Proof that the DSP extension and single precision are present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dsp(());

impl Dsp {
    /// Armv7E-M has the extension by definition.
    #[cfg(not(kernel_scalar))]
    pub(super) const CERTAIN: Self = Self(());

    pub(super) fn detect() -> Option<Self> {
        #[cfg(not(kernel_scalar))]
        return Some(Self::CERTAIN);
        #[cfg(kernel_scalar)]
        return present().then_some(Self(()));
    }
}

/// Of Armv8-M a register tells.
#[cfg(kernel_scalar)]
fn present() -> bool {
    /// Instruction set attribute register 3 of the system control block; bits 4 to 7 are 3 with the
    /// extension.
    const ID_ISAR3: *const u32 = 0xE000_ED6C as *const u32;
    // SAFETY: every Armv8-M core with the main extension has this register, which privileged code may read
    // at any time; `Session::with_isa` is for code that is not.
    let register = unsafe { ID_ISAR3.read_volatile() };
    register >> 4 & 15 == 3
}
