//! Rows of a matrix times one token's activations: what the formats of weights have in common.

/// Adds product `$from` of a row to product `$to`; r7 points to the first, the others lie below.
macro_rules! fold {
    ($to:literal, $from:literal) => {
        concat!(
            "ldr r0, [r7, #-4*",
            $to,
            "]\n",
            "ldr r1, [r7, #-4*",
            $from,
            "]\n",
            "bl {sum}\n",
            "str r0, [r7, #-4*",
            $to,
            "]\n",
        )
    };
}

/// The function `$name`: products of the rows from the first on; returns how many rows are left where a scale
/// of a weight is negative, or not a normal number.
///
/// `mask` are the halves of what r8 holds. `whole` and `tail` add the products of a block, or of r7 words of a shorter
/// one with r12 bytes behind them, to r4 and r5, which hold the sum to begin with, and move r9 and r10 behind weights
/// and activations; they may change r0-r3, r6, r7 and r12. Where scales may be negative, `sign` takes the sign of
/// that in r6, and `turn` gives it to the sum in r4; in between r2 is free.
///
/// On the stack lie the products of a row, the last one of whole blocks in the second word, then what
/// [`Product`](super::matrix::Product) begins with.
macro_rules! rows {
    (
        $name:ident,
        mask: [$low:literal, $high:literal],
        whole: [$($whole:tt)*],
        tail: [$($tail:tt)*],
        sign: [$($sign:tt)*],
        turn: [$($turn:tt)*]
    ) => {
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name(product: *const Product) -> usize {
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldmia r0, {{r1-r7, r9, r11}}",
                "sub sp, #76",
                "add r8, sp, r4, lsl #2", // where the first product is put
                "strd r1, r2, [sp, #36]", // out, rows
                "strd r3, r4, [sp, #44]", // x, whole
                "strd r5, r8, [sp, #52]", // n
                "strd r6, r7, [sp, #60]", // tail, skip
                concat!("movw r8, #", $low),
                concat!("movt r8, #", $high),
                "mov r10, r3",
                "movs lr, r4",
                "beq 6f",
                "b 2f",
                "1:", // a row
                "ldrd r10, lr, [sp, #44]",
                "2:", // a whole block
                "ldmia r10!, {{r4, r5}}",
                $($whole)*
                "3:", // The scale of the weights, less what makes its exponent begin with 0.
                "ldrh r6, [r11], #2",
                "ldmia r10!, {{r0, r1}}", // mantissa and exponent of the other
                $($sign)*
                "sub r6, #0x400",
                "cmp r6, #0x7800",
                "bhs 40f",
                // The sum, with eight zeros behind it.
                "lsr r4, r4, #24",
                "orr r4, r4, r5, lsl #8",
                $($turn)*
                "lsls r4, r4, #8",
                "beq 30f",
                // Exponent, and above it the sign.
                "add r1, r1, r6, lsr #10",
                "itt mi",
                "rsbmi r4, #0",
                "addmi r1, #256",
                // Scales: their product has 24 bits in r3, or 23, and the rest in r2.
                "lsl r6, r6, #21",
                "orr r6, #0x80000000",
                "umull r2, r3, r6, r0",
                "cmp r3, #0x800000",
                "blo 31f",
                "4:",
                "cmp r2, #0x80000000",
                "beq 32f",
                "adc r3, r3, #0",
                "5:",
                // The sum, moved to the top, times that.
                "clz r12, r4",
                "lsl r4, r4, r12",
                "sub r1, r12",
                "umull r2, r3, r4, r3",
                "cmp r3, #0x800000",
                "blo 33f",
                "7:",
                "cmp r2, #0x80000000",
                "beq 34f",
                "adc r0, r3, r1, lsl #23",
                "8:",
                "str r0, [sp, lr, lsl #2]",
                "subs lr, #1",
                "bgt 2b",
                "bmi 9f",
                "6:", // the last block, if it is shorter
                "ldrd r7, r12, [sp, #60]",
                "cbz r7, 9f",
                "ldmia r10!, {{r4, r5}}",
                $($tail)*
                "b 3b",
                "9:", // the products of a row
                "ldrd r6, r7, [sp, #52]",
                "cmp r6, #2",
                "beq 22f",
                "blo 21f",
                "cmp r6, #4",
                "beq 24f",
                "blo 23f",
                "cmp r6, #6",
                "beq 26f",
                "blo 25f",
                "cmp r6, #8",
                "beq 28f",
                "bhi 29f",
                "b 27f",
                "28:",
                fold!(3, 7),
                "27:",
                fold!(2, 6),
                "26:",
                fold!(1, 5),
                "25:",
                fold!(0, 4),
                "24:",
                fold!(1, 3),
                "23:",
                fold!(0, 2),
                "22:",
                "ldrd r0, r1, [r7, #-4]",
                "bl {sum}",
                "20:",
                "ldrd r1, r2, [sp, #36]",
                "str r0, [r1], #4",
                "subs r2, #1",
                "strd r1, r2, [sp, #36]",
                "bne 1b",
                "11:",
                "ldr r0, [sp, #40]",
                "add sp, #76",
                "pop {{r4-r11, pc}}",
                "21:",
                "ldr r0, [r7]",
                "b 20b",
                "29:", // each of them to `out`
                "ldrd r1, r2, [sp, #44]",
                "ldr r3, [sp, #60]",
                "ldr r1, [sp, #36]",
                "cmp r3, #1",
                "it hs",
                "addhs r2, #1",
                "12:",
                "ldr r0, [r7], #-4",
                "str r0, [r1], #4",
                "subs r2, #1",
                "bne 12b",
                "movs r0, #0",
                "str r0, [sp, #40]",
                "b 11b",
                // What is rare, or every other time.
                "30:",
                "movs r0, #0",
                "b 8b",
                "31:",
                "adds r2, r2, r2",
                "adc r3, r3, r3",
                "sub r1, #1",
                "b 4b",
                "32:",
                "and r2, r3, #1",
                "add r3, r2",
                "b 5b",
                "33:",
                "adds r2, r2, r2",
                "adc r3, r3, r3",
                "sub r1, #1",
                "b 7b",
                "34:",
                "and r2, r3, #1",
                "add r3, r2",
                "add r0, r3, r1, lsl #23",
                "b 8b",
                "40:", // not plain
                "b 11b",
                sum = sym sum,
            )
        }
    };
}
