//! Ctrl-C: stops the answer that is being made, and the program where none is.

use core::sync::atomic::{AtomicBool, Ordering};
use std::process;

use crate::failure::{Failure, Outcome};

/// Exit code of a program that a signal ended.
const CODE: i32 = 130;

static ANSWERING: AtomicBool = AtomicBool::new(false);
static WANTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on. A second signal before the first was heeded ends the program, too.
pub(super) fn listen() -> Outcome {
    let set = ctrlc::set_handler(|| {
        let again = WANTED.swap(true, Ordering::SeqCst);
        if again || !ANSWERING.load(Ordering::SeqCst) {
            process::exit(CODE);
        }
    });
    set.map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))
}

/// Whether an answer is being made.
pub(super) fn answering(is: bool) {
    ANSWERING.store(is, Ordering::SeqCst);
    WANTED.store(false, Ordering::SeqCst);
}

/// Whether its end is wanted.
pub(super) fn wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}
