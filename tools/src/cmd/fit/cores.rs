//! Processor cores: what a token costs them, and how long that takes.

use minigpt_models::cost::{self, CoreCost};
use minigpt_runtime::{Config, Format};

use crate::failure::Failure;

/// A core by the names it goes by.
#[derive(Debug)]
pub(super) struct Core {
    /// As in the board files, and the short ones of `--core`.
    names: &'static [&'static str],
    /// The core whose program it runs, on which instructions were counted.
    counted_on: &'static str,
    /// Cycles per instruction, and what it is estimated from; none where it depends on the chip.
    pub(super) cycles: Option<(f64, &'static str)>,
}

const CORES: [Core; 8] = [
    Core {
        names: &["Cortex-M0", "m0"],
        counted_on: "Cortex-M0",
        cycles: Some((1.6, M0)),
    },
    Core {
        names: &["Cortex-M0+", "m0+", "m0plus"],
        counted_on: "Cortex-M0",
        cycles: Some((1.5, M0_PLUS)),
    },
    Core {
        names: &["Cortex-M3", "m3"],
        counted_on: "Cortex-M3",
        cycles: Some((1.6, M3)),
    },
    Core {
        names: &["Cortex-M4F", "m4f", "Cortex-M4", "m4"],
        counted_on: "Cortex-M4F",
        cycles: Some((1.6, M4)),
    },
    Core {
        names: &["Cortex-M7", "m7"],
        counted_on: "Cortex-M7",
        cycles: Some((1.1, M7)),
    },
    Core {
        names: &["Cortex-M33", "m33"],
        counted_on: "Cortex-M55",
        cycles: Some((1.3, M33)),
    },
    Core {
        names: &["Cortex-M55", "m55"],
        counted_on: "Cortex-M55",
        cycles: Some((1.2, M55)),
    },
    Core {
        names: &["rv32imc", "rv32", "riscv32"],
        counted_on: "rv32imc",
        cycles: None,
    },
];

const M0: &str = "estimated: each instruction at its time in the Cortex-M0 manual (Arm DDI 0432C, table 3-1), without wait states";
const M0_PLUS: &str = "estimated: each instruction at its time in the Cortex-M0+ manual (Arm DDI 0484C, table 3-1), without wait states";
const M3: &str = "estimated: each instruction at its time in the Cortex-M3 manual (Arm DDI 0337H, table 3-1), without wait states";
const M4: &str = "estimated: each instruction at its time in the Cortex-M4 manual (Arm DDI 0439D, table 3-1), without wait states";
const M7: &str =
    "estimated: those of the Cortex-M4 by Arm's CoreMark per MHz of both (3.42 to 5.01)";
const M33: &str =
    "estimated: those of the Cortex-M4 by Arm's CoreMark per MHz of both (3.42 to 4.10)";
const M55: &str =
    "estimated: those of the Cortex-M4 by Arm's CoreMark per MHz of both (3.42 to 4.40)";

impl Core {
    /// The core called `name`.
    pub(super) fn named(name: &str) -> Result<&'static Self, Failure> {
        let is_it = |core: &&Self| {
            core.names
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        CORES.iter().find(is_it).ok_or_else(|| {
            let names = CORES.map(|core| core.names[1]).join(", ");
            Failure::Misuse(format!("there is no core {name}; there are {names}"))
        })
    }

    /// As in the board files.
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The core on which its instructions were counted.
    pub(super) fn counted_on(&self) -> &'static str {
        self.counted_on
    }

    /// That one of `formats` which is fastest on it, judged by `probe`, with its costs.
    pub(super) fn fastest(
        &self,
        probe: &Config,
        formats: &[Format],
    ) -> Result<(Format, CoreCost<'static>), Failure> {
        let costs = formats.iter().filter_map(|format| {
            let mut all = cost::cores();
            let cost =
                all.find(|cost| cost.core == self.counted_on && cost.format == format.name())?;
            Some((*format, cost))
        });
        let instructions =
            |(format, cost): &(Format, CoreCost<'_>)| cost.instructions(probe, *format, 0);
        costs
            .min_by(|a, b| instructions(a).total_cmp(&instructions(b)))
            .ok_or_else(|| {
                let name = self.counted_on;
                Failure::Failed(format!(
                    "the cost table has no row for {name}; this is a bug"
                ))
            })
    }
}

/// The largest program and stack of any core, for boards of which the core is not known.
pub(super) fn largest_program() -> (u64, u64) {
    let program = cost::cores().map(|cost| cost.program_bytes).max();
    let stack = cost::cores().map(|cost| cost.stack_bytes).max();
    (program.unwrap_or(0), stack.unwrap_or(0))
}
