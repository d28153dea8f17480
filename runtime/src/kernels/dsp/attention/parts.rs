//! Parts of the assembly of attention.

/// Weight of a score in `$x`, with `$t` to work in.
macro_rules! weight {
    ($x:literal, $t:literal) => {
        concat!(
            "sub ",
            $x,
            ", r3, ",
            $x,
            "\n",
            "and ",
            $t,
            ", ",
            $x,
            ", #127\n",
            "ldr ",
            $t,
            ", [r5, ",
            $t,
            ", lsl #2]\n",
            "usat ",
            $x,
            ", #7, ",
            $x,
            ", asr #7\n",
            "lsr ",
            $x,
            ", ",
            $t,
            ", ",
            $x,
            "\n",
            "ldrsb ",
            $t,
            ", [r1], #1\n",
            "add r6, r6, ",
            $x,
            ", lsr #10\n",
            "sub ",
            $t,
            ", r4, ",
            $t,
            "\n",
            "lsr ",
            $x,
            ", ",
            $x,
            ", ",
            $t,
            "\n", // a shift looks at the lowest byte only
            "orr r7, r7, ",
            $x,
            "\n",
        )
    };
}

/// Two columns of a pair of tokens at r1, with the tokens' weights in r3.
macro_rules! columns {
    ($a:literal, $b:literal) => {
        concat!(
            "ldr r12, [r1], #4\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad ",
            $a,
            ", lr, r3, ",
            $a,
            "\n",
            "smlad ",
            $b,
            ", r12, r3, ",
            $b,
            "\n",
        )
    };
}

/// Four sums to floats, in addition to what was there.
macro_rules! finish {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "vmov s0, s1, ",
            $a,
            ", ",
            $b,
            "\n",
            "vmov s2, s3, ",
            $c,
            ", ",
            $d,
            "\n",
            "vldmia r1!, {{s4-s7}}\n",
            "vcvt.f32.s32 s0, s0\n",
            "vcvt.f32.s32 s1, s1\n",
            "vcvt.f32.s32 s2, s2\n",
            "vcvt.f32.s32 s3, s3\n",
            "vmla.f32 s4, s0, s8\n",
            "vmla.f32 s5, s1, s8\n",
            "vmla.f32 s6, s2, s8\n",
            "vmla.f32 s7, s3, s8\n",
            "vstmia r0!, {{s4-s7}}\n",
        )
    };
}

pub(super) use {columns, finish, weight};
