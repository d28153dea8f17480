//! Which flushes the device is done with: there is an event behind each, so that one of them can be waited
//! for and not those after it.

use std::collections::VecDeque;

use super::driver::{Event, Failed, Stream};

/// Events at once. Of a flush whose event is taken for a later one, a later event is waited for.
const EVENTS: usize = 64;

/// Flushes by their numbers, from 1.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Flushes sent.
    sent: u64,
    /// Flushes that are known to be done.
    done: u64,
    /// Events behind the latest flushes, with their numbers.
    open: VecDeque<(u64, Event)>,
    /// Events of flushes that are done.
    free: Vec<Event>,
}

impl Marks {
    /// The number of the next flush.
    pub(super) const fn next(&self) -> u64 {
        self.sent + 1
    }

    /// A flush has been sent to `stream`.
    pub(super) fn mark(&mut self, stream: &Stream) -> Result<(), Failed> {
        if self.open.len() == EVENTS {
            self.free(1);
        }
        let event = self.free.pop().map_or_else(Event::new, Ok)?;
        stream.mark(&event)?;
        self.sent += 1;
        self.open.push_back((self.sent, event));
        Ok(())
    }

    /// Waits until flush number `number`, which must have been sent, is done.
    pub(super) fn wait(&mut self, number: u64) -> Result<(), Failed> {
        if number <= self.done {
            return Ok(());
        }
        let behind = self.open.iter().position(|(behind, _)| *behind >= number);
        let behind = behind.expect("a flush that is not done has an event behind it");
        let (number, event) = &self.open[behind];
        event.wait()?;
        self.done = *number;
        self.free(behind + 1);
        Ok(())
    }

    /// All flushes are done.
    pub(super) fn close_all(&mut self) {
        self.done = self.sent;
        self.free(self.open.len());
    }

    /// Frees the first `n` events.
    fn free(&mut self, n: usize) {
        self.free
            .extend(self.open.drain(..n).map(|(_, event)| event));
    }
}
