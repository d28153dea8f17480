//! Boards with a serial port under QEMU: what a person at the terminal sees.

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::{fs, thread};

/// How long a board may be silent.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a board writes when it waits for a line.
const PROMPT: &str = "> ";

/// QEMU with a board's serial line on its standard streams.
pub(crate) struct Terminal {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// What came and was not looked at.
    rest: Vec<u8>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    /// Starts `program` on `machine` of QEMU's `system`, with the file `model` at `address`.
    pub(crate) fn start(
        (system, machine): (&str, &str),
        program: &Path,
        model: &Path,
        address: u64,
    ) -> Result<Self, String> {
        let mut command = Command::new(format!("qemu-system-{system}"));
        command.args(["-machine", machine, "-display", "none", "-monitor", "none"]);
        command.args(["-serial", "stdio", "-kernel"]).arg(program);
        command.arg("-device").arg(format!(
            "loader,file={},addr={address:#x},force-raw=on",
            model.display()
        ));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| format!("{command:?}: {error}"))?;
        let (input, output) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or_else(|| format!("{command:?}: no standard streams"))?;
        Ok(Self {
            child,
            input,
            output: chunks(output),
            rest: Vec::new(),
        })
    }

    /// Types `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self
            .input
            .write_all(bytes)
            .and_then(|()| self.input.flush());
        sent.map_err(|error| format!("the serial line: {error}"))
    }

    /// What comes up to `end`.
    pub(crate) fn until(&mut self, end: &str) -> Result<String, String> {
        let end = end.as_bytes();
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.rest.split_off(at + end.len());
                let mut text = core::mem::replace(&mut self.rest, rest);
                text.truncate(at);
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            let Ok(bytes) = self.output.recv_timeout(PATIENCE) else {
                let said = String::from_utf8_lossy(&self.rest);
                let end = String::from_utf8_lossy(end);
                return Err(format!("no {end:?} came, but {said:?}"));
            };
            self.rest.extend(bytes);
        }
    }

    /// Types a line once the board waits for one, and gives what it answers, without the echo.
    fn ask(&mut self, line: &[u8]) -> Result<String, String> {
        self.send(line)?;
        let answer = self.until(&format!("\n{PROMPT}"))?;
        let echoed = answer.split_once("\r\n").map_or("", |(_, rest)| rest);
        Ok(echoed.replace("\r\n", "\n"))
    }
}

/// What `output` gives, as it comes.
fn chunks(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            match output.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) if sender.send(bytes[..n].to_vec()).is_err() => break,
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    });
    receiver
}

/// A board, its machine and its program.
pub(crate) struct SerialBoard<'a> {
    pub(crate) name: &'a str,
    pub(crate) machine: (&'a str, &'a str),
    pub(crate) program: PathBuf,
    /// Where models lie.
    pub(crate) address: u64,
}

impl SerialBoard<'_> {
    fn start(&self, model: &Path) -> Result<Terminal, String> {
        Terminal::start(self.machine, &self.program, model, self.address)
    }

    /// The text that it makes of `prompt` after `settings`.
    pub(crate) fn tell(
        &self,
        model: &Path,
        settings: &[String],
        prompt: &str,
    ) -> Result<String, String> {
        let mut terminal = self.start(model)?;
        terminal.until(PROMPT)?;
        for line in settings {
            let answer = terminal.ask(format!("{line}\r").as_bytes())?;
            if !answer.is_empty() {
                return Err(format!("{line}: {answer}"));
            }
        }
        let answer = terminal.ask(format!("{prompt}\r").as_bytes())?;
        let text = answer.rsplit_once("\n# ").map(|(text, _)| text.to_owned());
        text.ok_or_else(|| format!("no figures behind {answer:?}"))
    }

    /// Bad input of every kind, and what a terminal sends.
    pub(crate) fn check(&self, model: &Path) -> Result<(), String> {
        self.check_lines(model)?;
        self.check_stop(model)?;
        self.check_models(model)
    }

    fn check_lines(&self, model: &Path) -> Result<(), String> {
        let too_long = [&[b'x'; 300][..], b"\r"].concat();
        let lines: [(&[u8], &str); 10] = [
            (b"ab\xC3(\r", "# error: the line is not UTF-8 at byte 2"),
            (&too_long, "# error: the line is longer than 256 bytes"),
            (b"/tempo 3\r\n", "# error: no such command"),
            (b"/temperature hot\n", "# error: this needs a number"),
            (b"/top-p 2\r", "# error: top-p must be"),
            (b"/top-k 65\r", "# error: top-k must be 0 (all) to 64"),
            (b"/temperaX\x7Fture 0\x08\x08 0.25\r", ""),
            (b"\x1B[A/max-tokens 3\r", ""),
            (
                b"/info\r",
                "temperature 0.250, top-k 0, top-p 0.950, seed 0, max-tokens 3",
            ),
            (b"/begin\r", "# 3 tokens after 1 of prompt"),
        ];
        let mut terminal = self.start(model)?;
        terminal.until(PROMPT)?;
        for (line, expected) in lines {
            let answer = terminal.ask(line)?;
            let shown = String::from_utf8_lossy(line);
            if !answer.contains(expected) || (expected.is_empty() && !answer.is_empty()) {
                return Err(format!("{}: to {shown:?} it says {answer:?}", self.name));
            }
        }
        Ok(())
    }

    /// Ctrl-C ends a text, and the next line is a line again.
    fn check_stop(&self, model: &Path) -> Result<(), String> {
        let mut terminal = self.start(model)?;
        terminal.until(PROMPT)?;
        terminal.ask(b"/max-tokens 1000000\r")?;
        // It is there when the text begins: the last byte of the line has come by then.
        terminal.send(b" the\r\x03")?;
        let answer = terminal.until(&format!("\n{PROMPT}"))?;
        if !answer.contains(" of prompt, stopped") {
            return Err(format!("{}: Ctrl-C stops nothing: {answer:?}", self.name));
        }
        match terminal.ask(b"/help\r")?.contains("/temperature") {
            true => Ok(()),
            false => Err(format!("{}: no line is heard after Ctrl-C", self.name)),
        }
    }

    /// A model that is damaged, cut short, of a newer version, misplaced, or not there.
    fn check_models(&self, model: &Path) -> Result<(), String> {
        let good = fs::read(model).map_err(|error| format!("{}: {error}", model.display()))?;
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        let cases = [
            (
                changed(good.len() - 1, !good[good.len() - 1]),
                "it is damaged: its checksum is",
            ),
            (good[..good.len() / 2].to_vec(), "it is damaged"),
            (
                changed(4, 200),
                "it has version 200 and this program reads version",
            ),
            ([&[0; 16], &good[..]].concat(), "error: the model begins at"),
            (vec![0; 64], "error: there is no model at"),
        ];
        let folder = PathBuf::from("target/serial");
        let path = folder.join(format!("{}.mgpt", self.name));
        let failed = |error| format!("{}: {error}", path.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        for (bytes, expected) in cases {
            fs::write(&path, bytes).map_err(failed)?;
            let mut terminal = self.start(&path)?;
            let line = terminal.until("\r\n")?;
            if !line.starts_with("# error: ") || !line.contains(expected) {
                return Err(format!(
                    "{}: {line:?} does not say that {expected}",
                    self.name
                ));
            }
        }
        Ok(())
    }
}
