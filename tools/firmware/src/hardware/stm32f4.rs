//! STM32F405: USART1 at PA9 (out) and PA10 (in), as the chip's own boot loader has it; TIM2.

use stm32f4xx_hal::pac;
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::Config;
use stm32f4xx_hal::serial;

use super::uart::Uart;
use crate::board;

pub(crate) struct Chip;

impl Uart for Chip {
    fn start() {
        let Some(chip) = pac::Peripherals::take() else {
            return;
        };
        let clocks = match board::CRYSTAL_HZ {
            0 => Config::hsi(),
            hz => Config::hse(hz.Hz()).sysclk(board::CLOCK_HZ.Hz()),
        };
        let mut rcc = chip.RCC.freeze(clocks);
        let port = chip.GPIOA.split(&mut rcc);
        let settings = serial::Config::default().baudrate(board::BAUD.bps());
        let _ = chip
            .USART1
            .serial::<u8>((port.pa9, port.pa10), settings, &mut rcc);
        let mut timer = chip.TIM2.counter_us(&mut rcc);
        let _ = timer.start(u32::MAX.micros());
    }

    fn send(byte: u8) {
        let port = port();
        while port.sr().read().txe().bit_is_clear() {}
        port.dr().write(|w| w.dr().set(byte.into()));
    }

    fn receive() -> Option<u8> {
        let port = port();
        let state = port.sr().read();
        if state.rxne().bit_is_clear() && state.ore().bit_is_clear() {
            return None;
        }
        // Reading takes the byte away, and with it what the state said of it.
        let byte = port.dr().read().dr().bits() as u8;
        (state.fe().bit_is_clear() && state.rxne().bit_is_set()).then_some(byte)
    }

    fn microseconds() -> u32 {
        // SAFETY: reads a counter that nothing else touches.
        unsafe { &*pac::TIM2::ptr() }.cnt().read().bits()
    }
}

fn port() -> &'static pac::usart1::RegisterBlock {
    // SAFETY: the registers of the port are used here alone, one access at a time.
    unsafe { &*pac::USART1::ptr() }
}
