//! Ending a text at a word, however tokens cut it.

use core::fmt;

/// Watches a text for stop strings, and passes on what is certainly none.
///
/// No memory is needed for what is held back: it is always the beginning of one of the stop strings, so
/// which of them and how much of it says everything.
#[derive(Clone, Copy, Debug)]
pub struct StopStrings<'s, S> {
    stops: &'s [S],
    /// The stop string that the text held back begins.
    which: usize,
    /// Bytes held back.
    held: usize,
}

/// A stop string without characters, which would stop every text before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "nothing else can go wrong")]
pub struct EmptyStop {
    /// Its index.
    pub index: usize,
}

impl fmt::Display for EmptyStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.index + 1;
        write!(
            f,
            "stop string {number} is empty; give it at least one character, or leave it out"
        )
    }
}

impl core::error::Error for EmptyStop {}

impl<'s, S: AsRef<str>> StopStrings<'s, S> {
    /// Watches for `stops`; with none, everything passes at once.
    ///
    /// # Errors
    /// [`EmptyStop`] if one has no characters.
    pub fn new(stops: &'s [S]) -> Result<Self, EmptyStop> {
        let empty = stops.iter().position(|stop| stop.as_ref().is_empty());
        empty.map_or(
            Ok(Self {
                stops,
                which: 0,
                held: 0,
            }),
            |index| Err(EmptyStop { index }),
        )
    }

    /// Reads on; `sink` gets, in order, the text that belongs to no stop string.
    ///
    /// Returns the index of the stop string that is complete; neither it nor what follows it goes to `sink`,
    /// and the next text begins anew. Of several that end at the same character it is the longest.
    pub fn push(&mut self, text: &str, sink: &mut impl FnMut(&str)) -> Option<usize> {
        if self.stops.is_empty() {
            emit(Some(text), sink);
            return None;
        }
        let mut buffer = [0; 4];
        for character in text.chars() {
            let character: &str = character.encode_utf8(&mut buffer);
            let held = self.held();
            if let Some((index, start)) = self.complete(held, character) {
                emit(held.get(..start), sink);
                self.held = 0;
                return Some(index);
            }
            let (kept, which, len) = self.begun(held, character);
            emit(held.get(..kept), sink);
            if len == 0 {
                sink(character);
            }
            (self.which, self.held) = (which, len);
        }
        None
    }

    /// Ends the text: what was held back goes to `sink`.
    pub fn finish(&mut self, sink: &mut impl FnMut(&str)) {
        emit(Some(self.held()), sink);
        self.held = 0;
    }

    fn held(&self) -> &'s str {
        let stop = self.stops.get(self.which).map_or("", AsRef::as_ref);
        stop.get(..self.held).unwrap_or_default()
    }

    /// The longest stop string that ends with `character`, and where in `held` it begins.
    fn complete(&self, held: &str, character: &str) -> Option<(usize, usize)> {
        let stops = self.stops.iter().enumerate();
        let ends = stops.filter_map(|(index, stop)| {
            let before = stop.as_ref().strip_suffix(character)?;
            let start = held.strip_suffix(before)?.len();
            Some((index, start))
        });
        ends.min_by_key(|(_, start)| *start)
    }

    /// The longest end of `held` and `character` that begins a stop string: where in `held` it begins,
    /// which stop string, and its bytes; all of `held` and no bytes if there is none.
    fn begun(&self, held: &str, character: &str) -> (usize, usize, usize) {
        for start in (0..=held.len()).filter(|start| held.is_char_boundary(*start)) {
            let end = held.get(start..).unwrap_or_default();
            let begins = |stop: &S| {
                let rest = stop.as_ref().strip_prefix(end);
                rest.is_some_and(|rest| rest.starts_with(character))
            };
            if let Some(which) = self.stops.iter().position(begins) {
                return (start, which, end.len() + character.len());
            }
        }
        (held.len(), 0, 0)
    }
}

fn emit(text: Option<&str>, sink: &mut impl FnMut(&str)) {
    match text {
        None | Some("") => {}
        Some(text) => sink(text),
    }
}

#[cfg(test)]
mod tests;
