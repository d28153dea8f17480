//! What kernels ask of registers, in instructions of NEON.

use core::arch::aarch64::*;
use core::arch::asm;

use half::f16;

use crate::bytes::Plain as Bits;
use crate::kernels::registers::Registers;
use crate::kernels::scalar;
use crate::ops::LANES;
use crate::quant::{BLOCK, Q4_BYTES};

type Floats = float32x4_t;
type Integers = int32x4_t;
type Block = [int8x16_t; 2];

/// NEON with what multiplies bytes.
#[derive(Clone, Copy)]
pub(super) struct With<D>(pub(super) D);

/// What multiplies bytes.
pub(super) trait Dots: Copy {
    /// Four partial sums of the dot product of two blocks.
    fn dot(self, w: Block, x: Block) -> Integers;
}

/// What every core has.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Dots for Plain {
    #[inline(always)]
    fn dot(self, w: Block, x: Block) -> Integers {
        // SAFETY: the target has NEON.
        unsafe { dot(w, x) }
    }
}

/// Proof that `sdot` is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels) struct DotProduct(());

impl DotProduct {
    /// An operating system is asked, on bare metal a register.
    pub(super) fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        let present = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(all(not(feature = "std"), target_os = "none"))]
        let present = {
            let register: u64;
            // SAFETY: instruction set attribute register 0, which privileged code may read at any time;
            // `Session::with_isa` is for code that is not.
            unsafe {
                asm!("mrs {}, ID_AA64ISAR0_EL1", out(reg) register, options(pure, nomem, nostack, preserves_flags));
            }
            register >> 44 & 15 != 0
        };
        #[cfg(all(not(feature = "std"), not(target_os = "none")))]
        let present = cfg!(target_feature = "dotprod");
        present.then_some(Self(()))
    }
}

impl Dots for DotProduct {
    #[inline(always)]
    fn dot(self, w: Block, x: Block) -> Integers {
        // SAFETY: the target has NEON.
        let mut sums = unsafe { zero() };
        for i in 0..2 {
            // SAFETY: an instruction on registers, which `self` proves to be there.
            unsafe {
                asm!(".arch_extension dotprod", "sdot {:v}.4s, {:v}.16b, {:v}.16b",
                    inout(vreg) sums, in(vreg) w[i], in(vreg) x[i], options(pure, nomem, nostack, preserves_flags));
            }
        }
        sums
    }
}

/// Methods that are the functions below.
macro_rules! methods {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $type),*) $(-> $result)? {
                // SAFETY: the target has NEON.
                unsafe { $name($($argument),*) }
            }
        )*
    };
}

impl<D: Dots> Registers for With<D> {
    type Floats = Floats;
    type Integers = Integers;
    type Block = Block;

    methods! {
        splat(x: f32) -> Floats;
        load(x: &[f32; LANES]) -> [Floats; 2];
        load_f16(x: &[f16; LANES]) -> [Floats; 2];
        store(out: &mut [f32; 4], x: Floats);
        widen(x: [f16; 4]) -> Floats;
        add(a: Floats, b: Floats) -> Floats;
        mul(a: Floats, b: Floats) -> Floats;
        mul_add(a: Floats, b: Floats, c: Floats) -> Floats;
        transpose(x: [Floats; 4]) -> [Floats; 4];
        block(x: &[i8; BLOCK]) -> Block;
        block_q4(x: &[i8; Q4_BYTES]) -> Block;
        exact(x: Integers) -> Floats;
        exact_q4(x: Integers) -> Floats;
        quantize_block(quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32;
    }

    #[cfg(feature = "kv-float")]
    methods! {
        narrow(x: [Floats; 2]) -> [f16; LANES];
    }

    #[inline(always)]
    fn dots(self, w: [Block; 4], x: Block) -> Integers {
        let sums = w.map(|w| self.0.dot(w, x));
        // SAFETY: the target has NEON.
        unsafe { columns(sums) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn splat(x: f32) -> Floats {
    vdupq_n_f32(x)
}

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Integers {
    vdupq_n_s32(0)
}

#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; LANES]) -> [Floats; 2] {
    [register::<0, _, _>(x), register::<1, _, _>(x)].map(|x| vreinterpretq_f32_u8(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f16(x: &[f16; LANES]) -> [Floats; 2] {
    let x = register::<0, _, _>(x);
    let (low, high);
    // SAFETY: instructions on registers that every core has.
    unsafe {
        asm!("fcvtl {0:v}.4s, {2:v}.4h", "fcvtl2 {1:v}.4s, {2:v}.8h", out(vreg) low, lateout(vreg) high, in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(x: [f16; 4]) -> Floats {
    let [a, b, c, d] = x.map(|x| u64::from(x.to_bits()));
    let halves = vcreate_u16(a | b << 16 | c << 32 | d << 48);
    let wide;
    // SAFETY: an instruction on registers that every core has.
    unsafe {
        asm!("fcvtl {:v}.4s, {:v}.4h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

#[cfg(feature = "kv-float")]
#[inline]
#[target_feature(enable = "neon")]
fn narrow(x: [Floats; 2]) -> [f16; LANES] {
    let [low, high] = x.map(|x| {
        let number = vandq_u32(vreinterpretq_u32_f32(x), vceqq_f32(x, x));
        let x = vminq_f32(vreinterpretq_f32_u32(number), splat(f16::MAX.to_f32()));
        vmaxq_f32(x, splat(f16::MIN.to_f32()))
    });
    let narrow;
    // SAFETY: instructions on registers that every core has.
    unsafe {
        asm!("fcvtn {0:v}.4h, {1:v}.4s", "fcvtn2 {0:v}.8h, {2:v}.4s", out(vreg) narrow, in(vreg) low, in(vreg) high,
            options(pure, nomem, nostack, preserves_flags));
    }
    let mut out = [f16::ZERO; LANES];
    put::<0, _, _>(&mut out, narrow);
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn store(out: &mut [f32; 4], x: Floats) {
    put::<0, _, _>(out, vreinterpretq_u8_f32(x));
}

#[inline]
#[target_feature(enable = "neon")]
fn add(a: Floats, b: Floats) -> Floats {
    vaddq_f32(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn mul(a: Floats, b: Floats) -> Floats {
    vmulq_f32(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
    vfmaq_f32(c, a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose([a, b, c, d]: [Floats; 4]) -> [Floats; 4] {
    let double = |x| vreinterpretq_f64_f32(x);
    let (ab, ab_odd) = (double(vtrn1q_f32(a, b)), double(vtrn2q_f32(a, b)));
    let (cd, cd_odd) = (double(vtrn1q_f32(c, d)), double(vtrn2q_f32(c, d)));
    let columns = [
        vtrn1q_f64(ab, cd),
        vtrn1q_f64(ab_odd, cd_odd),
        vtrn2q_f64(ab, cd),
        vtrn2q_f64(ab_odd, cd_odd),
    ];
    columns.map(|x| vreinterpretq_f32_f64(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn block(x: &[i8; BLOCK]) -> Block {
    [register::<0, _, _>(x), register::<1, _, _>(x)].map(|x| vreinterpretq_s8_u8(x))
}

/// Sixteen times the integers: flipping the upper bit of a half takes 8 off.
#[inline]
#[target_feature(enable = "neon")]
fn block_q4(x: &[i8; Q4_BYTES]) -> Block {
    let x = veorq_u8(register::<0, _, _>(x), vdupq_n_u8(0x88));
    [vshlq_n_u8::<4>(x), vandq_u8(x, vdupq_n_u8(0xF0))].map(|x| vreinterpretq_s8_u8(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn dot(w: Block, x: Block) -> Integers {
    // Two products fit 16 bits: |w| is at most 128, |x| 127.
    let pairs = |i: usize| {
        let low = vmull_s8(vget_low_s8(w[i]), vget_low_s8(x[i]));
        vmlal_high_s8(low, w[i], x[i])
    };
    vpadalq_s16(vpaddlq_s16(pairs(0)), pairs(1))
}

/// The sum of each register, in the lane of its number.
#[inline]
#[target_feature(enable = "neon")]
fn columns([a, b, c, d]: [Integers; 4]) -> Integers {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

#[inline]
#[target_feature(enable = "neon")]
fn exact(x: Integers) -> Floats {
    vcvtq_f32_s32(x)
}

#[inline]
#[target_feature(enable = "neon")]
fn exact_q4(x: Integers) -> Floats {
    vcvtq_n_f32_s32::<4>(x)
}

#[inline]
#[target_feature(enable = "neon")]
fn quantize_block(quants: &mut [i8; BLOCK], x: &[f32; BLOCK]) -> f32 {
    let [a, b, c, d] = x.as_chunks().0 else {
        return 0.0;
    };
    let [[a, b], [c, d], [e, f], [g, h]] = [load(a), load(b), load(c), load(d)];
    let registers = [a, b, c, d, e, f, g, h];
    let mut largest = vdupq_n_u32(0);
    for x in registers {
        // As integers magnitudes have the order they have as numbers, with NaN above infinity.
        let magnitude = vreinterpretq_u32_f32(vabsq_f32(x));
        let number = vcleq_u32(magnitude, vdupq_n_u32(f32::INFINITY.to_bits()));
        largest = vmaxq_u32(largest, vandq_u32(magnitude, number));
    }
    let (scale, inverse) = scalar::scale(f32::from_bits(vmaxvq_u32(largest)));
    // Of NaN the conversion makes 0.
    let [a, b, c, d, e, f, g, h] = registers.map(|x| vcvtnq_s32_f32(vmulq_n_f32(x, inverse)));
    let pairs = |low, high| vqmovn_high_s32(vqmovn_s32(low), high);
    let bytes = |low, high| vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(low), high));
    put::<0, _, _>(quants, bytes(pairs(a, b), pairs(c, d)));
    put::<1, _, _>(quants, bytes(pairs(e, f), pairs(g, h)));
    scale
}

/// Register `I` of an array.
#[inline]
#[target_feature(enable = "neon")]
fn register<const I: usize, T: Bits, const N: usize>(x: &[T; N]) -> uint8x16_t {
    const { assert!((I + 1) * 16 <= size_of::<[T; N]>(), "the array ends before") };
    let from = x.as_ptr().cast::<u8>().wrapping_add(I * 16);
    #[cfg(not(kernel_bytewise))]
    // SAFETY: the array has these sixteen bytes; the load needs no alignment.
    return unsafe { vld1q_u8(from) };
    #[cfg(kernel_bytewise)]
    {
        let bytes;
        // SAFETY: the array has these sixteen bytes, each of which is loaded as one.
        unsafe {
            asm!("ld1 {{{:v}.16b}}, [{}]", out(vreg) bytes, in(reg) from, options(pure, readonly, nostack, preserves_flags));
        }
        bytes
    }
}

/// To register `I` of an array.
#[inline]
#[target_feature(enable = "neon")]
fn put<const I: usize, T: Bits, const N: usize>(out: &mut [T; N], x: uint8x16_t) {
    const { assert!((I + 1) * 16 <= size_of::<[T; N]>(), "the array ends before") };
    let to = out.as_mut_ptr().cast::<u8>().wrapping_add(I * 16);
    #[cfg(not(kernel_bytewise))]
    // SAFETY: the array has these sixteen bytes, and any are values; the store needs no alignment.
    return unsafe { vst1q_u8(to, x) };
    #[cfg(kernel_bytewise)]
    // SAFETY: the array has these sixteen bytes, each of which is stored as one, and any are values.
    unsafe {
        asm!("st1 {{{:v}.16b}}, [{}]", in(vreg) x, in(reg) to, options(nostack, preserves_flags));
    }
}
