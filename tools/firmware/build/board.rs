//! A board file: what it says, and whether the program can run with it.

use serde::Deserialize;

/// Addresses of models are multiples of this.
pub(crate) const ALIGNMENT: u32 = 16;

/// A HAL crate, and what the code for it in `src/hardware` stands on.
pub(crate) struct Hal {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    /// The pins it sets up; `None` takes those of the board file.
    pub(crate) pins: Option<(&'static str, &'static str)>,
    /// Whether the crate brings the chip's interrupt vectors, asked or not.
    pub(crate) vectors: bool,
}

pub(crate) const HALS: [Hal; 5] = [
    hal("rp2040", "thumbv6m-none-eabi", Some(("GP0", "GP1")), false),
    hal(
        "rp235x",
        "thumbv8m.main-none-eabihf",
        Some(("GP0", "GP1")),
        true,
    ),
    hal(
        "stm32f4",
        "thumbv7em-none-eabihf",
        Some(("PA9", "PA10")),
        true,
    ),
    hal("nrf51", "thumbv6m-none-eabi", None, false),
    hal("nrf52840", "thumbv7em-none-eabihf", None, false),
];

const fn hal(
    name: &'static str,
    target: &'static str,
    pins: Option<(&'static str, &'static str)>,
    vectors: bool,
) -> Hal {
    Hal {
        name,
        target,
        pins,
        vectors,
    }
}

/// Formats of weights: the second is for cores with the DSP extension.
pub(crate) const WEIGHTS: [&str; 3] = ["q8", "q8-dsp", "q4"];

/// Lines come and go through QEMU or a debugger.
pub(crate) const SEMIHOSTING: &str = "semihosting";

#[derive(Deserialize)]
pub(crate) struct Board {
    /// One of [`HALS`]; none where lines come and go through semihosting.
    #[serde(default = "semihosting")]
    pub(crate) hal: String,
    /// The formats of the models it runs, of [`WEIGHTS`]: each has a program of its own.
    pub(crate) weights: Vec<String>,
    pub(crate) flash: Region,
    pub(crate) model: Region,
    pub(crate) ram: Ram,
    pub(crate) clock_hz: u32,
    /// Frequency of the crystal; 0 runs from the chip's own oscillator, where it has one.
    #[serde(default)]
    pub(crate) crystal_hz: u32,
    pub(crate) counter: Counter,
    pub(crate) uart: Option<Uart>,
}

#[derive(Deserialize)]
pub(crate) struct Region {
    pub(crate) start: u32,
    pub(crate) size: u32,
}

#[derive(Deserialize)]
pub(crate) struct Ram {
    pub(crate) start: u32,
    pub(crate) size: u32,
    /// Bytes for the stack; the arena gets what the program's own variables leave.
    pub(crate) stack: u32,
    /// Bytes of the program's own variables.
    pub(crate) variables: u32,
}

/// What counts time or instructions, `hz` a second.
#[derive(Deserialize)]
pub(crate) struct Counter {
    /// `none`, `register`, `instret`, or `timer` of a HAL, in microseconds.
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) address: u32,
    pub(crate) hz: u32,
}

#[derive(Deserialize)]
pub(crate) struct Uart {
    pub(crate) tx: String,
    pub(crate) rx: String,
    pub(crate) baud: u32,
}

fn semihosting() -> String {
    SEMIHOSTING.to_owned()
}

/// What of a board file the program could not run with.
pub(crate) fn check(board: &Board, target: &str) -> Result<(), String> {
    let Board {
        flash, model, ram, ..
    } = board;
    let end = |region: &Region| u64::from(region.start) + u64::from(region.size);
    if model.start % ALIGNMENT != 0 {
        return Err(format!(
            "the model's partition begins at {:#x}; let it begin at a multiple of {ALIGNMENT}",
            model.start
        ));
    }
    if u64::from(model.start) < end(flash) && u64::from(flash.start) < end(model) {
        return Err("the partitions of program and model overlap; move one".to_owned());
    }
    if u64::from(ram.stack) + u64::from(ram.variables) >= u64::from(ram.size) {
        return Err("stack and variables leave no RAM for a session".to_owned());
    }
    let known = |name: &&String| WEIGHTS.contains(&name.as_str());
    if let Some(name) = board.weights.iter().find(|name| !known(name)) {
        return Err(format!("weights are of {}, not {name}", WEIGHTS.join(", ")));
    }
    check_hal(board, target)
}

impl Board {
    /// The format that the program is for: the one that is asked for, or the first.
    pub(crate) fn chosen(&self, asked: Option<&str>) -> Result<&str, String> {
        let found = match asked {
            Some(asked) => self.weights.iter().find(|name| *name == asked),
            None => self.weights.first(),
        };
        let names = self.weights.join(", ");
        let asked = asked.unwrap_or("");
        found
            .map(String::as_str)
            .ok_or_else(|| format!("weights are {names}, and MINIGPT_WEIGHTS is {asked:?}"))
    }
}

fn check_hal(board: &Board, target: &str) -> Result<(), String> {
    let timer = board.counter.kind == "timer";
    if board.hal == SEMIHOSTING {
        if timer {
            return Err("a board without hal has no counter of kind timer".to_owned());
        }
        return Ok(());
    }
    let Some(hal) = HALS.iter().find(|hal| hal.name == board.hal) else {
        let names = HALS.map(|hal| hal.name).join(", ");
        return Err(format!("there is no hal {}; there are {names}", board.hal));
    };
    if hal.target != target {
        return Err(format!("hal {} is for target {}", hal.name, hal.target));
    }
    let Some(uart) = &board.uart else {
        return Err("a board with hal needs [uart]".to_owned());
    };
    match hal.pins {
        Some(pins) if pins != (uart.tx.as_str(), uart.rx.as_str()) => Err(format!(
            "hal {} sends at {} and receives at {}; other pins are set in src/hardware",
            hal.name, pins.0, pins.1
        )),
        _ if !timer => Err("a board with hal has a counter of kind timer".to_owned()),
        _ => Ok(()),
    }
}
