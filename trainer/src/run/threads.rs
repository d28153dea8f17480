//! The threads of the process.

use rayon::ThreadPoolBuilder;

use super::RunError;

/// Starts the threads that prepare and train: `threads`, or with 0 one a core; the caller's is one of them, so that it
/// hands nothing over. Once in a process, before anything else is computed there, and on a thread that lives as long as
/// anything is: it takes part only in what it waits for, so with one thread no other may use rayon's global pool.
///
/// # Errors
/// [`RunError::Threads`] if the system refuses, if they are already running, or if the caller is one of a pool.
pub fn start_threads(threads: u32) -> Result<(), RunError> {
    let builder = ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .use_current_thread();
    builder.build_global().map_err(|error| RunError::Threads {
        threads,
        message: error.to_string(),
    })
}
