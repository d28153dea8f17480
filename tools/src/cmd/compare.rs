//! `minigpt compare`.

mod compared;
mod variants;

use std::path::PathBuf;

use clap::Args;
use minigpt_trainer::loss_plot::comparison_plot;

use self::compared::{Compared, table};
use self::variants::Variant;
use crate::cmd::train::{self, TrainArgs};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{self, say};
use crate::settings;

/// Name of the picture, in the directory of variants or the current one.
const PICTURE: &str = "compare.svg";

const EXAMPLES: &str = "\
Examples:
  minigpt compare runs/stories runs/books
  minigpt compare --vary positions=learned,rope,sinusoidal --vary mlp=gelu,relu,swiglu
  minigpt compare --vary learning_rate=1e-3,3e-3 --vary seed=1,2,3 --data book.txt --steps 500
  minigpt compare --vary tokenizer=char,bpe:512 --data book.txt --preset tiny --out runs/tokenizers
";

/// Compare runs, or short trainings of variants: speed and quality side by side.
///
/// Prints a table, the best first, and draws validation in bits per byte against tokens, seconds and
/// parameters. Perplexity is of tokens and so depends on the tokenizer; bits per byte do not.
///
/// With --vary every combination of the values is trained, into a run directory of its own below
/// --out; everything else is as for minigpt train. The same command goes on where it was stopped. A
/// variant that diverges is marked and comes last.
#[derive(Debug, Args)]
#[command(
    after_help = settings::help(EXAMPLES),
    mut_arg("resume", |arg| arg.hide(true)),
    mut_arg("board", |arg| arg.hide(true)),
    mut_arg("dry_run", |arg| arg.hide(true)),
    mut_arg("steps", |arg| arg.help("Steps of each variant [default: 200, or those of --config]")),
    mut_arg("out", |arg| arg.help("Directory of the variants [default: runs/compare]")),
)]
pub(crate) struct CompareArgs {
    /// Run directories to compare
    #[arg(
        value_name = "RUN",
        required_unless_present = "vary",
        conflicts_with = "vary"
    )]
    runs: Vec<PathBuf>,
    /// A setting and the values to try, such as mlp=gelu,relu; may be repeated
    #[arg(long, value_name = "NAME=VALUE,VALUE")]
    vary: Vec<String>,
    /// The picture [default: compare.svg, with --vary in --out]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    train: TrainArgs,
}

pub(crate) fn run(args: &CompareArgs) -> Outcome {
    let (mut compared, usual) = match args.vary.is_empty() {
        true => (args.found()?, PathBuf::from(PICTURE)),
        false => args.trained()?,
    };
    compared::note_other_data(&compared);
    compared.sort_by(Compared::by_quality);
    let picture = args.output.clone().unwrap_or(usual);
    let curves: Vec<_> = compared.iter().map(Compared::curve).collect();
    let svg = comparison_plot("validation of each run", &curves);
    output::replace_alike(&picture, svg.as_bytes(), "picture")?;
    match args.json {
        true => output::print_json(&compared)?,
        false => output::print(&table(&compared))?,
    }
    say!("picture {}", picture.display());
    Ok(())
}

impl CompareArgs {
    /// The runs that are there.
    fn found(&self) -> Result<Vec<Compared>, Failure> {
        let read = |path: &PathBuf| Compared::read(path, path.display().to_string());
        self.runs.iter().map(read).collect()
    }

    /// Trains the variants; with them the place of their picture.
    fn trained(&self) -> Result<(Vec<Compared>, PathBuf), Failure> {
        if self.train.resume || self.train.dry_run || self.train.board.is_some() {
            return Err(Failure::Misuse(
                "--resume, --dry-run and --board are for minigpt train; the same compare command goes on by itself"
                    .to_owned(),
            ));
        }
        interrupt::listen()?;
        let out = self.train.out.clone();
        let out = out.unwrap_or_else(|| PathBuf::from("runs/compare"));
        let variants = Variant::all(&self.vary)?;
        // All of them are checked before the first is trained.
        let asked = variants.iter().map(|variant| {
            let args = variant.args(&self.train, &out);
            args.settings(None).map(|_| args)
        });
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let mut compared = Vec::new();
        for (i, (variant, args)) in variants.iter().zip(&asked).enumerate() {
            say!(
                "variant {} of {}: {}",
                i + 1,
                variants.len(),
                variant.name()
            );
            train::variant(args)?;
            compared.push(Compared::read(&variant.directory(&out), variant.name())?);
        }
        compared::one_finished(&compared)?;
        Ok((compared, out.join(PICTURE)))
    }
}
