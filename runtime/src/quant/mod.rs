//! How matrices are stored: one type per format, chosen by [`Format`] in files and by a type
//! parameter in code.

mod f16;
mod f32;
mod q4;
mod q8;
mod q8_dsp;
mod weight_format;

pub use self::f16::F16;
#[cfg(feature = "kv-float")]
pub(crate) use self::f16::nearest as nearest_f16;
pub use self::f32::F32;
#[cfg(any(target_arch = "x86_64", kernel_simd128))]
pub(crate) use self::q4::OFFSET as Q4_OFFSET;
pub use self::q4::Q4;
pub(crate) use self::q4::{BYTES as Q4_BYTES, Q4Matrix, Q4Row, integers as q4_integers};
pub use self::q8::Q8;
pub(crate) use self::q8::{Q8Activations, Q8Matrix, Q8Row};
#[cfg(kernel_dsp)]
pub(crate) use self::q8_dsp::token_bytes;
pub(crate) use self::q8_dsp::{DspMatrix, GROUP, integers};
pub use self::q8_dsp::{Q8Dsp, reorder};
pub(crate) use self::weight_format::Activations;
pub use self::weight_format::{BLOCK, Format, WeightFormat};

#[cfg(test)]
mod tests;
