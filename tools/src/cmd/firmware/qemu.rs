//! `--run`: an image under QEMU, its text on our standard output.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::Args;
use minigpt_runtime::{Sampler, SamplerOptions};
use tempfile::NamedTempFile;

use crate::board::{Board, Qemu};
use crate::cmd::{at_least, count};
use crate::failure::{Failure, Outcome};
use crate::generation::sampling::drawn_seed;
use crate::output::{self, say};

/// What begins a line in which the board says that something is wrong.
const ERROR: &str = "error: ";

/// Most digits behind the point that boards understand.
const MAX_DECIMALS: usize = 9;

/// Most digits in all.
const MAX_DIGITS: usize = 12;

/// Whether the user stopped it.
static STOPPED: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Args)]
#[command(next_help_heading = "Running it under QEMU")]
pub(super) struct RunArgs {
    /// Run the image under QEMU: the text goes to standard output, figures to standard error
    #[arg(long)]
    run: bool,
    /// Text to continue; without it lines from standard input go to the board, each the beginning of
    /// a text or a command such as /seed 7 or /info
    #[arg(long, requires = "run", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Stop after this many tokens, unless the text ends before [default: 256]
    #[arg(
        long,
        value_name = "N",
        requires = "run",
        allow_negative_numbers = true
    )]
    max_tokens: Option<i64>,
    /// 0 always takes the likeliest token; 1 draws as the model predicts [default: 0.8]
    #[arg(
        long,
        value_name = "T",
        requires = "run",
        allow_negative_numbers = true
    )]
    temperature: Option<f32>,
    /// Draw only from the K likeliest tokens (up to 64)
    #[arg(
        long,
        value_name = "K",
        requires = "run",
        allow_negative_numbers = true
    )]
    top_k: Option<i64>,
    /// Draw only from the fewest likeliest tokens whose probabilities sum to P [default: 1]
    #[arg(
        long,
        value_name = "P",
        requires = "run",
        allow_negative_numbers = true
    )]
    top_p: Option<f32>,
    /// Same seed, same text; without it one is drawn and said
    #[arg(
        long,
        value_name = "S",
        requires = "run",
        allow_negative_numbers = true
    )]
    seed: Option<i64>,
}

/// What the board is to be told.
pub(super) struct Telling {
    /// Commands, and the prompt if there is one.
    lines: String,
    /// Whether lines from standard input follow.
    interactive: bool,
}

impl RunArgs {
    /// What is to be run, if something is.
    pub(super) fn check(&self, board: &Board) -> Result<Option<Telling>, Failure> {
        if !self.run {
            return Ok(None);
        }
        if board.qemu.is_none() {
            return Err(Failure::Misuse(format!(
                "{board} does not run here: leave out --run and flash the image, or take a board that has --run in minigpt firmware --list"
            )));
        }
        let mut lines = self.settings()?;
        if let Some(prompt) = &self.prompt {
            lines += &line(prompt)?;
        }
        Ok(Some(Telling {
            lines,
            interactive: self.prompt.is_none(),
        }))
    }

    /// The commands that set how texts are made.
    fn settings(&self) -> Result<String, Failure> {
        let max_tokens = count("--max-tokens", self.max_tokens.unwrap_or(256), 0)?;
        let top_k = self.top_k.map(|k| count("--top-k", k, 1)).transpose()?;
        let temperature = self.temperature.unwrap_or(0.8);
        let seed = match self.seed {
            Some(seed) => at_least("--seed", seed, 0)?,
            None => {
                let seed = drawn_seed();
                if temperature != 0.0 {
                    say!("seed {seed}");
                }
                seed
            }
        };
        let sampling = SamplerOptions {
            temperature,
            top_k,
            top_p: self.top_p.unwrap_or(1.0),
            seed,
        };
        <Sampler>::new(sampling).map_err(Failure::misuse)?;
        Ok(format!(
            "/temperature {}\n/top-k {}\n/top-p {}\n/seed {seed}\n/max-tokens {max_tokens}\n",
            decimal("--temperature", sampling.temperature)?,
            top_k.unwrap_or(0),
            decimal("--top-p", sampling.top_p)?
        ))
    }
}

/// `value` as boards read it.
fn decimal(flag: &str, value: f32) -> Result<String, Failure> {
    let text = value.to_string();
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match decimals > MAX_DECIMALS || digits > MAX_DIGITS {
        true => Err(Failure::Misuse(format!(
            "{flag} is {value:?}; boards read up to {MAX_DIGITS} digits, {MAX_DECIMALS} of them behind the point"
        ))),
        false => Ok(text),
    }
}

/// The line that asks for `prompt` to be continued.
fn line(prompt: &str) -> Result<String, Failure> {
    let refused = |what| Err(Failure::Misuse(format!("--prompt {what}")));
    match prompt {
        "" => Ok("/begin\n".to_owned()),
        _ if prompt.contains(['\n', '\r']) => {
            refused("has an end of line, and boards read one line; leave it out")
        }
        _ if prompt.starts_with('/') => {
            refused("begins with /, which is a command to boards; begin it otherwise")
        }
        _ => Ok(format!("{prompt}\n")),
    }
}

impl Telling {
    /// Runs `image`, an ELF, on QEMU's model of `board`.
    pub(super) fn run(self, board: &Board, image: &[u8]) -> Outcome {
        let Some(qemu) = &board.qemu else {
            return Ok(());
        };
        let failed = |error: io::Error| Failure::Failed(format!("cannot keep the image: {error}"));
        let mut file = NamedTempFile::with_suffix(".elf").map_err(failed)?;
        file.write_all(image).map_err(failed)?;
        let mut command = command(qemu);
        command.arg("-kernel").arg(file.path());
        let mut child = command.spawn().map_err(|error| not_started(qemu, &error))?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        kill_when_stopped(&child)?;
        let interactive = self.interactive;
        if interactive && io::stdin().is_terminal() {
            say!("lines go to the board: beginnings of texts, or commands (/info); Ctrl-D ends it");
        }
        thread::spawn(move || self.feed(input));
        let listener = thread::spawn(move || listen(errors, interactive));
        let relayed = relay(output);
        if relayed.is_err() {
            kill(&child);
        }
        let status = ended(&child);
        let complaint = listener.join().unwrap_or_default();
        if STOPPED.load(Ordering::SeqCst) {
            return Err(Failure::Interrupted("stopped".to_owned()));
        }
        relayed?;
        let status = status.map_err(|error| Failure::Failed(format!("QEMU: {error}")))?;
        judge(board, complaint, status)?;
        say!(
            "seconds are those of QEMU on this machine; for the board's: minigpt fit --board {board}"
        );
        Ok(())
    }

    /// Sends the lines, and then those of standard input if they are to be heard.
    fn feed(self, input: Option<ChildStdin>) {
        let Some(mut input) = input else { return };
        // A board that has ended reads no more; its end says why.
        let sent = input.write_all(self.lines.as_bytes());
        if sent.and_then(|()| input.flush()).is_ok() && self.interactive {
            let _ = io::copy(&mut io::stdin(), &mut input);
        }
    }
}

/// QEMU, whose standard streams are the board's.
fn command(qemu: &Qemu) -> Command {
    let mut command = Command::new(program(qemu));
    command.args(["-machine", &qemu.machine]);
    if qemu.system != "arm" {
        command.args(["-bios", "none"]);
    }
    command.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is ours to handle.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn program(qemu: &Qemu) -> String {
    format!("qemu-system-{}", qemu.system)
}

fn not_started(qemu: &Qemu, error: &io::Error) -> Failure {
    let program = program(qemu);
    Failure::Failed(match error.kind() {
        ErrorKind::NotFound => format!(
            "{program} is not installed; to get it: apt-get install --no-install-recommends qemu-system-arm qemu-system-misc, or brew install qemu"
        ),
        _ => format!("cannot start {program}: {error}"),
    })
}

fn kill_when_stopped(child: &Arc<Mutex<Child>>) -> Outcome {
    let child = Arc::clone(child);
    ctrlc::set_handler(move || {
        STOPPED.store(true, Ordering::SeqCst);
        kill(&child);
    })
    .map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))
}

fn kill(child: &Mutex<Child>) {
    // One that has ended cannot be killed, and need not.
    let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
}

/// Waits until it has ended; between two looks, [`kill`] may have it.
fn ended(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        let status = child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()?;
        match status {
            Some(status) => return Ok(status),
            None => thread::sleep(PAUSE),
        }
    }
}

/// Writes what the board tells as it comes.
fn relay(output: Option<impl Read>) -> Outcome {
    let Some(mut output) = output else {
        return Ok(());
    };
    let mut bytes = [0; 4096];
    loop {
        match output.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(n) => output::print_bytes(&bytes[..n])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Failed(format!("QEMU's output: {error}"))),
        }
    }
}

/// Says the figures of the board; its first complaint is kept unless the board is talked with.
fn listen(errors: Option<impl Read>, interactive: bool) -> Option<String> {
    let mut complaint = None;
    for line in BufReader::new(errors?).lines().map_while(Result::ok) {
        match line.strip_prefix(ERROR) {
            Some(text) if !interactive => {
                complaint.get_or_insert_with(|| text.to_owned());
            }
            _ => say!("{line}"),
        }
    }
    complaint
}

/// What the end of the board means.
fn judge(board: &Board, complaint: Option<String>, status: ExitStatus) -> Outcome {
    match complaint {
        Some(complaint) => Err(Failure::Failed(format!("{board}: {complaint}"))),
        None if status.success() => Ok(()),
        None => Err(Failure::Failed(format!("{board} ended with {status}"))),
    }
}
