//! Additions to the residual stream, and rotations.

use core::arch::naked_asm;

use super::{Dsp, ODD_HEADS};
use crate::ops::{self, LANES};
use crate::parts::{part, part_mut};

impl Dsp {
    /// `y += x`, over the shorter of the two.
    pub(in crate::kernels) fn add(self, y: &mut [f32], x: &[f32]) {
        let n = y.len().min(x.len()) / LANES;
        if n > 0 {
            // SAFETY: both have `8 n` elements; a value of `Dsp` proves the instructions.
            unsafe { add(y.as_mut_ptr(), x.as_ptr(), n) };
        }
        let (done, rest) = (n * LANES, y.len() - n * LANES);
        ops::axpy(part_mut(y, done, rest), 1.0, part(x, done, x.len() - done));
    }

    /// [`ops::rope`] of some heads.
    pub(in crate::kernels) fn rope(self, heads: &mut [f32], table: &[f32]) {
        let head_size = table.len().max(1);
        if !head_size.is_multiple_of(LANES) || heads.len() < head_size {
            if ODD_HEADS {
                ops::rope_heads(heads, table);
            }
            return;
        }
        let (n, eights) = (heads.len() / head_size, head_size / LANES);
        // SAFETY: there are `n` heads, at least one, of `8 eights` values, and so many angles; a value of `Dsp`
        // proves the instructions.
        unsafe { rope(heads.as_mut_ptr(), table.as_ptr(), n, eights) };
    }
}

/// `y[i] += x[i]` for `8 n` elements.
#[unsafe(naked)]
unsafe extern "C" fn add(y: *mut f32, x: *const f32, n: usize) {
    naked_asm!(
        features!(),
        "1:",
        "vldmia r0, {{s0-s7}}",
        "vldmia r1!, {{s8-s15}}",
        "vadd.f32 s0, s0, s8",
        "vadd.f32 s1, s1, s9",
        "vadd.f32 s2, s2, s10",
        "vadd.f32 s3, s3, s11",
        "vadd.f32 s4, s4, s12",
        "vadd.f32 s5, s5, s13",
        "vadd.f32 s6, s6, s14",
        "vadd.f32 s7, s7, s15",
        "vstmia r0!, {{s0-s7}}",
        "subs r2, #1",
        "bne 1b",
        "bx lr",
    )
}

/// Turns the pair `$x`, `$y` by the angle of `$cos`, `$sin`, into `$a`, `$b`.
macro_rules! turn {
    ($x:literal, $y:literal, $cos:literal, $sin:literal, $a:literal, $b:literal) => {
        concat!(
            "vmul.f32 ",
            $a,
            ", ",
            $x,
            ", ",
            $cos,
            "\n",
            "vmul.f32 ",
            $b,
            ", ",
            $x,
            ", ",
            $sin,
            "\n",
            "vmls.f32 ",
            $a,
            ", ",
            $y,
            ", ",
            $sin,
            "\n",
            "vmla.f32 ",
            $b,
            ", ",
            $y,
            ", ",
            $cos,
            "\n",
        )
    };
}

/// Turns `n` heads of `8 eights` values by the angles of `table`.
#[unsafe(naked)]
unsafe extern "C" fn rope(heads: *mut f32, table: *const f32, n: usize, eights: usize) {
    naked_asm!(
        features!(),
        "push {{r4, lr}}",
        "1:",
        "mov r12, r1",
        "mov r4, r3",
        "2:",
        "vldmia r0, {{s0-s3}}",
        "vldmia r12!, {{s8-s11}}",
        turn!("s0", "s1", "s8", "s9", "s4", "s5"),
        turn!("s2", "s3", "s10", "s11", "s6", "s7"),
        "vstmia r0!, {{s4-s7}}",
        "vldmia r0, {{s0-s3}}",
        "vldmia r12!, {{s8-s11}}",
        turn!("s0", "s1", "s8", "s9", "s4", "s5"),
        turn!("s2", "s3", "s10", "s11", "s6", "s7"),
        "vstmia r0!, {{s4-s7}}",
        "subs r4, #1",
        "bne 2b",
        "subs r2, #1",
        "bne 1b",
        "pop {{r4, pc}}",
    )
}
