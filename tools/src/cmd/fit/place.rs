//! What the command line demands of a model: the room for it and its speed.

use minigpt_models::cost::CoreCost;
use minigpt_runtime::{Config, Format};

use super::FitArgs;
use super::cores::{Core, largest_program};
use crate::board::Board;
use crate::failure::Failure;

/// Where a model is to run.
#[derive(Debug)]
pub(super) struct Place {
    /// For people: `board B`, or nothing.
    pub(super) board: Option<&'static str>,
    /// Bytes of flash for program and model, or for the model alone where it has its partition.
    pub(super) flash_bytes: u64,
    /// Bytes of that which the program takes.
    pub(super) program_bytes: u64,
    /// Bytes of RAM for stack and arena, or for the arena alone where the board file divides it.
    pub(super) ram_bytes: u64,
    /// Bytes of that which the stack takes.
    pub(super) stack_bytes: u64,
    /// How matrices are stored.
    pub(super) format: Format,
    pub(super) core: Option<(&'static Core, CoreCost<'static>)>,
    pub(super) clock_hz: Option<f64>,
    /// Cycles per instruction, and where the number comes from.
    pub(super) cycles: Option<(f64, &'static str)>,
    /// Least tokens a second.
    pub(super) speed: Option<f64>,
}

impl Place {
    /// What `args` ask for; `probe` tells which order of the numbers is the fastest.
    pub(super) fn new(args: &FitArgs, probe: &Config) -> Result<Self, Failure> {
        let board = args.board.as_deref().map(Board::named).transpose()?;
        let name = args.core.as_deref();
        let name = name.or(board.as_ref().map(|board| board.core.as_str()));
        let core = name.map(Core::named).transpose()?;
        let formats = match (&board, args.format) {
            (Some(board), format) => vec![board.stored(format)?],
            (None, Format::Q8) => vec![Format::Q8, Format::Q8Dsp],
            (None, format) => vec![format],
        };
        let fastest = core.map(|core| core.fastest(probe, &formats)).transpose()?;
        let (program_bytes, stack_bytes) = match &fastest {
            Some((_, cost)) => (cost.program_bytes, cost.stack_bytes),
            None => largest_program(),
        };
        let own = args.cycles.map(|cycles| (cycles, "as given"));
        let place = Self {
            board: None,
            flash_bytes: args.flash.map_or(0, |bytes| bytes.0),
            program_bytes,
            ram_bytes: args.ram.map_or(0, |bytes| bytes.0),
            stack_bytes,
            format: fastest.as_ref().map_or(args.format, |(format, _)| *format),
            clock_hz: args.clock.map(|hertz| hertz.0 as f64),
            cycles: own.or(core.and_then(|core| core.cycles)),
            speed: args.speed,
            core: core.zip(fastest.map(|(_, cost)| cost)),
        };
        match &board {
            Some(board) => place.of(board).check(args),
            None => place.check(args),
        }
    }

    /// The same in the partitions of `board`.
    fn of(self, board: &Board) -> Self {
        Self {
            board: Some(board.name),
            flash_bytes: board.model.size.into(),
            program_bytes: 0,
            ram_bytes: board.arena_bytes(),
            stack_bytes: 0,
            clock_hz: self.clock_hz.or(Some(board.clock_hz.into())),
            ..self
        }
    }

    /// Refuses a speed that nothing can be said about.
    fn check(self, args: &FitArgs) -> Result<Self, Failure> {
        for (flag, value) in [("--speed", args.speed), ("--cycles", args.cycles)] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(Failure::Misuse(format!(
                    "{flag} is {value}; it must be above 0"
                )));
            }
        }
        for (flag, given) in [
            ("--clock", args.clock.is_some()),
            ("--cycles", args.cycles.is_some()),
        ] {
            if given && self.core.is_none() {
                return Err(Failure::Misuse(format!(
                    "{flag} needs --core, or --board: how many instructions a token takes depends on it"
                )));
            }
        }
        let lacking = match (&self.core, self.clock_hz, self.cycles) {
            _ if self.speed.is_none() => return Ok(self),
            (None, ..) => "--core, or --board",
            (_, None, _) => "--clock, or --board",
            (Some(_), _, None) => "--cycles, since chips of this core differ in it",
            _ => return Ok(self),
        };
        Err(Failure::Misuse(format!("--speed needs {lacking}")))
    }

    /// Tokens a second of `instructions` each, if core and clock are known.
    pub(super) fn tokens_per_second(&self, instructions: f64) -> Option<f64> {
        let (cycles, _) = self.cycles?;
        Some(self.clock_hz? / (instructions * cycles))
    }

    /// Bytes that a model file may have.
    pub(super) fn model_room(&self) -> u64 {
        self.flash_bytes.saturating_sub(self.program_bytes)
    }

    /// Bytes that an arena may have.
    pub(super) fn arena_room(&self) -> u64 {
        self.ram_bytes.saturating_sub(self.stack_bytes)
    }
}

/// Most that an amount may be, in units of `M`: what addresses of 32 bits reach.
const MOST: u64 = 4096;

/// A number with `K` or `M` behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled<const THOUSAND: u64>(pub(super) u64);

/// `256K`, `1M`, `1.5M`, `4096`: `K` is `THOUSAND`, `M` its square; a unit (`B`, `Hz`) may follow.
impl<const THOUSAND: u64> core::str::FromStr for Scaled<THOUSAND> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no amount from 1 to {MOST}M, such as 256K or 1M");
        let end = text.find(|c: char| c.is_ascii_alphabetic());
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" | "hz" => 1,
            "k" | "kb" | "kib" | "khz" => THOUSAND,
            "m" | "mb" | "mib" | "mhz" => THOUSAND * THOUSAND,
            _ => return Err(wrong()),
        };
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let value = number * scale as f64;
        match value >= 1.0 && value <= (MOST * THOUSAND * THOUSAND) as f64 {
            true => Ok(Self(value as u64)),
            false => Err(wrong()),
        }
    }
}

/// Bytes.
pub(super) type Bytes = Scaled<1024>;
/// Hertz.
pub(super) type Hertz = Scaled<1000>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("256K"), Ok(262_144));
        assert_eq!(bytes("1.5MiB"), Ok(1_572_864));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(
            "168MHz".parse::<Hertz>().map(|hertz| hertz.0),
            Ok(168_000_000)
        );
        assert_eq!(bytes("4096M"), Ok(1 << 32));
        for wrong in ["", "K", "-1K", "0", "1G", "NaN", "inf", "1K5", "4097M"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
