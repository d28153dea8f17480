//! Work on one vector: norms, sums, gates, other widths.

use half::f16;

use super::Isa;
#[cfg(kernel_dsp)]
use crate::kernels::dsp;
use crate::kernels::scalar;
use crate::ops;

impl Isa {
    /// `out[i] = x[i] / sqrt(mean(x^2) + NORM_EPS) * weight[i]`.
    ///
    /// # Shapes
    /// All `[C]`.
    pub(crate) fn rms_norm(self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.rms_norm(out, x, weight),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.rms_norm(out, x, weight),
            _ => self.vectorized(|| {
                ops::normalize(out, x, (0.0, ops::rms_norm_stats(x)), weight, None);
            }),
        }
    }

    /// `y += x`, over the shorter of the two.
    pub(crate) fn add(self, y: &mut [f32], x: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.add(y, x),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.add(y, x),
            _ => self.vectorized(|| ops::axpy(y, 1.0, x)),
        }
    }

    /// `gates[i] = silu(gates[i]) * ups[i]`, over the shorter of the two.
    pub(crate) fn swiglu(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.swiglu(gates, ups),
            _ => self.vectorized(|| {
                for (gate, up) in gates.iter_mut().zip(ups) {
                    *gate = ops::silu(*gate) * up;
                }
            }),
        }
    }

    /// `out[i]` is the half precision number nearest to `x[i]`; beyond its range the largest, for NaN 0.
    #[cfg(feature = "kv-float")]
    pub(crate) fn narrow_f16(self, out: &mut [f16], x: &[f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = self.avx2() {
            return isa.narrow_f16(out, x);
        }
        #[cfg(any(kernel_neon, kernel_simd128))]
        if let Some(isa) = self.registers() {
            return isa.narrow_f16(out, x);
        }
        scalar::narrow_f16(out, x);
    }

    /// [`Self::swiglu`] for values that become 8 bits next: the sigmoid has 16 bits, and the result is the same
    /// bits everywhere.
    ///
    /// `gates[i] = (gates[i] * ups[i]) * (sigmoid_q16(gates[i]) * 2^-16)`
    pub(crate) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.swiglu_q16(gates, ups),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.swiglu_q16(gates, ups),
            #[cfg(kernel_dsp)]
            Self::Dsp(isa) => isa.swiglu_q16(gates, ups),
            #[cfg(kernel_thumb2)]
            Self::Thumb2(isa) => isa.swiglu_q16(gates, ups),
            _ => scalar::swiglu_q16(gates, ups),
        }
    }

    /// `out[i] = x[i]`, exactly.
    pub(crate) fn widen_f16(self, out: &mut [f32], x: &[f16]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.widen_f16(out, x),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.avx2.widen_f16(out, x),
            #[cfg(kernel_neon)]
            Self::Neon(isa) => isa.widen_f16(out, x),
            #[cfg(kernel_simd128)]
            Self::Simd128(isa) => isa.widen_f16(out, x),
            #[cfg(kernel_dsp)]
            Self::Dsp(_) => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = dsp::widened(*x);
                }
            }
            _ => scalar::widen_f16(out, x),
        }
    }
}
