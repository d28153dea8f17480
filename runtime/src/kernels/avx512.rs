//! AVX-512 with its byte and word instructions, with VNNI or without: Intel since Skylake-X (2017) and Ice
//! Lake (2019), AMD since Zen 4 (2022). Where longer registers gain little, [`Avx2`] does the work.

#[cfg(feature = "rayon")]
mod attention;
mod floats;
mod integer_attention;
mod integers;

use half::f16;

use super::Output;
#[cfg(feature = "rayon")]
use super::Tile;
use super::avx2::Avx2;
use super::tiles;
use crate::quant::{Q4Matrix, Q8Activations, Q8Matrix};

/// Proof that AVX-512 F, BW, DQ and VL are present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512 {
    pub(super) avx2: Avx2,
    /// Whether VNNI is too.
    pub(super) vnni: bool,
}

impl Avx512 {
    /// Without VNNI, and with it.
    pub(super) fn detect() -> [Option<Self>; 2] {
        #[cfg(feature = "std")]
        let (base, vnni) = (
            std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512vl"),
            std::is_x86_feature_detected!("avx512vnni"),
        );
        #[cfg(not(feature = "std"))]
        let (base, vnni) = (
            cfg!(all(
                target_feature = "avx512f",
                target_feature = "avx512bw",
                target_feature = "avx512dq",
                target_feature = "avx512vl"
            )),
            cfg!(target_feature = "avx512vnni"),
        );
        let avx2 = Avx2::detect().filter(|_| base);
        let with = |vnni| avx2.map(|avx2| Self { avx2, vnni });
        [with(false), with(true).filter(|_| vnni)]
    }

    pub(super) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        // SAFETY: `self` exists only where the features were found.
        unsafe { floats::matmul_f32(out, w, x, cols) }
    }

    pub(super) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        // SAFETY: as above.
        unsafe { floats::matmul_f16(out, w, x, cols) }
    }

    pub(super) fn matmul_q8(self, out: Output<'_>, w: Q8Matrix<'_>, x: Q8Activations<'_>) {
        if x.blocks.n > tiles::MOST_BLOCKS {
            self.avx2.matmul_q8(out, w, x);
        } else if self.vnni {
            // SAFETY: as above, and `vnni` is true only where it was found.
            unsafe { integers::matmul_q8_vnni(out, w, x) }
        } else {
            // SAFETY: as above.
            unsafe { integers::matmul_q8(out, w, x) }
        }
    }

    pub(super) fn matmul_q4(self, out: Output<'_>, w: Q4Matrix<'_>, x: Q8Activations<'_>) {
        if x.blocks.n > tiles::MOST_BLOCKS {
            self.avx2.matmul_q4(out, w, x);
        } else if self.vnni {
            // SAFETY: as above, and `vnni` is true only where it was found.
            unsafe { integers::matmul_q4_vnni(out, w, x) }
        } else {
            // SAFETY: as above.
            unsafe { integers::matmul_q4(out, w, x) }
        }
    }

    #[cfg(feature = "rayon")]
    pub(super) fn attend_tile(self, tile: Tile<'_>) {
        // SAFETY: as above.
        unsafe { attention::attend_tile(tile) }
    }
}

/// A mask of the first `n` of up to 64 lanes.
#[inline(always)]
fn lanes_below(n: usize) -> u64 {
    if n < 64 { (1 << n) - 1 } else { u64::MAX }
}
