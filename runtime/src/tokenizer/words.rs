//! GPT-2's pre-tokenisation, by hand.

/// The words of a text, as GPT-2's regular expression cuts them; together they are the text.
///
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
///
/// Bytes that are not UTF-8 count as the fourth kind, neither space nor letter nor number.
///
/// # Source
/// GPT-2, `encoder.py`, `Encoder.pat`.
#[derive(Clone, Debug)]
pub struct Words<'t>(&'t [u8]);

impl<'t> Words<'t> {
    /// The words of `text`.
    #[must_use]
    pub fn new(text: &'t [u8]) -> Self {
        Self(text)
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (word, rest) = self.0.split_at_checked(word_len(self.0))?;
        self.0 = rest;
        Some(word)
    }
}

/// Length of the first word of a text that is not empty; at least 1.
fn word_len(text: &[u8]) -> usize {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => return 2,
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => return 3,
        _ => {}
    }
    let space = usize::from(text.first() == Some(&b' '));
    let after = text.get(space..).unwrap_or_default();
    match kind(after) {
        Some((kind, _)) if kind != Kind::Space => space + run(after, kind).0,
        _ => match run(text, Kind::Space) {
            // The last space before something else belongs to it, or stands alone.
            (len, last) if len < text.len() && len > last => len - last,
            (len, _) => len,
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Space,
    Letter,
    Number,
    Other,
}

/// Length of the longest start of `text` of one kind, and of its last character.
fn run(text: &[u8], wanted: Kind) -> (usize, usize) {
    let (mut len, mut last) = (0, 0);
    while let Some((found, n)) = text.get(len..).and_then(kind) {
        if found != wanted {
            break;
        }
        len += n;
        last = n;
    }
    (len, last)
}

/// Kind and length of the first character.
fn kind(text: &[u8]) -> Option<(Kind, usize)> {
    let first = *text.first()?;
    if first.is_ascii() {
        let kind = match first {
            b'a'..=b'z' | b'A'..=b'Z' => Kind::Letter,
            b'0'..=b'9' => Kind::Number,
            b' ' | b'\t'..=b'\r' => Kind::Space,
            _ => Kind::Other,
        };
        return Some((kind, 1));
    }
    let start = text.get(..text.len().min(4))?;
    let valid = match core::str::from_utf8(start) {
        Ok(valid) => valid,
        Err(error) => core::str::from_utf8(start.get(..error.valid_up_to())?).ok()?,
    };
    let Some(ch) = valid.chars().next() else {
        return Some((Kind::Other, 1));
    };
    let kind = if ch.is_whitespace() {
        Kind::Space
    } else if ch.is_numeric() {
        Kind::Number
    } else if ch.is_alphabetic() && !is_alphabetic_mark(ch) {
        Kind::Letter
    } else {
        Kind::Other
    };
    Some((kind, ch.len_utf8()))
}

/// Whether an alphabetic character is no letter (`\p{L}`): vowel signs and circled letters.
fn is_alphabetic_mark(ch: char) -> bool {
    let ch = u32::from(ch);
    let after = ALPHABETIC_MARKS.partition_point(|range| range >> 8 <= ch);
    let range = after
        .checked_sub(1)
        .and_then(|index| ALPHABETIC_MARKS.get(index));
    range.is_some_and(|range| ch - (range >> 8) <= range & 0xff)
}

/// Ranges of characters that are alphabetic and neither numbers nor letters: `first << 8 | length - 1`.
///
/// A range may run over characters that are not alphabetic, never over a letter. Unicode 17, as
/// `core` of Rust 1.95. Made by `rustc -O classes.rs && ./classes | python3 marks.py`, with
///
/// ```text
/// // classes.rs
/// fn main() {
///     for c in '\0'..=char::MAX {
///         println!("{:x} {}", c as u32, c.is_alphabetic() && !c.is_numeric());
///     }
/// }
/// # marks.py; pip install unicodedata2 (17 or later)
/// import sys, unicodedata2
/// ranges, running = [], False
/// for line in sys.stdin:
///     c, alphabetic = line.split()
///     letter = unicodedata2.category(chr(int(c, 16)))[0] == "L"
///     if alphabetic == "true" and not letter:
///         if not running: ranges.append([int(c, 16), 0])
///         ranges[-1][1], running = int(c, 16), True
///     elif letter: running = False
/// print(", ".join(f"0x{a << 8 | b - a:x}" for a, b in ranges))
/// ```
#[rustfmt::skip]
const ALPHABETIC_MARKS: [u32; 171] = [
    0x3452a, 0x5b017, 0x6100a, 0x64b14, 0x67000, 0x6d60e, 0x6e706, 0x71100, 0x7300f, 0x7a60a,
    0x81601, 0x81b08, 0x82502, 0x82903, 0x89700, 0x8d42f, 0x93a01, 0x93e11, 0x95502, 0x96201,
    0x98102, 0x9be0e, 0x9d700, 0x9e201, 0xa0102, 0xa3e13, 0xa7001, 0xa750e, 0xabe0e, 0xae201,
    0xafa09, 0xb3e19, 0xb6201, 0xb8200, 0xbbe0e, 0xbd72d, 0xc3e18, 0xc6201, 0xc8102, 0xcbe18,
    0xce201, 0xcf310, 0xd3e0e, 0xd5700, 0xd6201, 0xd8102, 0xdcf24, 0xe3100, 0xe3406, 0xe4d00,
    0xeb100, 0xeb408, 0xecd00, 0xf7112, 0xf8d2f, 0x102b13, 0x105603, 0x105e02, 0x106202, 0x106706,
    0x107103, 0x10820b, 0x108f0e, 0x171201, 0x173201, 0x175201, 0x177201, 0x17b612, 0x188501,
    0x18a900, 0x192018, 0x1a1704, 0x1a551f, 0x1abf45, 0x1b350e, 0x1b8002, 0x1ba10c, 0x1be70a,
    0x1c2412, 0x1dd321, 0x24b633, 0x2de01f, 0xa67407, 0xa69e01, 0xa80200, 0xa80b00, 0xa82304,
    0xa88001, 0xa8b411, 0xa8ff00, 0xa92604, 0xa9470b, 0xa98003, 0xa9b40b, 0xa9e500, 0xaa290d,
    0xaa4300, 0xaa4c01, 0xaa7b02, 0xaab000, 0xaab202, 0xaab701, 0xaabe00, 0xaaeb04, 0xaaf500,
    0xabe307, 0xfb1e00, 0x1037604, 0x10a010e, 0x10d2403, 0x10d6900, 0x10eab01, 0x10efa02, 0x1100002,
    0x110380d, 0x1107301, 0x1108002, 0x110b012, 0x1110002, 0x111270b, 0x1114501, 0x1118002,
    0x111b30c, 0x111ce01, 0x1122c12, 0x1124100, 0x112df24, 0x1133e0e, 0x1135700, 0x1136201,
    0x113b815, 0x1143510, 0x114b011, 0x115af0f, 0x115dc01, 0x1163010, 0x116ab0a, 0x1171d0d,
    0x1182c0c, 0x119300c, 0x1194000, 0x1194200, 0x119d10e, 0x119e400, 0x11a0109, 0x11a3504,
    0x11a3b03, 0x11a510a, 0x11a8a0d, 0x11b6007, 0x11c2f0f, 0x11c9224, 0x11d3112, 0x11d4700,
    0x11d8a0c, 0x11ef30e, 0x11f0300, 0x11f340c, 0x1611e10, 0x16f4f00, 0x16f5141, 0x16ff001,
    0x1bc9e00, 0x1e0002a, 0x1e08f00, 0x1e6e300, 0x1e6e600, 0x1e6ee01, 0x1e6f500, 0x1e94700,
    0x1f13059,
];
