//! Matrix times vector in single and half precision: rows share each load of activations, one fused multiply-add
//! a weight.

use core::arch::naked_asm;

use half::f16;

use super::Dsp;
use crate::kernels::{Output, matmul, scalar};
use crate::parts::{part, part_mut};

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Product {
    /// `[groups, rows]`
    out: *mut f32,
    /// `[groups, rows, cols]`
    w: *const u8,
    /// `[cols]`
    x: *const f32,
    groups: usize,
    row_bytes: usize,
    /// Groups of sixteen columns, at least one.
    sixteens: usize,
    /// Groups of four columns after those.
    fours: usize,
}

/// Some rows at once: `out[r] = sum(w[r, c] * x[c])` for groups of `n` rows of `16 sixteens + 4 fours` columns.
struct Rows {
    n: usize,
    run: unsafe extern "C" fn(*const Product),
}

impl Dsp {
    pub(in crate::kernels) fn matmul_f32(self, out: Output<'_>, w: &[f32], x: &[f32], cols: usize) {
        let rows = Rows {
            n: 8,
            run: rows_f32,
        };
        product(out, w, x, cols, &rows, scalar::dot_f32);
    }

    pub(in crate::kernels) fn matmul_f16(self, out: Output<'_>, w: &[f16], x: &[f32], cols: usize) {
        let rows = Rows {
            n: 4,
            run: rows_f16,
        };
        product(out, w, x, cols, &rows, scalar::dot_f16);
    }
}

/// Groups of rows by `rows`, the rest of them, or all where columns do not come in
/// fours or are fewer than sixteen, by `dot`.
fn product<T>(
    out: Output<'_>,
    w: &[T],
    x: &[f32],
    cols: usize,
    rows: &Rows,
    dot: impl Fn(&[T], &[f32]) -> f32,
) {
    let n_rows = w.len() / cols.max(1);
    let groups = if cols.is_multiple_of(4) && cols >= 16 {
        n_rows / rows.n
    } else {
        0
    };
    let (first, stride) = (out.first, out.stride);
    for (t, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = part_mut(out.values, t * stride + first, groups * rows.n);
        if out.is_empty() || cols == 0 {
            continue;
        }
        let product = Product {
            out: out.as_mut_ptr(),
            w: w.as_ptr().cast(),
            x: x.as_ptr(),
            groups,
            row_bytes: cols * size_of::<T>(),
            sixteens: cols / 16,
            fours: cols / 4 % 4,
        };
        // SAFETY: `out`, `w` and `x` hold that many rows and columns; a value of `Dsp` proves the
        // instructions.
        unsafe { (rows.run)(&product) };
    }
    let rest = Output {
        values: out.values,
        stride,
        first: first + groups * rows.n,
    };
    let done = groups * rows.n * cols;
    let w = part(w, done, w.len() - done).chunks_exact(cols.max(1));
    matmul(rest, w, x.chunks_exact(cols.max(1)), dot);
}

/// Eight or four columns of a row of floats, of activations in `$x`.
macro_rules! part_f32 {
    ($w:literal, $sum:literal, $first:literal, $last:literal, $($weight:literal $x:literal),*) => {
        concat!(
            "vldmia ", $w, "!, {{", $first, "-", $last, "}}\n",
            $("vfma.f32 ", $sum, ", ", $weight, ", ", $x, "\n",)*
        )
    };
}

/// `$columns` columns of a row of floats.
macro_rules! row_f32 {
    (16, $w:literal, $sum:literal) => {
        concat!(
            part_f32!(
                $w, $sum, "s16", "s23", "s16" "s0", "s17" "s1", "s18" "s2", "s19" "s3", "s20" "s4",
                "s21" "s5", "s22" "s6", "s23" "s7"
            ),
            part_f32!(
                $w, $sum, "s16", "s23", "s16" "s8", "s17" "s9", "s18" "s10", "s19" "s11", "s20" "s12",
                "s21" "s13", "s22" "s14", "s23" "s15"
            ),
        )
    };
    (4, $w:literal, $sum:literal) => {
        part_f32!($w, $sum, "s16", "s19", "s16" "s0", "s17" "s1", "s18" "s2", "s19" "s3")
    };
}

/// Pairs of columns of a row of halves.
macro_rules! part_f16 {
    ($w:literal, $sum:literal, $first:literal, $last:literal, $($pair:literal $x:literal $y:literal),*) => {
        concat!(
            "vldmia ", $w, "!, {{", $first, "-", $last, "}}\n",
            $(
                "vcvtb.f32.f16 s24, ", $pair, "\n",
                "vcvtt.f32.f16 s25, ", $pair, "\n",
                "vfma.f32 ", $sum, ", s24, ", $x, "\n",
                "vfma.f32 ", $sum, ", s25, ", $y, "\n",
            )*
        )
    };
}

/// `$columns` columns of a row of halves.
macro_rules! row_f16 {
    (16, $w:literal, $sum:literal) => {
        part_f16!(
            $w, $sum, "s16", "s23", "s16" "s0" "s1", "s17" "s2" "s3", "s18" "s4" "s5", "s19" "s6" "s7",
            "s20" "s8" "s9", "s21" "s10" "s11", "s22" "s12" "s13", "s23" "s14" "s15"
        )
    };
    (4, $w:literal, $sum:literal) => {
        part_f16!($w, $sum, "s16", "s17", "s16" "s0" "s1", "s17" "s2" "s3")
    };
}

/// Rows at `$w`, each a row after the one before it, the last one at `$last`, with sums in `$sum`, pair by
/// pair `$pair`, up to s31.
macro_rules! rows {
    (
        $name:ident, $row:ident, $last:literal, [$($pair:literal),*], $w0:literal $sum0:literal, $($before:literal $w:literal $sum:literal),*
    ) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(product: *const Product) {
            naked_asm!(
                features!(),
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "mov r12, r0",
                "ldrd r0, r1, [r12]",
                "ldr lr, [r12, #12]",
                "mov r10, #0",
                "1:", // r10 is zero
                "ldr r9, [r12, #16]",
                $(concat!("add ", $w, ", ", $before, ", r9"),)*
                $(concat!("vmov ", $pair, ", r10, r10"),)*
                "ldr r9, [r12, #8]",
                "ldrd r10, r11, [r12, #20]",
                "2:",
                "vldmia r9!, {{s0-s15}}",
                $row!(16, $w0, $sum0),
                $($row!(16, $w, $sum),)*
                "subs r10, #1",
                "bne.w 2b",
                "cmp r11, #0",
                "beq.w 5f",
                "4:",
                "vldmia r9!, {{s0-s3}}",
                $row!(4, $w0, $sum0),
                $($row!(4, $w, $sum),)*
                "subs r11, #1",
                "bne.w 4b",
                "5:",
                concat!("vstmia r0!, {{", $sum0, "-s31}}"),
                concat!("mov r1, ", $last), // where the last row ends the next one begins
                "subs lr, #1",
                "bne.w 1b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

rows!(
    rows_f32, row_f32, "r8", ["s24, s25", "s26, s27", "s28, s29", "s30, s31"], "r1" "s24", "r1" "r2" "s25", "r2" "r3" "s26", "r3" "r4" "s27", "r4" "r5" "s28",
    "r5" "r6" "s29", "r6" "r7" "s30", "r7" "r8" "s31"
);
rows!(rows_f16, row_f16, "r4", ["s28, s29", "s30, s31"], "r1" "s28", "r1" "r2" "s29", "r2" "r3" "s30", "r3" "r4" "s31");
