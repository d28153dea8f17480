//! Lines, byte by byte as they come; needs no board.

/// Longest line in bytes.
pub(crate) const MAX_LINE: usize = 256;

const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const ESCAPE: u8 = 0x1B;
const DELETE: u8 = 0x7F;

/// Why a line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// Longer than [`MAX_LINE`].
    TooLong,
    /// Broken UTF-8 at this byte.
    NotText(usize),
}

/// What a byte did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing to be seen.
    Nothing,
    /// It is the line's next.
    Added,
    /// Took this many characters away.
    Erased(usize),
    /// The line is complete.
    Ended,
}

/// The part of a terminal's escape sequence, such as an arrow key's, that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    None,
    Escape,
    Parameters,
}

/// A line under way. Ends with LF, CR or CRLF.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: [u8; MAX_LINE],
    /// Beyond [`MAX_LINE`]: too long.
    len: usize,
    /// Whether the next byte begins a new line.
    ended: bool,
    /// Whether the last byte was a CR, whose LF is still to come.
    after_cr: bool,
    sequence: Sequence,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; MAX_LINE],
            len: 0,
            ended: false,
            after_cr: false,
            sequence: Sequence::None,
        }
    }

    /// Takes the next byte. From a `terminal`, keys edit the line.
    pub(crate) fn push(&mut self, byte: u8, terminal: bool) -> Effect {
        let second_of_crlf = self.after_cr && byte == b'\n';
        self.after_cr = byte == b'\r';
        if second_of_crlf {
            return Effect::Nothing;
        }
        if self.ended {
            (self.len, self.ended) = (0, false);
        }
        if byte == b'\r' || byte == b'\n' {
            self.ended = true;
            self.sequence = Sequence::None;
            return Effect::Ended;
        }
        if terminal && (byte < b' ' || byte == DELETE || self.sequence != Sequence::None) {
            return self.edit(byte);
        }
        match self.bytes.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
                Effect::Added
            }
            None => {
                self.len = MAX_LINE + 1;
                Effect::Nothing
            }
        }
    }

    /// Ends the line where no more bytes come; whether something of one has come.
    pub(crate) fn end(&mut self) -> bool {
        !core::mem::replace(&mut self.ended, true) && self.len > 0
    }

    /// Does what a key of a terminal stands for.
    fn edit(&mut self, byte: u8) -> Effect {
        match (self.sequence, byte) {
            (_, ESCAPE) => self.sequence = Sequence::Escape,
            (Sequence::Escape, b'[' | b'O') => self.sequence = Sequence::Parameters,
            (Sequence::Escape, _) | (Sequence::Parameters, b'@'..=b'~') => {
                self.sequence = Sequence::None;
            }
            (Sequence::Parameters, _) => {}
            (Sequence::None, BACKSPACE | DELETE) => return Effect::Erased(self.erase(1)),
            (Sequence::None, CTRL_U) => return Effect::Erased(self.erase(usize::MAX)),
            (Sequence::None, _) => {}
        }
        Effect::Nothing
    }

    /// Takes up to `n` characters away; returns how many it were.
    fn erase(&mut self, n: usize) -> usize {
        let mut erased = 0;
        self.len = self.len.min(MAX_LINE);
        while erased < n && self.len > 0 {
            self.len -= 1;
            let continues = |byte: &u8| byte & 0xC0 == 0x80;
            erased += usize::from(!self.bytes.get(self.len).is_some_and(continues));
        }
        erased
    }

    /// The line that ended, without its end.
    pub(crate) fn text(&self) -> Result<&str, LineError> {
        let bytes = self.bytes.get(..self.len).ok_or(LineError::TooLong)?;
        core::str::from_utf8(bytes).map_err(|error| LineError::NotText(error.valid_up_to()))
    }
}
