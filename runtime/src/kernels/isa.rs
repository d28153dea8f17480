//! Which instruction set: found, named, and each kernel handed to it.

mod heads;
mod products;
mod vectors;

#[cfg(kernel_dsp)]
use super::dsp;
#[cfg(kernel_neon)]
use super::neon;
#[cfg(kernel_simd128)]
use super::simd128;
#[cfg(kernel_thumb2)]
use super::thumb2;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// An instruction set known to be present: a value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; the specification of the arithmetic. Absent where every core of the target has `Self::Dsp`.
    #[cfg(kernel_scalar)]
    Scalar,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512 with or without VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// The DSP extension of Cortex-M with single precision.
    #[cfg(kernel_dsp)]
    Dsp(dsp::Dsp),
    /// Cortex-M3 and other cores with its instructions and no floating point.
    #[cfg(kernel_thumb2)]
    Thumb2(thumb2::Thumb2),
    /// NEON with or without the dot product instructions.
    #[cfg(kernel_neon)]
    Neon(neon::Neon),
    /// WebAssembly's vectors.
    #[cfg(kernel_simd128)]
    Simd128(simd128::Simd128),
}

impl Isa {
    /// Every set this machine has, scalar first and the best last. Without the feature `std` the
    /// compiler's target decides; on bare metal a register of the processor does where one tells.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let [avx512, avx512_vnni] = avx512::Avx512::detect();
        #[cfg(kernel_neon)]
        let [neon, neon_dot_product] = neon::Neon::detect();
        let all = [
            #[cfg(kernel_scalar)]
            Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            avx512.map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx512_vnni.map(Self::Avx512),
            #[cfg(kernel_dsp)]
            dsp::Dsp::detect().map(Self::Dsp),
            #[cfg(kernel_thumb2)]
            thumb2::Thumb2::detect().map(Self::Thumb2),
            #[cfg(kernel_neon)]
            neon.map(Self::Neon),
            #[cfg(kernel_neon)]
            neon_dot_product.map(Self::Neon),
            #[cfg(kernel_simd128)]
            Some(Self::Simd128(simd128::Simd128::CERTAIN)),
        ];
        all.into_iter().flatten()
    }

    /// The best of [`Self::available`].
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(kernel_scalar)]
        return Self::available().last().unwrap_or(Self::Scalar);
        #[cfg(not(kernel_scalar))]
        return Self::Dsp(dsp::Dsp::CERTAIN);
    }

    /// `scalar`, `avx2`, `avx512`, `avx512-vnni`, `dsp`, `thumb2`, `neon`, `neon-dotprod`, `simd128`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(kernel_scalar)]
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) if isa.vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(kernel_dsp)]
            Self::Dsp(_) => "dsp",
            #[cfg(kernel_thumb2)]
            Self::Thumb2(_) => "thumb2",
            #[cfg(kernel_neon)]
            Self::Neon(isa) if isa.dot_product.is_some() => "neon-dotprod",
            #[cfg(kernel_neon)]
            Self::Neon(_) => "neon",
            #[cfg(kernel_simd128)]
            Self::Simd128(_) => "simd128",
        }
    }

    /// AVX2 as this set or a part of it.
    #[cfg(target_arch = "x86_64")]
    const fn avx2(self) -> Option<avx2::Avx2> {
        match self {
            #[cfg(kernel_scalar)]
            Self::Scalar => None,
            Self::Avx2(isa) => Some(isa),
            Self::Avx512(isa) => Some(isa.avx2),
        }
    }

    /// NEON.
    #[cfg(all(kernel_neon, feature = "kv-float"))]
    const fn registers(self) -> Option<neon::Neon> {
        match self {
            Self::Scalar => None,
            Self::Neon(isa) => Some(isa),
        }
    }

    /// `simd128`.
    #[cfg(all(kernel_simd128, feature = "kv-float"))]
    const fn registers(self) -> Option<simd128::Simd128> {
        match self {
            Self::Scalar => None,
            Self::Simd128(isa) => Some(isa),
        }
    }

    /// Does `work`, whose loops the compiler may write with the instructions of this set.
    #[inline(always)]
    pub(crate) fn vectorized<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            return isa.vectorized(work);
        }
        work()
    }
}
