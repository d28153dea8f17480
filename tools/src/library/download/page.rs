//! Web pages that come where a text was meant: a login, an error, the page about the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ureq::http::HeaderMap;

use super::text;
use crate::library::address::Address;

/// How a page calls itself, and how it begins, in lower case.
const TYPES: [&str; 2] = ["text/html", "application/xhtml+xml"];
const BEGINNINGS: [&str; 2] = ["<!doctype html", "<html"];

/// Bytes in which a page must have begun.
const HEAD: u64 = 1024;

/// Whether `headers` announce a page.
pub(super) fn announced(headers: &HeaderMap) -> bool {
    let kind = text(headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    TYPES.iter().any(|page| kind.eq_ignore_ascii_case(page))
}

/// Whether the file at `path` is one.
pub(super) fn is_in(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    Ok(BEGINNINGS.iter().any(|begin| head.starts_with(begin)))
}

/// Whether `address` is that of a page, which then is what was asked for.
pub(super) fn is_meant(address: &Address) -> bool {
    let name = address.file_name().to_ascii_lowercase();
    [".html", ".htm", ".xhtml"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Why it is not kept, and what to do.
pub(super) fn refused(address: &Address) -> String {
    format!(
        "{} leads to a web page and not to a text; give the address of the file itself, such as its raw or \
         download link, or get the file yourself and give its path",
        address.asked
    )
}
