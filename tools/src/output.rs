//! Standard output through a checked handle, and files that appear whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use minigpt_runtime::format::MAGIC;
use minigpt_trainer::durable::{self, Writing};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// Writes a line to standard error, or nowhere if that is closed or full: what is said there is no
/// reason to stop, and `eprintln!` would panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($text)*) + "\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
    }};
}
pub(crate) use say;

/// Writes `text` to standard output and lets it be seen at once.
///
/// A closed pipe is [`Failure::OutputClosed`], a full disk an ordinary failure.
pub(crate) fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// As [`print()`], for text that may end inside a character.
pub(crate) fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("standard output: {}", Writing(&error))),
    })
}

/// Writes `value` to standard output as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&(json + "\n"))
}

/// Writes `value` to standard output as one line of JSON.
pub(crate) fn print_json_line(value: &impl Serialize) -> Outcome {
    let json = serde_json::to_string(value).map_err(Failure::failed)?;
    print(&(json + "\n"))
}

/// Writes a model to `path`, as [`replace_alike`] does.
pub(crate) fn write_model(path: &Path, bytes: &[u8]) -> Result<&'static str, Failure> {
    replace_alike(path, bytes, "model")
}

/// Writes a file of a `kind` to `path`, whole or not at all, and says what was done in one word.
///
/// A file that is there is replaced if it is of that kind, that is, if its first bytes are the same;
/// any other is left alone. A device or a pipe takes the bytes themselves, as soon as someone reads
/// them.
pub(crate) fn replace_alike(
    path: &Path,
    bytes: &[u8],
    kind: &str,
) -> Result<&'static str, Failure> {
    let failed = |error: io::Error| Failure::writing(path, &error);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Failure::Misuse(format!(
            "{} is a directory; give the name of a file with -o",
            path.display()
        ))),
        Ok(found) if !found.is_file() => {
            fs::write(path, bytes).map_err(failed)?;
            Ok("wrote")
        }
        Ok(_) if !begins_alike(path, bytes).map_err(failed)? => Err(Failure::Misuse(format!(
            "{} exists and is not {} {kind}; it is left alone: choose another name with -o",
            path.display(),
            if kind.starts_with(['e', 'u']) {
                "an"
            } else {
                "a"
            }
        ))),
        Ok(_) => {
            durable::replace_file(path, bytes).map_err(failed)?;
            Ok("replaced")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            durable::replace_file(path, bytes).map_err(failed)?;
            Ok("wrote")
        }
        Err(error) => Err(failed(error)),
    }
}

fn begins_alike(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut start = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut start) {
        Ok(()) => Ok(bytes.starts_with(&start)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// `text` for a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            character => out.push(character),
        }
    }
    out
}

/// `n` with a thin mark every three digits: `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_groups() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn only_models_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mgpt");
        assert_eq!(write_model(&path, b"MGPTone").unwrap(), "wrote");
        assert_eq!(write_model(&path, b"MGPTtwo").unwrap(), "replaced");
        assert_eq!(fs::read(&path).unwrap(), b"MGPTtwo");
        fs::write(&path, b"a letter").unwrap();
        assert!(matches!(
            write_model(&path, b"MGPT"),
            Err(Failure::Misuse(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), b"a letter");
        assert!(matches!(
            write_model(dir.path(), b"MGPT"),
            Err(Failure::Misuse(_))
        ));
    }
}
