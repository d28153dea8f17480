//! What sessions on boards are like. `minigpt firmware` includes this file too, so that it plans what
//! the program will do.

use minigpt_runtime::{KvFormat, SessionOptions};

/// Of the session, but for its context, which is the longest that the arena holds.
pub(crate) const SESSION: SessionOptions = SessionOptions {
    n_ctx: 0,
    n_chunk: 1,
    kv: KvFormat::Q8,
};
