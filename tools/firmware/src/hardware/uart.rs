//! A chip with a serial port, as a board with one line to a terminal.

use super::{Hardware, Stream};

/// A chip: its serial port byte by byte.
pub(crate) trait Uart {
    /// Sets up clocks, pins, the port and the timer.
    fn start();

    /// Sends a byte, once there is room for it.
    fn send(byte: u8);

    /// A byte that has come.
    fn receive() -> Option<u8>;

    /// Microseconds, modulo 2^32.
    fn microseconds() -> u32;
}

impl<U: Uart> Hardware for U {
    const TERMINAL: bool = true;

    fn start() {
        U::start();
    }

    fn write(_: Stream, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                U::send(b'\r');
            }
            U::send(byte);
        }
    }

    fn read() -> Option<u8> {
        loop {
            if let Some(byte) = U::receive() {
                return Some(byte);
            }
        }
    }

    fn poll() -> Option<u8> {
        U::receive()
    }

    fn microseconds() -> u32 {
        U::microseconds()
    }

    fn end(_: i32) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }
}
