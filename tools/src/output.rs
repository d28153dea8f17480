//! Standard output through a checked handle, and files that appear whole.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use minigpt_runtime::format::MAGIC;
use minigpt_trainer::durable;
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
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("standard output: {error}")),
    })
}

/// Writes `value` to standard output as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&(json + "\n"))
}

/// Writes a model to `path`, whole or not at all.
///
/// A model that is there is replaced; any other file is left alone.
pub(crate) fn write_model(path: &Path, bytes: &[u8]) -> Outcome {
    match File::open(path) {
        Ok(mut file) => {
            let mut start = [0; MAGIC.len()];
            let is_file = file.metadata().is_ok_and(|data| data.is_file());
            if is_file && (file.read_exact(&mut start).is_err() || start != MAGIC) {
                return Err(Failure::Misuse(format!(
                    "{} exists and is not a model; it is left alone: choose another name with -o",
                    path.display()
                )));
            }
            if !is_file {
                // A device or a pipe takes the bytes themselves.
                return std::fs::write(path, bytes).map_err(|error| Failure::with(path, error));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::with(path, error)),
    }
    durable::replace_file(path, bytes).map_err(|error| Failure::with(path, error))
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
        write_model(&path, b"MGPTone").unwrap();
        write_model(&path, b"MGPTtwo").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"MGPTtwo");
        std::fs::write(&path, b"a letter").unwrap();
        assert!(matches!(
            write_model(&path, b"MGPT"),
            Err(Failure::Misuse(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"a letter");
    }
}
