//! The parts of this crate that a model may need, as Cargo features.

use core::fmt;

/// A Cargo feature of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// Whether this build has it.
    pub(crate) present: bool,
}

/// The feature of that name.
macro_rules! cargo_feature {
    ($name:literal) => {
        crate::features::Feature {
            name: $name,
            present: cfg!(feature = $name),
        }
    };
}
pub(crate) use cargo_feature;

/// What a program says that was built without `feature`.
pub(crate) fn absent(f: &mut fmt::Formatter<'_>, feature: &str) -> fmt::Result {
    write!(
        f,
        "this program was built without the feature {feature} of minigpt-runtime; build it with that one"
    )
}
