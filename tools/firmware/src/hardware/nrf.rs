//! nRF51 and nRF52840: UART0 at the pins of the board file, TIMER0.

#[cfg(hal = "nrf51")]
use nrf51_hal as hal;
#[cfg(hal = "nrf52840")]
use nrf52840_hal as hal;

use hal::gpio::{Disconnected, Level, Pin};
use hal::{Clocks, Timer, pac};

use super::uart::Uart;
use crate::board;

/// Not in use, for the pins of flow control.
const NO_PIN: u32 = u32::MAX;

pub(crate) struct Chip;

impl Uart for Chip {
    fn start() {
        let Some(chip) = pac::Peripherals::take() else {
            return;
        };
        Clocks::new(chip.CLOCK).enable_ext_hfosc();
        let (tx, rx) = board::PINS;
        // SAFETY: the board file names pins that exist, and nothing else uses them.
        let tx = unsafe { Pin::<Disconnected>::from_psel_bits(tx) };
        let tx = tx.into_push_pull_output(Level::High);
        // SAFETY: as above.
        let rx = unsafe { Pin::<Disconnected>::from_psel_bits(rx) };
        let rx = rx.into_floating_input();
        let port = port();
        select(port, u32::from(tx.pin()), u32::from(rx.pin()));
        // SAFETY: in sixteenths of a millionth of the chip's 16 MHz, as `baudrate` takes it.
        port.baudrate.write(|w| unsafe { w.bits(baud_rate()) });
        port.enable.write(|w| w.enable().enabled());
        // SAFETY: tasks start at a 1.
        port.tasks_starttx.write(|w| unsafe { w.bits(1) });
        // SAFETY: as above.
        port.tasks_startrx.write(|w| unsafe { w.bits(1) });
        Timer::periodic(chip.TIMER0).start(u32::MAX);
    }

    fn send(byte: u8) {
        let port = port();
        port.events_txdrdy.reset();
        // SAFETY: any byte may be sent.
        port.txd.write(|w| unsafe { w.bits(byte.into()) });
        while port.events_txdrdy.read().bits() == 0 {}
    }

    fn receive() -> Option<u8> {
        let port = port();
        if port.events_rxdrdy.read().bits() == 0 {
            return None;
        }
        port.events_rxdrdy.reset();
        Some(port.rxd.read().bits() as u8)
    }

    fn microseconds() -> u32 {
        // SAFETY: copies a counter to where it can be read; nothing else does.
        let timer = unsafe { &*pac::TIMER0::ptr() };
        // SAFETY: tasks start at a 1.
        timer.tasks_capture[1].write(|w| unsafe { w.bits(1) });
        timer.cc[1].read().bits()
    }
}

/// The register's value for the board's baud rate, of which it takes the upper 20 bits: 2^32 a
/// cycle of 16 MHz.
const fn baud_rate() -> u32 {
    let value = ((board::BAUD as u64) << 32) / 16_000_000;
    (value as u32 + 0x800) & 0xFFFF_F000
}

#[cfg(hal = "nrf51")]
fn select(port: &pac::uart0::RegisterBlock, tx: u32, rx: u32) {
    // SAFETY: numbers of pins.
    port.pseltxd.write(|w| unsafe { w.bits(tx) });
    // SAFETY: as above.
    port.pselrxd.write(|w| unsafe { w.bits(rx) });
    // SAFETY: as above.
    port.pselcts.write(|w| unsafe { w.bits(NO_PIN) });
    // SAFETY: as above.
    port.pselrts.write(|w| unsafe { w.bits(NO_PIN) });
}

#[cfg(hal = "nrf52840")]
fn select(port: &pac::uart0::RegisterBlock, tx: u32, rx: u32) {
    // SAFETY: numbers of pins.
    port.psel.txd.write(|w| unsafe { w.bits(tx) });
    // SAFETY: as above.
    port.psel.rxd.write(|w| unsafe { w.bits(rx) });
    // SAFETY: as above.
    port.psel.cts.write(|w| unsafe { w.bits(NO_PIN) });
    // SAFETY: as above.
    port.psel.rts.write(|w| unsafe { w.bits(NO_PIN) });
}

fn port() -> &'static pac::uart0::RegisterBlock {
    // SAFETY: the registers of the port are used here alone, one access at a time.
    unsafe { &*pac::UART0::ptr() }
}
