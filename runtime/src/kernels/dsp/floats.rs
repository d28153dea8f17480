//! Matrix times vector in single and half precision: four rows share each load of activations, one fused
//! multiply-add a weight.

use core::arch::naked_asm;

use half::f16;

use super::Dsp;
use crate::kernels::{Output, matmul, scalar};
use crate::parts::{part, part_mut};

/// Rows that go through together.
const ROWS: usize = 4;

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Product {
    /// `[groups, 4]`
    out: *mut f32,
    /// `[groups, 4, cols]`
    w: *const u8,
    /// `[cols]`
    x: *const f32,
    groups: usize,
    row_bytes: usize,
    /// Groups of eight columns.
    eights: usize,
    /// Whether four columns are left.
    four: usize,
}

/// `out[r] = sum(w[r, c] * x[c])` for `4 groups` rows of `8 eights + 4 four` columns.
type Rows = unsafe extern "C" fn(*const Product);

impl Dsp {
    pub(in crate::kernels) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        product(out, w, x, cols, rows_f32, scalar::dot_f32);
    }

    pub(in crate::kernels) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        product(out, w, x, cols, rows_f16, scalar::dot_f16);
    }
}

/// Groups of rows by `rows`, the rest of them, or all where columns do not come in fours, by `dot`.
fn product<T>(
    out: Output<'_>,
    w: &[T],
    x: &[f32],
    cols: usize,
    rows: Rows,
    dot: impl Fn(&[T], &[f32]) -> f32,
) {
    let n_rows = w.len() / cols.max(1);
    let groups = if cols.is_multiple_of(4) {
        n_rows / ROWS
    } else {
        0
    };
    let (first, stride) = (out.first, out.stride);
    for (t, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = part_mut(out.values, t * stride + first, groups * ROWS);
        if out.is_empty() || cols == 0 {
            continue;
        }
        let product = Product {
            out: out.as_mut_ptr(),
            w: w.as_ptr().cast(),
            x: x.as_ptr(),
            groups,
            row_bytes: cols * size_of::<T>(),
            eights: cols / 8,
            four: cols / 4 % 2,
        };
        // SAFETY: `out`, `w` and `x` hold that many rows and columns; a value of `Dsp` proves the
        // instructions.
        unsafe { rows(&product) };
    }
    let rest = Output {
        values: out.values,
        stride,
        first: first + groups * ROWS,
    };
    let done = groups * ROWS * cols;
    let w = part(w, done, w.len() - done).chunks_exact(cols.max(1));
    matmul(rest, w, x.chunks_exact(cols.max(1)), dot);
}

/// `$columns` columns of a row of floats.
macro_rules! row_f32 {
    (8, $w:literal, $sum:literal) => {
        concat!(
            "vldmia ",
            $w,
            "!, {{s8-s15}}\n",
            "vfma.f32 ",
            $sum,
            ", s8, s0\n",
            "vfma.f32 ",
            $sum,
            ", s9, s1\n",
            "vfma.f32 ",
            $sum,
            ", s10, s2\n",
            "vfma.f32 ",
            $sum,
            ", s11, s3\n",
            "vfma.f32 ",
            $sum,
            ", s12, s4\n",
            "vfma.f32 ",
            $sum,
            ", s13, s5\n",
            "vfma.f32 ",
            $sum,
            ", s14, s6\n",
            "vfma.f32 ",
            $sum,
            ", s15, s7\n",
        )
    };
    (4, $w:literal, $sum:literal) => {
        concat!(
            "vldmia ",
            $w,
            "!, {{s8-s11}}\n",
            "vfma.f32 ",
            $sum,
            ", s8, s0\n",
            "vfma.f32 ",
            $sum,
            ", s9, s1\n",
            "vfma.f32 ",
            $sum,
            ", s10, s2\n",
            "vfma.f32 ",
            $sum,
            ", s11, s3\n",
        )
    };
}

/// Two columns of a row of halves.
macro_rules! pair_f16 {
    ($w:literal, $x:literal, $y:literal, $sum:literal) => {
        concat!(
            "vcvtb.f32.f16 s12, ",
            $w,
            "\n",
            "vcvtt.f32.f16 s13, ",
            $w,
            "\n",
            "vfma.f32 ",
            $sum,
            ", s12, ",
            $x,
            "\n",
            "vfma.f32 ",
            $sum,
            ", s13, ",
            $y,
            "\n",
        )
    };
}

/// `$columns` columns of a row of halves.
macro_rules! row_f16 {
    (8, $w:literal, $sum:literal) => {
        concat!(
            "vldmia ",
            $w,
            "!, {{s8-s11}}\n",
            pair_f16!("s8", "s0", "s1", $sum),
            pair_f16!("s9", "s2", "s3", $sum),
            pair_f16!("s10", "s4", "s5", $sum),
            pair_f16!("s11", "s6", "s7", $sum),
        )
    };
    (4, $w:literal, $sum:literal) => {
        concat!(
            "vldmia ",
            $w,
            "!, {{s8, s9}}\n",
            pair_f16!("s8", "s0", "s1", $sum),
            pair_f16!("s9", "s2", "s3", $sum),
        )
    };
}

macro_rules! rows {
    ($name:ident, $row:ident) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(product: *const Product) {
            naked_asm!(
                features!(),
                "push {{r4-r10, lr}}",
                "vpush {{s16-s20}}",
                "ldmia r0, {{r1-r7}}", // out, w, x, groups, row_bytes, eights, four
                "mov r0, r1",
                "mov r1, r2",
                "mov r12, r3",
                "mov lr, r4",
                "movs r2, #0",
                "vmov s20, r2",
                "1:", // rows at r1, r2, r3, r4
                "add r2, r1, r5",
                "add r3, r2, r5",
                "add r4, r3, r5",
                "mov r8, r12",
                "mov r9, r6",
                "vmov.f32 s16, s20",
                "vmov.f32 s17, s20",
                "vmov.f32 s18, s20",
                "vmov.f32 s19, s20",
                "cmp r9, #0",
                "beq.w 3f",
                "2:",
                "vldmia r8!, {{s0-s7}}",
                $row!(8, "r1", "s16"),
                $row!(8, "r2", "s17"),
                $row!(8, "r3", "s18"),
                $row!(8, "r4", "s19"),
                "subs r9, #1",
                "bne.w 2b",
                "3:",
                "cmp r7, #0",
                "beq 4f",
                "vldmia r8, {{s0-s3}}",
                $row!(4, "r1", "s16"),
                $row!(4, "r2", "s17"),
                $row!(4, "r3", "s18"),
                $row!(4, "r4", "s19"),
                "4:",
                "vstmia r0!, {{s16-s19}}",
                "mov r1, r4", // where the fourth row ends the next one begins
                "subs lr, #1",
                "bne.w 1b",
                "vpop {{s16-s20}}",
                "pop {{r4-r10, pc}}",
            )
        }
    };
}

rows!(rows_f32, row_f32);
rows!(rows_f16, row_f16);
