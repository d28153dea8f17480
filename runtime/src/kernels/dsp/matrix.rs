//! Matrix times vector in 8 bits.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::Output;
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};
use crate::quant::{BLOCK, DspMatrix, GROUP, Q8Activations};

/// What the assembly takes; it knows the offsets.
#[repr(C)]
struct Product {
    /// `[groups, 4]`
    out: *mut f32,
    /// Records of all groups, see [`crate::quant::Q8Dsp`].
    w: *const u8,
    /// Records of one token.
    x: *const u8,
    /// Room for the lanes of four rows, `[8, 4]`; those that are not used are zero. Null where rows are exactly two
    /// whole blocks, which need none.
    lanes: *mut f32,
    groups: u32,
    /// Whole blocks of a row, up to 8.
    first_blocks: u32,
    /// Whole blocks beyond those.
    later_blocks: u32,
    /// Groups of eight columns in a last block that is shorter.
    tail: u32,
    /// Whether the tail's lane holds nothing yet.
    fresh_tail: u32,
    /// Lanes in use, up to 8.
    used: u32,
}

impl Dsp {
    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    pub(in crate::kernels) fn matmul_q8(
        self,
        out: Output<'_>,
        w: DspMatrix<'_>,
        x: Q8Activations<'_>,
    ) {
        let (whole, tail) = (w.cols / BLOCK, (w.cols % BLOCK).div_ceil(8));
        let first_blocks = whole.min(LANES);
        let mut lanes;
        let lanes = if (whole, tail) == (2, 0) {
            core::ptr::null_mut()
        } else {
            lanes = [0.0; LANES * GROUP];
            lanes.as_mut_ptr()
        };
        for (t, x) in x.quants.chunks_exact(w.token_bytes().max(1)).enumerate() {
            let out = part_mut(out.values, t * out.stride + out.first, w.rows);
            let groups = w.rows / GROUP;
            let mut product = Product {
                out: out.as_mut_ptr(),
                w: w.records.as_ptr(),
                x: x.as_ptr().cast(),
                lanes,
                groups: groups as u32,
                first_blocks: first_blocks as u32,
                later_blocks: (whole - first_blocks) as u32,
                tail: tail as u32,
                fresh_tail: u32::from(whole < LANES),
                used: LANES.min(whole + tail.min(1)) as u32,
            };
            if groups * GROUP <= out.len() && groups * w.group_bytes() <= w.records.len() {
                run(&product);
            }
            let rest = w.rows % GROUP;
            let last = part(w.records, groups * w.group_bytes(), w.group_bytes());
            if rest > 0 && !last.is_empty() {
                let mut rows = [0.0; GROUP];
                product.out = rows.as_mut_ptr();
                product.w = last.as_ptr();
                product.groups = 1;
                run(&product);
                copy(part_mut(out, groups * GROUP, rest), &rows);
            }
        }
    }
}

/// Runs what has at least one group.
fn run(product: &Product) {
    if product.groups == 0 {
        return;
    }
    if product.lanes.is_null() {
        // SAFETY: the caller checked that the memory behind the pointers is there, and that rows are two blocks; a
        // value of `Dsp` proves the instructions.
        unsafe { two_blocks(product) }
    } else {
        // SAFETY: as above, with lanes.
        unsafe { blocks(product) }
    }
}

/// Eight columns of four rows: sums in r6-r9, weights at r12, activations at lr.
macro_rules! columns {
    () => {
        columns!("smlad", ", r6", ", r7", ", r8", ", r9")
    };
    // `smuad` begins sums, and has no fourth operand.
    ($first:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldmia r12!, {{r0-r3}}\n",
            "ldmia lr!, {{r4, r5, r10, r11}}\n",
            $first, " r6, r0, r4", $a, "\n",
            $first, " r7, r1, r4", $b, "\n",
            $first, " r8, r2, r4", $c, "\n",
            $first, " r9, r3, r4", $d, "\n",
            columns!(@low "r5"),
            "ldmia r12!, {{r0-r3}}\n",
            "smlad r6, r0, r10, r6\n",
            "smlad r7, r1, r10, r7\n",
            "smlad r8, r2, r10, r8\n",
            "smlad r9, r3, r10, r9\n",
            columns!(@low "r11"),
        )
    };
    (@low $x:literal) => {
        concat!(
            "sxtb16 r0, r0\n",
            "sxtb16 r1, r1\n",
            "sxtb16 r2, r2\n",
            "sxtb16 r3, r3\n",
            "smlad r6, r0, ", $x, ", r6\n",
            "smlad r7, r1, ", $x, ", r7\n",
            "smlad r8, r2, ", $x, ", r8\n",
            "smlad r9, r3, ", $x, ", r9\n",
        )
    };
}

/// A whole block: 256 times the exact dot products of four rows.
macro_rules! whole_block {
    () => {
        concat!(
            columns!("smuad", "", "", "", ""),
            columns!(),
            columns!(),
            columns!()
        )
    };
}

/// The scales behind a block: dot products in s6-s9, scales of the weights times that of the activations
/// in s2-s5.
macro_rules! scales {
    () => {
        "vldmia r12!, {{s0, s1}}
         vldmia lr!, {{s10}}
         vmov s6, s7, r6, r7
         vmov s8, s9, r8, r9
         vcvtb.f32.f16 s2, s0
         vcvtt.f32.f16 s3, s0
         vcvtb.f32.f16 s4, s1
         vcvtt.f32.f16 s5, s1
         vmul.f32 s2, s2, s10
         vmul.f32 s3, s3, s10
         vmul.f32 s4, s4, s10
         vmul.f32 s5, s5, s10
         vcvt.f32.s32 s6, s6, #8
         vcvt.f32.s32 s7, s7, #8
         vcvt.f32.s32 s8, s8, #8
         vcvt.f32.s32 s9, s9, #8
        "
    };
}

/// Products of a block, `d = dot * scale` or `d += dot * scale` (multiply, round, add: not fused).
macro_rules! products {
    ($op:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            $op,
            ".f32 ",
            $a,
            ", s6, s2\n",
            $op,
            ".f32 ",
            $b,
            ", s7, s3\n",
            $op,
            ".f32 ",
            $c,
            ", s8, s4\n",
            $op,
            ".f32 ",
            $d,
            ", s9, s5\n",
        )
    };
}

/// Rows of exactly two whole blocks.
#[unsafe(naked)]
unsafe extern "C" fn two_blocks(product: *const Product) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "ldrd r1, r12, [r0]",
        "ldr lr, [r0, #8]",
        "ldr r2, [r0, #16]",
        "movs r3, #0",
        "mov r4, r3",
        "mov r5, r3",
        "mov r6, r3",
        "push {{r1, r2}}", // out, groups
        "push {{r3-r6}}",  // four zeros
        "1:",
        whole_block!(),
        "vldmia sp, {{s12-s15}}", // lanes begin at 0: no sum is -0
        scales!(),
        products!("vmla", "s12", "s13", "s14", "s15"),
        whole_block!(),
        scales!(),
        products!("vmla", "s12", "s13", "s14", "s15"),
        "ldrd r0, r1, [sp, #16]",
        "sub lr, #136",
        "vstmia r0!, {{s12-s15}}",
        "subs r1, #1",
        "strd r0, r1, [sp, #16]",
        "bne.w 1b",
        "add sp, #24",
        "pop {{r4-r11, pc}}",
    )
}

/// Any rows: each block's products go to its lane, and the lanes are added at the end of a group.
#[unsafe(naked)]
unsafe extern "C" fn blocks(product: *const Product) {
    naked_asm!(
        features!(),
        "push {{r4-r11, lr}}",
        "vpush {{s16-s31}}",
        "sub sp, #48",
        "ldmia r0!, {{r1, r12}}",
        "str r1, [sp]", // out
        "ldmia r0, {{r2-r9}}",
        "add r0, sp, #4",
        // 4 x, 8 lanes, 12 groups, 16 first, 20 later, 24 tail, 28 fresh, 32 used; 36 lane, 40 count
        "stmia r0, {{r2-r9}}",
        "1:", // a group
        "ldrd lr, r0, [sp, #4]",
        "ldr r1, [sp, #16]",
        "strd r0, r1, [sp, #36]",
        "cmp r1, #0",
        "beq.w 4f",
        "2:", // a block whose lane is empty
        whole_block!(),
        scales!(),
        products!("vmul", "s6", "s7", "s8", "s9"),
        "ldrd r0, r1, [sp, #36]",
        "vstmia r0!, {{s6-s9}}",
        "subs r1, #1",
        "strd r0, r1, [sp, #36]",
        "bne.w 2b",
        "ldr r2, [sp, #8]",
        "add r3, r2, #128",
        "cmp r0, r3",
        "it eq",
        "streq r2, [sp, #36]", // after the eighth lane comes the first
        "ldr r1, [sp, #20]",
        "cmp r1, #0",
        "beq.w 4f",
        "ldr r0, [sp, #8]",
        "3:", // a block whose lane holds a sum
        "strd r0, r1, [sp, #36]",
        whole_block!(),
        scales!(),
        "ldrd r0, r1, [sp, #36]",
        "vldmia r0, {{s12-s15}}",
        products!("vmla", "s12", "s13", "s14", "s15"),
        "vstmia r0!, {{s12-s15}}",
        "ldr r2, [sp, #8]",
        "add r2, #128",
        "cmp r0, r2",
        "it eq",
        "subeq r0, #128",
        "subs r1, #1",
        "bne.w 3b",
        "str r0, [sp, #36]",
        "4:", // the tail
        "ldr r1, [sp, #24]",
        "cmp r1, #0",
        "beq.w 7f",
        "movs r6, #0",
        "movs r7, #0",
        "movs r8, #0",
        "movs r9, #0",
        "str r1, [sp, #40]",
        "5:",
        columns!(),
        "ldr r0, [sp, #40]",
        "subs r0, #1",
        "str r0, [sp, #40]",
        "bne.w 5b",
        scales!(),
        "ldr r0, [sp, #36]",
        "ldr r1, [sp, #28]",
        "cmp r1, #0",
        "beq 6f",
        products!("vmul", "s12", "s13", "s14", "s15"),
        "vstmia r0, {{s12-s15}}",
        "b 7f",
        "6:",
        "vldmia r0, {{s12-s15}}",
        products!("vmla", "s12", "s13", "s14", "s15"),
        "vstmia r0, {{s12-s15}}",
        "7:", // ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), of four rows at once
        "ldr r0, [sp, #8]",
        "ldr r1, [sp, #32]",
        "vldmia r0!, {{s0-s15}}",
        "cmp r1, #4",
        "ble 8f",
        "vldmia r0, {{s16-s31}}",
        "vadd.f32 s0, s0, s16",
        "vadd.f32 s1, s1, s17",
        "vadd.f32 s2, s2, s18",
        "vadd.f32 s3, s3, s19",
        "vadd.f32 s4, s4, s20",
        "vadd.f32 s5, s5, s21",
        "vadd.f32 s6, s6, s22",
        "vadd.f32 s7, s7, s23",
        "vadd.f32 s8, s8, s24",
        "vadd.f32 s9, s9, s25",
        "vadd.f32 s10, s10, s26",
        "vadd.f32 s11, s11, s27",
        "vadd.f32 s12, s12, s28",
        "vadd.f32 s13, s13, s29",
        "vadd.f32 s14, s14, s30",
        "vadd.f32 s15, s15, s31",
        "8:",
        "vadd.f32 s0, s0, s8",
        "vadd.f32 s1, s1, s9",
        "vadd.f32 s2, s2, s10",
        "vadd.f32 s3, s3, s11",
        "vadd.f32 s4, s4, s12",
        "vadd.f32 s5, s5, s13",
        "vadd.f32 s6, s6, s14",
        "vadd.f32 s7, s7, s15",
        "vadd.f32 s0, s0, s4",
        "vadd.f32 s1, s1, s5",
        "vadd.f32 s2, s2, s6",
        "vadd.f32 s3, s3, s7",
        "movs r2, #0",
        "vmov s4, r2",
        "vadd.f32 s0, s0, s4", // lanes begin at 0: no sum is -0
        "vadd.f32 s1, s1, s4",
        "vadd.f32 s2, s2, s4",
        "vadd.f32 s3, s3, s4",
        "ldr r0, [sp]",
        "ldr r1, [sp, #12]",
        "vstmia r0!, {{s0-s3}}",
        "str r0, [sp]",
        "subs r1, #1",
        "str r1, [sp, #12]",
        "bne.w 1b",
        "add sp, #48",
        "vpop {{s16-s31}}",
        "pop {{r4-r11, pc}}",
    )
}
