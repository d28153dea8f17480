//! Whole vectors of floats: norm, and the nonlinearity of swiglu.

use core::arch::naked_asm;

use super::{Dsp, ODD_HEADS};
use crate::kernels::scalar::{SIGMOID, Sigmoid};
use crate::math::{EXP, ROUND};
use crate::ops::{self, LANES};
use crate::parts::{copy, part, part_mut};

/// Beyond this magnitude [`crate::math::exp`] is not its polynomial everywhere.
const PLAIN: f32 = 87.0;

/// What the assembly of [`Dsp::swiglu`] takes; it knows the order.
#[repr(C)]
struct Constants {
    log2_e: f32,
    round: f32,
    ln_2: [f32; 2],
    polynomial: [f32; 4],
    one: f32,
    /// Bits of [`PLAIN`] without the sign, shifted out.
    plain: u32,
}

impl Dsp {
    #[inline(never)]
    pub(in crate::kernels) fn rms_norm(self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        let n = x.len();
        if n == 0 || !n.is_multiple_of(LANES) || out.len() < n || weight.len() < n {
            if ODD_HEADS {
                ops::normalize(out, x, (0.0, ops::rms_norm_stats(x)), weight, None);
            }
            return;
        }
        // SAFETY: `x` has `n` elements; a value of `Dsp` proves the instructions.
        let square = unsafe { square(x.as_ptr(), n / LANES) };
        let scale = ops::rms_scale(square, n);
        // SAFETY: as above, and so have `out` and `weight`.
        unsafe {
            scaled(
                out.as_mut_ptr(),
                x.as_ptr(),
                weight.as_ptr(),
                n / LANES,
                scale,
            )
        };
    }

    /// `gates[i] = silu(gates[i]) * ups[i]`, over the shorter of the two.
    pub(in crate::kernels) fn swiglu(self, gates: &mut [f32], ups: &[f32]) {
        let constants = Constants {
            log2_e: EXP.log2_e,
            round: ROUND,
            ln_2: EXP.ln_2,
            polynomial: EXP.polynomial,
            one: 1.0,
            plain: PLAIN.to_bits() << 1,
        };
        let (mut i, n) = (0, gates.len().min(ups.len()));
        while i < n {
            let (x, y) = (
                part_mut(gates, i, n - i).as_mut_ptr(),
                part(ups, i, n - i).as_ptr(),
            );
            // SAFETY: both have `n - i` elements there; a value of `Dsp` proves the instructions.
            i += unsafe { swiglu(x, y, n - i, &constants) };
            if let (Some(gate), Some(up)) = (gates.get_mut(i), ups.get(i)) {
                *gate = ops::silu(*gate) * up;
                i += 1;
            }
        }
    }

    /// See [`crate::kernels::Isa::swiglu_q16`].
    pub(in crate::kernels) fn swiglu_q16(self, gates: &mut [f32], ups: &[f32]) {
        let n = gates.len().min(ups.len());
        let (fours, rest) = (n / 4, n % 4);
        if fours > 0 {
            // SAFETY: both have `4 fours` elements; a value of `Dsp` proves the instructions.
            unsafe { swiglu_q16(gates.as_mut_ptr(), ups.as_ptr(), fours, &SIGMOID) };
        }
        if rest > 0 {
            let (mut last, mut last_ups) = ([0.0; 4], [0.0; 4]);
            let (gates, ups) = (part_mut(gates, 4 * fours, rest), part(ups, 4 * fours, rest));
            copy(&mut last, gates);
            copy(&mut last_ups, ups);
            // SAFETY: as above.
            unsafe { swiglu_q16(last.as_mut_ptr(), last_ups.as_ptr(), 1, &SIGMOID) };
            copy(gates, &last);
        }
    }
}

/// Sum of squares of `8 n` elements, in the lanes and the order of [`ops::dot`].
#[unsafe(naked)]
unsafe extern "C" fn square(x: *const f32, n: usize) -> f32 {
    naked_asm!(
        features!(),
        "movs r2, #0",
        "vmov s8, r2",
        "vmov.f32 s9, s8",
        "vmov.f32 s10, s8",
        "vmov.f32 s11, s8",
        "vmov.f32 s12, s8",
        "vmov.f32 s13, s8",
        "vmov.f32 s14, s8",
        "vmov.f32 s15, s8",
        "1:",
        "vldmia r0!, {{s0-s7}}",
        "vmla.f32 s8, s0, s0",
        "vmla.f32 s9, s1, s1",
        "vmla.f32 s10, s2, s2",
        "vmla.f32 s11, s3, s3",
        "vmla.f32 s12, s4, s4",
        "vmla.f32 s13, s5, s5",
        "vmla.f32 s14, s6, s6",
        "vmla.f32 s15, s7, s7",
        "subs r1, #1",
        "bne 1b",
        "vadd.f32 s8, s8, s12",
        "vadd.f32 s9, s9, s13",
        "vadd.f32 s10, s10, s14",
        "vadd.f32 s11, s11, s15",
        "vadd.f32 s8, s8, s10",
        "vadd.f32 s9, s9, s11",
        "vadd.f32 s0, s8, s9",
        "bx lr",
    )
}

/// `out[i] = x[i] * scale * weight[i]` for `8 n` elements.
#[unsafe(naked)]
unsafe extern "C" fn scaled(
    out: *mut f32,
    x: *const f32,
    weight: *const f32,
    n: usize,
    scale: f32,
) {
    naked_asm!(
        features!(),
        "vpush {{s16}}",
        "1:",
        "vldmia r1!, {{s1-s8}}",
        "vldmia r2!, {{s9-s16}}",
        "vmul.f32 s1, s1, s0",
        "vmul.f32 s2, s2, s0",
        "vmul.f32 s3, s3, s0",
        "vmul.f32 s4, s4, s0",
        "vmul.f32 s5, s5, s0",
        "vmul.f32 s6, s6, s0",
        "vmul.f32 s7, s7, s0",
        "vmul.f32 s8, s8, s0",
        "vmul.f32 s1, s1, s9",
        "vmul.f32 s2, s2, s10",
        "vmul.f32 s3, s3, s11",
        "vmul.f32 s4, s4, s12",
        "vmul.f32 s5, s5, s13",
        "vmul.f32 s6, s6, s14",
        "vmul.f32 s7, s7, s15",
        "vmul.f32 s8, s8, s16",
        "vstmia r0!, {{s1-s8}}",
        "subs r3, #1",
        "bne 1b",
        "vpop {{s16}}",
        "bx lr",
    )
}

/// One element of [`Dsp::swiglu`]: the gate in `$x`, the other in `$y`; uses `$r` and the pair `$t`, `$u`.
macro_rules! element {
    ($x:literal, $y:literal, $r:literal, $t:literal, $u:literal) => {
        concat!(
            "vneg.f32 ",
            $r,
            ", ",
            $x,
            "\n",
            "vmul.f32 ",
            $t,
            ", ",
            $r,
            ", s16\n",
            "vadd.f32 ",
            $t,
            ", ",
            $t,
            ", s17\n",
            "vsub.f32 ",
            $u,
            ", ",
            $t,
            ", s17\n",
            "vmls.f32 ",
            $r,
            ", ",
            $u,
            ", s18\n",
            "vmls.f32 ",
            $r,
            ", ",
            $u,
            ", s19\n",
            "vmul.f32 ",
            $u,
            ", s20, ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s21\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s22\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s23\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vmul.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", ",
            $r,
            "\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s24\n",
            "vmov r4, r5, ",
            $t,
            ", ",
            $u,
            "\n",
            "add r5, r5, r4, lsl #23\n", // times 2^n
            "vmov ",
            $u,
            ", r5\n",
            "vadd.f32 ",
            $u,
            ", ",
            $u,
            ", s24\n",
            "vdiv.f32 ",
            $u,
            ", s24, ",
            $u,
            "\n",
            "vmul.f32 ",
            $x,
            ", ",
            $x,
            ", ",
            $u,
            "\n",
            "vmul.f32 ",
            $x,
            ", ",
            $x,
            ", ",
            $y,
            "\n",
        )
    };
}

/// Takes pairs of up to `n` elements; returns how many before a pair with a gate beyond [`PLAIN`], or before a
/// single last one.
#[unsafe(naked)]
unsafe extern "C" fn swiglu(
    gates: *mut f32,
    ups: *const f32,
    n: usize,
    constants: *const Constants,
) -> usize {
    naked_asm!(
        features!(),
        "push {{r2, r4, r5, lr}}",
        "vpush {{s16-s24}}",
        "vldmia r3!, {{s16-s24}}",
        "ldr r12, [r3]",
        "subs r2, #2",
        "blo 2f",
        "1:",
        "vldr s0, [r0]",
        "vldr s1, [r0, #4]",
        "vmov r3, r4, s0, s1",
        "cmp r12, r3, lsl #1",
        "bls 2f",
        "cmp r12, r4, lsl #1",
        "bls 2f",
        "vldmia r1!, {{s2, s3}}",
        element!("s0", "s2", "s4", "s6", "s7"),
        element!("s1", "s3", "s4", "s6", "s7"),
        "vstmia r0!, {{s0, s1}}",
        "subs r2, #2",
        "bhs 1b",
        "2:",
        "adds r2, #2",
        "vpop {{s16-s24}}",
        "pop {{r0, r4, r5, lr}}",
        "sub r0, r0, r2",
        "bx lr",
    )
}

/// `2^16 / (1 + 2^-p)`, where `$x` is a magnitude with 26 bits behind the point and `p` its product with `log2(e)`.
macro_rules! sigmoid {
    ($x:literal) => {
        concat!(
            "smmul ",
            $x,
            ", ",
            $x,
            ", r4\n",
            "lsl r10, ",
            $x,
            ", #8\n",
            "lsr r10, r10, #1\n",
            "smmla r11, r5, r10, r6\n",
            "smmla r11, r11, r10, r7\n",
            "smmla r11, r11, r10, r8\n",
            "lsr ",
            $x,
            ", ",
            $x,
            ", #24\n",
            "lsr r11, r11, ",
            $x,
            "\n",
            "add r11, r12, r11, lsr #15\n",
            "udiv ",
            $x,
            ", lr, r11\n",
        )
    };
}

/// The sigmoids of two gates `$x`, `$y`, in 16 bits; their magnitudes with 26 bits behind the point come in `$s`, `$t`.
macro_rules! sigmoids {
    ($x:literal, $y:literal, $s:literal, $t:literal) => {
        concat!(
            "vmov r3, r9, ",
            $s,
            ", ",
            $t,
            "\n",
            sigmoid!("r3"),
            sigmoid!("r9"),
            "vmov r10, r11, ",
            $x,
            ", ",
            $y,
            "\n",
            "cmp r10, #0\n",
            "it mi\n",
            "rsbmi r3, r3, #0x10000\n",
            "cmp r11, #0\n",
            "it mi\n",
            "rsbmi r9, r9, #0x10000\n",
            "vmov ",
            $s,
            ", ",
            $t,
            ", r3, r9\n",
        )
    };
}

/// `n` groups of four elements, at least one.
#[unsafe(naked)]
unsafe extern "C" fn swiglu_q16(
    gates: *mut f32,
    ups: *const f32,
    n: usize,
    constants: *const Sigmoid,
) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "ldmia r3, {{r4-r7}}", // log2(e), cubic, square, linear
        "mov r8, #0x40000000",
        "mov r12, #0x8000",
        "mov lr, #0x80000000",
        "1:",
        "vldmia r0, {{s0-s3}}",
        "vldmia r1!, {{s4-s7}}",
        "vabs.f32 s8, s0",
        "vabs.f32 s9, s1",
        "vabs.f32 s10, s2",
        "vabs.f32 s11, s3",
        "vcvt.s32.f32 s8, s8, #26",
        "vcvt.s32.f32 s9, s9, #26",
        "vcvt.s32.f32 s10, s10, #26",
        "vcvt.s32.f32 s11, s11, #26",
        sigmoids!("s0", "s1", "s8", "s9"),
        sigmoids!("s2", "s3", "s10", "s11"),
        "vcvt.f32.s32 s8, s8, #16",
        "vcvt.f32.s32 s9, s9, #16",
        "vcvt.f32.s32 s10, s10, #16",
        "vcvt.f32.s32 s11, s11, #16",
        "vmul.f32 s0, s0, s4",
        "vmul.f32 s1, s1, s5",
        "vmul.f32 s2, s2, s6",
        "vmul.f32 s3, s3, s7",
        "vmul.f32 s0, s0, s8",
        "vmul.f32 s1, s1, s9",
        "vmul.f32 s2, s2, s10",
        "vmul.f32 s3, s3, s11",
        "vstmia r0!, {{s0-s3}}",
        "subs r2, #1",
        "bne 1b",
        "pop {{r4-r11, pc}}",
    )
}
