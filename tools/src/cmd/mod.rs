//! One file per subcommand: its arguments and what it does.

pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod train;
