//! Lines in, text and figures out.

use crate::hardware::{Chip, Hardware, Stream};
use crate::line::{Effect, Line, LineError};
use crate::number;

/// Stops a text.
const CTRL_C: u8 = 0x03;

/// Writes a line of figures or an error: texts and numbers one after the other.
macro_rules! say {
    ($($part:expr),+ $(,)?) => {{
        $crate::console::begin();
        $crate::console::parts!($($part),+);
        $crate::console::end();
    }};
}
pub(crate) use say;

/// Writes a part of such a line.
macro_rules! parts {
    ($($part:expr),+ $(,)?) => {{
        $($crate::console::Say::say(&$part);)+
    }};
}
pub(crate) use parts;

/// What [`say!`] can write.
pub(crate) trait Say {
    fn say(&self);
}

impl Say for &str {
    fn say(&self) {
        Chip::write(Stream::Figures, self.as_bytes());
    }
}

impl Say for u64 {
    fn say(&self) {
        number::digits(*self, &mut [0; 20], 10).say();
    }
}

impl Say for u32 {
    fn say(&self) {
        u64::from(*self).say();
    }
}

impl Say for usize {
    fn say(&self) {
        (*self as u64).say();
    }
}

/// An address.
pub(crate) struct Hex(pub(crate) usize);

impl Say for Hex {
    fn say(&self) {
        "0x".say();
        number::digits(self.0 as u64, &mut [0; 20], 16).say();
    }
}

/// A number of up to a few thousand, with three digits behind the point.
pub(crate) struct Thousandths(pub(crate) f32);

impl Say for Thousandths {
    fn say(&self) {
        let thousandths = (self.0 * 1000.0 + 0.5) as u32;
        let digit = |unit: u32| thousandths / unit % 10;
        parts!(thousandths / 1000, ".", digit(100), digit(10), digit(1));
    }
}

/// The beginning of a line of figures: `# ` tells it from a text on the same line.
pub(crate) fn begin() {
    if Chip::TERMINAL {
        "# ".say();
    }
}

/// Its end.
pub(crate) fn end() {
    "\n".say();
}

/// Writes a piece of a text as it is made.
pub(crate) fn tell(text: &str) {
    Chip::write(Stream::Text, text.as_bytes());
}

/// Whether somebody pressed Ctrl-C. What else was typed is lost.
pub(crate) fn is_stopped() -> bool {
    let mut stopped = false;
    while let Some(byte) = Chip::poll() {
        stopped |= byte == CTRL_C;
    }
    stopped
}

/// The lines that come.
pub(crate) struct Console {
    line: Line,
}

impl Console {
    pub(crate) const fn new() -> Self {
        Self { line: Line::new() }
    }

    /// The next line, without its end; `None` when there are no more.
    pub(crate) fn read_line(&mut self) -> Option<Result<&str, LineError>> {
        if Chip::TERMINAL {
            tell("> ");
        }
        loop {
            let Some(byte) = Chip::read() else {
                return self.line.end().then(|| self.line.text());
            };
            let effect = self.line.push(byte, Chip::TERMINAL);
            if Chip::TERMINAL {
                echo(effect, byte);
            }
            if effect == Effect::Ended {
                return Some(self.line.text());
            }
        }
    }
}

/// Shows at the terminal what `byte` did.
fn echo(effect: Effect, byte: u8) {
    match effect {
        Effect::Nothing => {}
        Effect::Added => Chip::write(Stream::Text, &[byte]),
        Effect::Erased(n) => (0..n).for_each(|_| tell("\x08 \x08")),
        Effect::Ended => tell("\n"),
    }
}
