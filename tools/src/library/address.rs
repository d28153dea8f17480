//! What may stand for a file: a name, an address, a file of a Hugging Face data set.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{KNOWN, known};
use crate::failure::Failure;

/// Where data sets of Hugging Face are.
const HUB: &str = "https://huggingface.co/datasets/";
/// Before the owner of such a data set.
const HUB_MARK: &str = "hf:";
/// Before the checksum that a file must have.
const SHA256: &str = "#sha256=";

/// Letters wrong in a name that is still recognised.
const MOST_SLIPS: usize = 2;

/// A file on the web.
#[derive(Debug, PartialEq)]
pub(super) struct Address {
    /// As the user wrote it.
    pub(super) asked: String,
    pub(super) url: String,
    /// Checksum that it must have, in lower case.
    pub(super) sha256: Option<String>,
}

impl Address {
    /// The address that `path` stands for; `None` if it is a path.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(asked) = path.to_str() else {
            return Ok(None);
        };
        if let Some(known) = known(path) {
            return Ok(Some(Self {
                asked: asked.to_owned(),
                url: known.url.to_owned(),
                sha256: known.sha256.map(str::to_owned),
            }));
        }
        let (place, sha256) = match asked.split_once(SHA256) {
            Some((place, sha256)) => (place, Some(checksum(asked, sha256)?)),
            None => (asked, None),
        };
        let url = match place.strip_prefix(HUB_MARK) {
            Some(file) => hub(asked, file)?,
            None if place.starts_with("https://") || is_local(place) => place.to_owned(),
            None if place.starts_with("http://") => {
                return Err(Failure::Misuse(format!(
                    "{asked} would come unprotected; use https://"
                )));
            }
            None => return not_an_address(path, asked),
        };
        Ok(Some(Self {
            asked: asked.to_owned(),
            url: of_blob(url),
            sha256,
        }))
    }

    /// The last part of the path: how it ends says what the file holds.
    pub(super) fn file_name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = name.chars().filter(|c| kept(*c)).collect();
        match name.trim_start_matches('.') {
            "" => "data".to_owned(),
            name => name.to_owned(),
        }
    }

    /// A name for its folder in the cache.
    pub(super) fn key(&self) -> String {
        hexadecimal(&Sha256::digest(&self.url)[..8])
    }
}

/// A path, unless it looks like the name of a data set and nothing has it.
fn not_an_address(path: &Path, asked: &str) -> Result<Option<Address>, Failure> {
    let near = near(asked);
    let is_name = path.extension().is_none() && path.components().count() == 1;
    if path.exists() || !(is_name || near.is_some()) {
        return Ok(None);
    }
    let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    let names = names.join(", ");
    let advice = near.map_or_else(
        || "check the path or give one of these".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    Err(Failure::Misuse(format!(
        "there is no file {asked}; data sets that have a name are {names}: {advice}"
    )))
}

/// The data set that `asked` may have been meant to name.
fn near(asked: &str) -> Option<&'static str> {
    let asked = asked.to_lowercase();
    let names = || KNOWN.iter().map(|known| known.name);
    let distance = |name: &str| strsim::damerau_levenshtein(&asked, name);
    let slipped = names().filter(|name| distance(name) <= MOST_SLIPS);
    let slipped = slipped.min_by_key(|name| distance(name));
    let named = || names().filter(|name| asked.contains(name));
    slipped.or_else(|| named().max_by_key(|name| name.len()))
}

/// The host of `url`, with its port.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether `url` is served by this machine, where nobody can listen.
fn is_local(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or_default();
    let local = ["127.0.0.1", "localhost", "[::1]"];
    local.iter().any(|name| {
        let rest = host.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([':', '/']))
    })
}

/// `OWNER/NAME/FILE` of Hugging Face.
fn hub(asked: &str, file: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = file.splitn(3, '/').collect();
    match parts[..] {
        [owner, name, file] if parts.iter().all(|part| !part.is_empty()) => {
            Ok(format!("{HUB}{owner}/{name}/resolve/main/{file}"))
        }
        _ => Err(Failure::Misuse(format!(
            "{asked} names no file of a data set; give hf:OWNER/NAME/FILE, such as \
             hf:roneneldan/TinyStories/TinyStoriesV2-GPT4-valid.txt"
        ))),
    }
}

/// The file itself, where `url` is that of the page about it.
fn of_blob(url: String) -> String {
    match url.strip_prefix(HUB) {
        Some(file) => format!("{HUB}{}", file.replacen("/blob/", "/resolve/", 1)),
        None => url,
    }
}

fn checksum(asked: &str, sha256: &str) -> Result<String, Failure> {
    match sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(sha256.to_ascii_lowercase()),
        false => Err(Failure::Misuse(format!(
            "{asked}: a SHA-256 has 64 hexadecimal digits and this one {}",
            sha256.len()
        ))),
    }
}

/// Bytes as text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
