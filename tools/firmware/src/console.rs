//! Lines in, text and figures out.

use semihosting::io::{self, Read};

/// Longest line in bytes.
const MAX_LINE: usize = 256;

/// Writes a line of figures or an error.
macro_rules! say {
    ($($text:tt)*) => {
        semihosting::eprintln!($($text)*)
    };
}
pub(crate) use say;

/// Writes a piece of the text as it is made.
pub(crate) fn tell(text: &str) {
    semihosting::print!("{text}");
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LineError {
    /// Longer than [`MAX_LINE`].
    TooLong,
    /// Broken UTF-8 at this byte.
    NotText(usize),
}

impl core::fmt::Display for LineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "the line is longer than {MAX_LINE} bytes; send a shorter one"
            ),
            Self::NotText(at) => write!(f, "the line is not UTF-8 at byte {at}; send it again"),
        }
    }
}

/// The serial line.
pub(crate) struct Console {
    line: [u8; MAX_LINE],
}

impl Console {
    pub(crate) fn new() -> Self {
        Self {
            line: [0; MAX_LINE],
        }
    }

    /// The next line, without its end; `None` when there are no more.
    pub(crate) fn read_line(&mut self) -> Option<Result<&str, LineError>> {
        let mut input = io::stdin().ok()?;
        let (mut len, mut byte) = (0, [0]);
        let mut ended = false;
        while let Ok(1) = input.read(&mut byte) {
            ended = true;
            match byte[0] {
                b'\n' => break,
                b'\r' => {}
                other => {
                    if let Some(slot) = self.line.get_mut(len) {
                        *slot = other;
                    }
                    len += 1;
                }
            }
        }
        if !ended {
            return None;
        }
        Some(match self.line.get(..len) {
            None => Err(LineError::TooLong),
            Some(bytes) => {
                core::str::from_utf8(bytes).map_err(|error| LineError::NotText(error.valid_up_to()))
            }
        })
    }
}
