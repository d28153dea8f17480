//! Which library this is.

use core::ffi::c_char;

/// `MINIGPT_ABI`: raised when a program must be compiled again.
pub(crate) const ABI: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// `MINIGPT_ABI` of this library.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_abi() -> u32 {
    ABI
}

/// Version of this library.
#[unsafe(no_mangle)]
pub extern "C" fn minigpt_version() -> *const c_char {
    VERSION.as_ptr().cast()
}
