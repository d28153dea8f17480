//! Whether a model can run in the memory there is, asked before it is tried.

use std::path::Path;

use minigpt_runtime::{MemoryPlan, ModelFile, SessionOptions};
use minigpt_trainer::run::available_memory;

use crate::failure::{Failure, Outcome};
use crate::output::{grouped, say};

/// Refuses `n_sessions` sessions that do not fit into memory, and warns of a file that does not.
pub(crate) fn check(
    path: &Path,
    file: &ModelFile<'_>,
    options: &SessionOptions,
    n_sessions: usize,
) -> Outcome {
    let Some(available) = available_memory() else {
        return Ok(());
    };
    let plan = MemoryPlan::new(file.config(), file.format(), options);
    let sessions = plan.total().saturating_mul(n_sessions as u64);
    let (weights, all) = (
        file.len() as u64,
        sessions.saturating_add(file.len() as u64),
    );
    let path = path.display();
    if sessions > available {
        return Err(Failure::Failed(format!(
            "{path} needs {} bytes of memory to run beside its own {}, and {} are there; lower --context{}, \
             or take --kv q8",
            grouped(sessions),
            grouped(weights),
            grouped(available),
            if n_sessions > 1 {
                " or the number of sequences at once"
            } else {
                ""
            },
        )));
    }
    if all > available {
        say!(
            "{path} needs {} bytes of memory to run and {} are there: it is read from the disk again and again, \
             which is slow",
            grouped(all),
            grouped(available)
        );
    }
    Ok(())
}
