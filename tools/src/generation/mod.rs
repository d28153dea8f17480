//! Making texts: what `generate` and `chat` share.

pub(crate) mod memory;
pub(crate) mod prompt;
pub(crate) mod sampling;
pub(crate) mod sequence;
pub(crate) mod teller;
