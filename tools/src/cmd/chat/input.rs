//! Lines from a person, with editing and history, or from a pipe.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::failure::{Failure, Outcome};

const PROMPT: &str = "> ";

/// Where messages come from.
pub(super) enum Input {
    /// A terminal, and the file of its history.
    Terminal(Box<DefaultEditor>, Option<PathBuf>),
    /// Anything else.
    Pipe,
}

impl Input {
    pub(super) fn new(history: Option<PathBuf>) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Pipe);
        }
        let mut editor = DefaultEditor::new().map_err(terminal)?;
        if let Some(path) = history.as_ref().filter(|path| path.exists()) {
            let loaded = editor.load_history(path);
            loaded.map_err(|error| Failure::with(path, error))?;
        }
        Ok(Self::Terminal(Box::new(editor), history))
    }

    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(..))
    }

    /// The next line; none at the end. Ctrl-C drops a line that was begun.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        let Self::Terminal(editor, _) = self else {
            return piped();
        };
        match editor.readline(PROMPT) {
            Ok(line) => {
                // A line that is not remembered is no reason to stop.
                let _ = editor.add_history_entry(&line);
                Ok(Some(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
            Err(ReadlineError::Eof) => Ok(None),
            Err(error) => Err(terminal(error)),
        }
    }

    /// Writes the history where it is kept.
    pub(super) fn end(&mut self) -> Outcome {
        match self {
            Self::Terminal(editor, Some(path)) => {
                let saved = editor.save_history(path);
                saved.map_err(|error| Failure::with(path, error))
            }
            _ => Ok(()),
        }
    }
}

fn terminal(error: ReadlineError) -> Failure {
    Failure::Failed(format!("cannot read from the terminal: {error}"))
}

fn piped() -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    let read = read.map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
    if read == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Misuse(format!(
            "a message is not UTF-8 from byte {at} on; give text"
        ))
    })?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}
