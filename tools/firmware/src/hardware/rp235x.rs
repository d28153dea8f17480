//! RP2350: UART0 at GP0 (out) and GP1 (in), its timer.

use rp235x_hal::block::ImageDef;
use rp235x_hal::clocks::{Clock, init_clocks_and_plls};
use rp235x_hal::fugit::RateExtU32;
use rp235x_hal::gpio::Pins;
use rp235x_hal::uart::{DataBits, StopBits, UartConfig, UartPeripheral};
use rp235x_hal::{Sio, Timer, Watchdog, pac};

use super::uart::Uart;
use crate::board;

/// What the boot ROM looks for: this is a program to run.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: ImageDef = ImageDef::secure_exe();

pub(crate) struct Chip;

impl Uart for Chip {
    fn start() {
        let Some(mut chip) = pac::Peripherals::take() else {
            return;
        };
        let mut watchdog = Watchdog::new(chip.WATCHDOG);
        let clocks = init_clocks_and_plls(
            board::CRYSTAL_HZ,
            chip.XOSC,
            chip.CLOCKS,
            chip.PLL_SYS,
            chip.PLL_USB,
            &mut chip.RESETS,
            &mut watchdog,
        );
        let Ok(clocks) = clocks else { return };
        let sio = Sio::new(chip.SIO);
        let pins = Pins::new(
            chip.IO_BANK0,
            chip.PADS_BANK0,
            sio.gpio_bank0,
            &mut chip.RESETS,
        );
        let pins = (pins.gpio0.into_function(), pins.gpio1.into_function());
        let settings = UartConfig::new(board::BAUD.Hz(), DataBits::Eight, None, StopBits::One);
        let _ = UartPeripheral::new(chip.UART0, pins, &mut chip.RESETS)
            .enable(settings, clocks.peripheral_clock.freq());
        Timer::new_timer0(chip.TIMER0, &mut chip.RESETS, &clocks);
    }

    fn send(byte: u8) {
        let port = port();
        while port.uartfr().read().txff().bit_is_set() {}
        // SAFETY: any byte may be sent.
        port.uartdr().write(|w| unsafe { w.data().bits(byte) });
    }

    fn receive() -> Option<u8> {
        let port = port();
        if port.uartfr().read().rxfe().bit_is_set() {
            return None;
        }
        let data = port.uartdr().read();
        (data.fe().bit_is_clear() && data.be().bit_is_clear()).then(|| data.data().bits())
    }

    fn microseconds() -> u32 {
        // SAFETY: reads a counter that nothing else touches.
        unsafe { &*pac::TIMER0::ptr() }.timerawl().read().bits()
    }
}

fn port() -> &'static pac::uart0::RegisterBlock {
    // SAFETY: the registers of the port are used here alone, one access at a time.
    unsafe { &*pac::UART0::ptr() }
}
