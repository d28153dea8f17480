//! The programs that are measured on a board under QEMU: one counts, and one has nothing but the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use minigpt_runtime::Format;

use super::image::Image;
use super::logits;
use crate::boards::{Board, FIRMWARE};
use crate::run;

/// Seconds that a model has.
const TIME_LIMIT: &str = "300";

/// Instructions of which the program says how many ticks they take.
const CALIBRATION: f64 = 2_000_000.0;

/// Where programs and models are kept.
pub(super) const FOLDER: &str = "target/cost";

/// The feature of the runtime with which it runs models of all shapes.
pub(super) const ANY_MODEL: [&str; 1] = ["any-model"];

/// The programs, built.
pub(super) struct Program<'a> {
    board: &'a Board,
    /// The one that counts.
    counting: PathBuf,
    /// The one whose size is the library's.
    footprint: PathBuf,
    /// Of the latter.
    pub(super) image: Image,
}

/// What the program said.
#[derive(Clone)]
pub(super) struct Measured {
    /// Instructions of each token, from the first position on.
    pub(super) instructions: Vec<f64>,
    /// Of the longest step of about 2,000 multiply-adds.
    pub(super) step_instructions: u64,
    context: usize,
    /// See [`logits::expected`].
    logits: u32,
    pub(super) stack_bytes: u64,
    pub(super) arena_bytes: u64,
}

impl Measured {
    /// Instructions of a token, over all positions.
    pub(super) fn mean(&self) -> f64 {
        self.instructions.iter().sum::<f64>() / self.instructions.len() as f64
    }
}

impl<'a> Program<'a> {
    /// Builds the programs for `target` and `format`, in the memory of `board`, with those features of the runtime
    /// that a model needs, or all.
    pub(super) fn build(
        board: &'a Board,
        target: &str,
        format: Format,
        features: &[&str],
    ) -> Result<Self, String> {
        let named: Vec<String> = features
            .iter()
            .map(|feature| format!(",minigpt-runtime/{feature}"))
            .collect();
        let index = Format::ALL.iter().position(|one| *one == format);
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(FIRMWARE)
            .args(["build", "--quiet", "--release", "--target", target])
            .args([
                "--no-default-features",
                "--bin",
                "cost",
                "--bin",
                "footprint",
            ])
            .args(["--features", &format!("cost{}", named.concat())])
            .env("MINIGPT_BOARD", &board.name)
            .env("MINIGPT_MODEL_START", board.model.start.to_string())
            .env("MINIGPT_MODEL_SIZE", board.model.size.to_string())
            .env("MINIGPT_COUNTER", board.counter.address.to_string())
            .env("MINIGPT_FORMAT", index.unwrap_or_default().to_string());
        run(&mut command)?;
        let built = Path::new(FIRMWARE).join("target").join(target);
        fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
        let kept = |name: &str| {
            let path = format!(
                "{FOLDER}/{name}-{}-{target}-{}.elf",
                board.name,
                format.name()
            );
            let path = PathBuf::from(path);
            let copied = fs::copy(built.join("release").join(name), &path);
            copied.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok::<_, String>(path)
        };
        let (counting, footprint) = (kept("cost")?, kept("footprint")?);
        let mut image = Image::read(&footprint)?;
        image.forbidden.extend(Image::read(&counting)?.forbidden);
        image.forbidden.sort();
        image.forbidden.dedup();
        Ok(Self {
            board,
            counting,
            footprint,
            image,
        })
    }

    /// Runs the smaller program, which must tell something of `model`.
    pub(super) fn tell(&self, model: &Path) -> Result<(), String> {
        let output = self.run(&self.footprint, model)?;
        match output.status.success() && !output.stderr.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{}, {}: {}; it said: {}",
                self.board.name,
                model.display(),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    fn run(&self, program: &Path, model: &Path) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        self.board.qemu(command.arg(TIME_LIMIT), program, model);
        let output = command.output();
        output.map_err(|error| format!("{command:?}: {error}"))
    }

    /// Runs `model` and counts.
    pub(super) fn measure(&self, model: &Path) -> Result<Measured, String> {
        let output = self.run(&self.counting, model)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let measured = parse(&said).filter(|_| output.status.success());
        let (board, name) = (&self.board.name, model.display());
        let measured = measured.ok_or_else(|| {
            let last = said.lines().last().unwrap_or("nothing");
            format!("{board}, {name}: {}; it last said: {last}", output.status)
        })?;
        match logits::expected(model, measured.context)? {
            Some(expected) if expected != measured.logits => Err(format!(
                "{board}, {name}: its logits are not those of this machine"
            )),
            _ => Ok(measured),
        }
    }
}

/// The lines of the program; `None` if some are missing, or say that it could not count.
fn parse(said: &str) -> Option<Measured> {
    let values = |name: &str| -> Vec<f64> {
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        let named = lines.filter(|(first, _)| *first == name);
        named.filter_map(|(_, value)| value.parse().ok()).collect()
    };
    let one = |name| values(name).first().copied();
    let (tokens, ticks) = (values("token"), one("calibration")?);
    let counted = ticks > 0.0 && !tokens.is_empty() && !tokens.contains(&0.0);
    let (planned, arena) = (one("planned")?, one("arena")?);
    let per_tick = CALIBRATION / ticks;
    (counted && planned == arena).then_some(Measured {
        instructions: tokens.iter().map(|ticks| ticks * per_tick).collect(),
        step_instructions: (one("step")? * per_tick).round() as u64,
        context: one("context")? as usize,
        logits: one("logits")? as u32,
        stack_bytes: one("stack")? as u64,
        arena_bytes: arena as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_instructions() {
        let said = "calibration 6400000\nplanned 16\narena 16\ntoken 3200\ntoken 6400\nstep 32\ncontext 64\nlogits 7\nstack 8\n";
        let measured = parse(said).unwrap();
        assert_eq!(measured.instructions, [1000.0, 2000.0]);
        assert_eq!((measured.mean(), measured.step_instructions), (1500.0, 10));
        assert_eq!((measured.stack_bytes, measured.arena_bytes), (8, 16));
        for (right, wrong) in [
            ("arena 16", "arena 15"),
            ("stack", "error:"),
            ("step", "stop"),
            ("3200", "0"),
        ] {
            assert!(parse(&said.replace(right, wrong)).is_none());
        }
    }
}
