//! Ctrl-C: the first asks for an orderly end, the second ends at once.

use core::sync::atomic::{AtomicBool, Ordering};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use minigpt_trainer::run::Run;

use crate::failure::Failure;
use crate::output::say;

/// Exit code of a program that a signal ended.
const CODE: i32 = 130;

static WANTED: AtomicBool = AtomicBool::new(false);
static HEEDED: AtomicBool = AtomicBool::new(false);
static PREPARED: Mutex<Option<Preparation>> = Mutex::new(None);

/// A run directory in the making.
struct Preparation {
    path: PathBuf,
    /// Whether the directory was there before.
    found: bool,
}

/// Listens for SIGINT and SIGTERM; until [`heed`] they end the program at once.
pub(crate) fn listen() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        let again = WANTED.swap(true, Ordering::SeqCst);
        if again || !HEEDED.load(Ordering::SeqCst) {
            end();
        }
        say!("\nstopping after this step and saving; press Ctrl-C again to stop at once");
    })
    .map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))
}

/// Ends the program; a run directory in the making goes with it.
fn end() -> ! {
    // Held to the end: whoever wants to say that preparation failed waits here.
    let prepared = prepared();
    if let Some(Preparation { path, found }) = &*prepared {
        Run::abandon(path, *found);
        say!("\nminigpt: stopped before the first step; nothing saved");
    }
    process::exit(CODE)
}

fn prepared() -> MutexGuard<'static, Option<Preparation>> {
    PREPARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the run directory `path` is made; an end before [`made`] leaves none.
pub(crate) fn making(path: &Path) {
    *prepared() = Some(Preparation {
        path: path.to_owned(),
        found: path.exists(),
    });
}

/// The run directory is made, or given up.
pub(crate) fn made() {
    *prepared() = None;
}

/// Whether from now on someone asks [`wanted`] and ends in order.
pub(crate) fn heed(heeded: bool) {
    HEEDED.store(heeded, Ordering::SeqCst);
}

/// Whether an end is wanted.
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}
