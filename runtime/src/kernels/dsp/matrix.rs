//! Matrix times vector in 8 bits.

use core::arch::naked_asm;

use super::Dsp;
use crate::kernels::Output;
use crate::ops::LANES;
use crate::parts::{copy, part_mut};
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
    groups: usize,
    /// Blocks of a row are added to so many lanes in turn, times 16.
    lane_bytes: usize,
    /// Whole blocks of a row, up to the number of lanes.
    first_blocks: usize,
    /// Whole blocks beyond those, below 0.
    later_blocks: isize,
    /// Groups of eight columns in a last block that is shorter.
    tail: usize,
    /// 1 if the tail's lane holds nothing yet, else 0.
    fresh_tail: usize,
}

impl Dsp {
    /// `out[t, r] = sum(w[r, c] * x[t, c])`.
    #[inline(never)]
    pub(in crate::kernels) fn matmul_q8(
        self,
        out: Output<'_>,
        w: DspMatrix<'_>,
        x: Q8Activations<'_>,
    ) {
        let (whole, tail) = (w.cols / BLOCK, (w.cols % BLOCK).div_ceil(8));
        // The lanes i and i + 4 are added first, so four do where each holds one block.
        let lanes = if whole + tail.min(1) > LANES {
            LANES
        } else {
            LANES / 2
        };
        let first_blocks = whole.min(lanes);
        let (groups, rest) = (w.rows / GROUP, w.rows % GROUP);
        let (group_bytes, token_bytes) = (w.group_bytes, x.blocks.quants);
        let needed = (groups + rest.min(1)) * group_bytes;
        let (mut place, mut records) = (out.first, x.quants);
        while let Some((token, later)) = records.split_at_checked(token_bytes)
            && token_bytes > 0
        {
            let out_rows = part_mut(out.values, place, w.rows);
            if out_rows.is_empty() || w.records.len() < needed {
                return;
            }
            let mut product = Product {
                out: out_rows.as_mut_ptr(),
                w: w.records.as_ptr(),
                x: token.as_ptr().cast(),
                groups,
                lane_bytes: lanes * 4 * GROUP,
                first_blocks,
                later_blocks: -((whole - first_blocks) as isize),
                tail,
                fresh_tail: usize::from(whole < lanes),
            };
            // SAFETY: `out_rows` are all rows and the records of the groups are there, as are a token's.
            unsafe { product.run() };
            if rest > 0 {
                let mut last = [0.0; GROUP];
                product.out = last.as_mut_ptr();
                product.w = product.w.wrapping_add(groups * group_bytes);
                product.groups = 1;
                // SAFETY: the records of one more group are there, and room for its rows.
                unsafe { product.run() };
                copy(part_mut(out_rows, groups * GROUP, rest), &last);
            }
            (place, records) = (place + out.stride, later);
        }
    }
}

impl Product {
    /// # Safety
    /// The memory behind the pointers is there, and a value of `Dsp` the proof of the instructions.
    unsafe fn run(&self) {
        if self.groups == 0 {
            return;
        }
        if (self.first_blocks, self.later_blocks, self.tail) == (2, 0, 0) {
            // SAFETY: as the caller promises.
            unsafe { two_blocks(self) }
        } else {
            // SAFETY: as above.
            unsafe { blocks(self) }
        }
    }
}

/// Eight columns of four rows: sums in r6-r9, weights at r12, activations at lr.
macro_rules! columns {
    () => {
        columns!("smlad", ", r6", ", r7", ", r8", ", r9")
    };
    // `smuad` begins sums, and has no fourth operand.
    ($first:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        columns!("r4, r5, r10, r11", $first, $a, $b, $c, $d)
    };
    // What is loaded of the activations; r3 takes a word of no use.
    ($x:literal, $first:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldmia lr!, {{", $x, "}}\n",
            "ldmia r12!, {{r0-r3}}\n",
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

/// A whole block: 256 times the exact dot products of four rows. `$x` is what is loaded of its first activations.
macro_rules! whole_block {
    () => {
        whole_block!("r4, r5, r10, r11")
    };
    ($x:literal) => {
        concat!(
            columns!($x, "smuad", "", "", "", ""),
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
        concat!("vldmia lr!, {{s10}}\n", scales!("s10"))
    };
    // With the scale of the activations in `$x`.
    ($x:literal) => {
        concat!(
            "vldmia r12!, {{s0, s1}}\n",
            "vmov s6, s7, r6, r7\n",
            "vmov s8, s9, r8, r9\n",
            "vcvtb.f32.f16 s2, s0\n",
            "vcvtt.f32.f16 s3, s0\n",
            "vcvtb.f32.f16 s4, s1\n",
            "vcvtt.f32.f16 s5, s1\n",
            "vmul.f32 s2, s2, ",
            $x,
            "\n",
            "vmul.f32 s3, s3, ",
            $x,
            "\n",
            "vmul.f32 s4, s4, ",
            $x,
            "\n",
            "vmul.f32 s5, s5, ",
            $x,
            "\n",
            "vcvt.f32.s32 s6, s6, #8\n",
            "vcvt.f32.s32 s7, s7, #8\n",
            "vcvt.f32.s32 s8, s8, #8\n",
            "vcvt.f32.s32 s9, s9, #8\n",
        )
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
        "ldmia r0, {{r1, r12, lr}}",
        "ldr r2, [r0, #12]",
        "movs r3, #0",
        "mov r4, r3",
        "mov r5, r3",
        "mov r6, r3",
        "push {{r1, r2}}", // out, groups
        "push {{r3-r6}}",  // four zeros
        "vldr s10, [lr, #64]",
        "vldr s11, [lr, #132]",
        "1:",
        whole_block!(),
        "vldmia sp, {{s12-s15}}", // lanes begin at 0: no sum is -0
        scales!("s10"),
        products!("vmla", "s12", "s13", "s14", "s15"),
        whole_block!("r3-r5, r10, r11"), // the first scale of the activations is passed over
        scales!("s11"),
        products!("vmla", "s12", "s13", "s14", "s15"),
        "ldrd r0, r1, [sp, #16]",
        "sub lr, #132",
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
        "sub sp, #176",
        "mov r10, r0",
        "movs r2, #0",
        "mov r3, r2",
        "mov r4, r2",
        "mov r5, r2",
        "mov r6, r2",
        "mov r7, r2",
        "mov r8, r2",
        "mov r9, r2",
        "add r0, sp, #48",
        "mov r1, r0",
        "stmia r0!, {{r2-r9}}", // lanes that are not used stay zero
        "stmia r0!, {{r2-r9}}",
        "ldmia r10!, {{r0, r12}}",
        "str r0, [sp]", // out
        "ldmia r10, {{r2-r8}}",
        "add r4, r1",
        "add r0, sp, #4",
        // 4 x, 8 groups, 12 end of lanes, 16 first, 20 later, 24 tail, 28 fresh; 32 lane, 36 count; 48 lanes
        "stmia r0, {{r2-r8}}",
        "1:", // a group
        "ldr lr, [sp, #4]",
        "add r0, sp, #48",
        "ldr r1, [sp, #16]",
        "subs r1, #1",
        "strd r0, r1, [sp, #32]",
        "bmi.w 4f",
        "2:", // a block: its lane holds a sum already where the count is below 0, which no product changes
        whole_block!(),
        scales!(),
        "ldrd r0, r1, [sp, #32]",
        "bmi 3f",
        products!("vmul", "s6", "s7", "s8", "s9"),
        "vstmia r0!, {{s6-s9}}",
        "subs r1, #1",
        "strd r0, r1, [sp, #32]",
        "bpl.w 2b",
        "ldr r2, [sp, #12]",
        "ldr r1, [sp, #20]",
        "cmp r0, r2",
        "it eq",
        "addeq r0, sp, #48", // after the last lane comes the first
        "cmp r1, #0",
        "strd r0, r1, [sp, #32]",
        "bmi.w 2b",
        "b 4f",
        "3:",
        "vldmia r0, {{s12-s15}}",
        products!("vmla", "s12", "s13", "s14", "s15"),
        "vstmia r0!, {{s12-s15}}",
        "ldr r2, [sp, #12]",
        "cmp r0, r2",
        "it eq",
        "addeq r0, sp, #48",
        "adds r1, #1",
        "strd r0, r1, [sp, #32]",
        "bmi.w 2b",
        "4:", // the tail
        "ldr r1, [sp, #24]",
        "cmp r1, #0",
        "beq.w 7f",
        "movs r6, #0",
        "movs r7, #0",
        "mov r8, r6",
        "mov r9, r6",
        "str r1, [sp, #36]",
        "5:",
        columns!(),
        "ldr r0, [sp, #36]",
        "subs r0, #1",
        "str r0, [sp, #36]",
        "bne.w 5b",
        scales!(),
        "ldr r0, [sp, #32]",
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
        "add r0, sp, #48",
        "ldr r1, [sp, #12]",
        "add r2, r0, #64",
        "cmp r1, r2",
        "beq 8f",
        "9:", // the sums of two lanes with the two that come four later
        "vldmia r2!, {{s8-s15}}",
        "vldmia r0, {{s0-s7}}",
        "vadd.f32 s0, s0, s8",
        "vadd.f32 s1, s1, s9",
        "vadd.f32 s2, s2, s10",
        "vadd.f32 s3, s3, s11",
        "vadd.f32 s4, s4, s12",
        "vadd.f32 s5, s5, s13",
        "vadd.f32 s6, s6, s14",
        "vadd.f32 s7, s7, s15",
        "vstmia r0!, {{s0-s7}}",
        "cmp r1, r2",
        "bne 9b",
        "add r0, sp, #48",
        "8:",
        "vldmia r0, {{s0-s15}}",
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
        "ldr r1, [sp, #8]",
        "vstmia r0!, {{s0-s3}}",
        "str r0, [sp]",
        "subs r1, #1",
        "str r1, [sp, #8]",
        "bne.w 1b",
        "add sp, #176",
        "pop {{r4-r11, pc}}",
    )
}
