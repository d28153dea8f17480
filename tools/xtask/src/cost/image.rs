//! What the linker put into a program.

use std::fs;
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Parts of names of functions that a program without panics, formatting and heap does not have.
const FORBIDDEN: [&str; 10] = [
    "core::panicking",
    "core::fmt",
    "unwrap_failed",
    "expect_failed",
    "_fail",
    "begin_unwind",
    "rust_panic",
    "__rust_",
    "alloc::",
    "malloc",
];

/// A linked program.
pub(super) struct Image {
    /// Bytes of flash: code, constants, vectors, and the first values of variables.
    pub(super) flash_bytes: u64,
    /// Functions that panic, format or allocate.
    pub(super) forbidden: Vec<String>,
}

impl Image {
    /// Reads an ELF file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn core::fmt::Display| format!("{}: {error}", path.display());
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        let file = object::File::parse(&*bytes).map_err(|error| failed(&error))?;
        let in_flash = file.sections().filter(|section| {
            use SectionKind::{Data, ReadOnlyData, ReadOnlyString, Text};
            matches!(section.kind(), Text | ReadOnlyData | ReadOnlyString | Data)
        });
        let flash_bytes = in_flash.map(|section| section.size()).sum();
        let names = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text);
        let names = names.filter_map(|symbol| symbol.name().ok());
        let names: Vec<String> = names
            .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
            .collect();
        if !names.iter().any(|name| name.contains("main")) {
            return Err(failed(&"there are no symbols; build it without strip"));
        }
        let mut forbidden = names;
        forbidden.retain(|name| FORBIDDEN.iter().any(|part| name.contains(part)));
        forbidden.sort();
        forbidden.dedup();
        Ok(Self {
            flash_bytes,
            forbidden,
        })
    }
}
