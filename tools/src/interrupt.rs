//! Ctrl-C: the first asks for an orderly end, the second ends at once.

use core::sync::atomic::{AtomicBool, Ordering};
use std::process;

use crate::failure::Failure;
use crate::output::say;

/// Exit code of a program that a signal ended.
const CODE: i32 = 130;

static WANTED: AtomicBool = AtomicBool::new(false);
static HEEDED: AtomicBool = AtomicBool::new(false);

/// Listens for SIGINT and SIGTERM; until [`heed`] they end the program at once.
pub(crate) fn listen() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        let again = WANTED.swap(true, Ordering::SeqCst);
        if again || !HEEDED.load(Ordering::SeqCst) {
            process::exit(CODE);
        }
        say!("\nstopping after this step and saving; press Ctrl-C again to stop at once");
    })
    .map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))
}

/// Whether from now on someone asks [`wanted`] and ends in order.
pub(crate) fn heed(heeded: bool) {
    HEEDED.store(heeded, Ordering::SeqCst);
}

/// Whether an end is wanted.
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}
