//! `minigpt train`.

mod asked;
mod destination;
mod dry_run;
mod open;
mod words;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use minigpt_runtime::Format;
use minigpt_trainer::Cpu;
use minigpt_trainer::backend::cuda::Cuda;
use minigpt_trainer::device::{Choice, Device};
use minigpt_trainer::durable;
use minigpt_trainer::mapped::Mapped;
use minigpt_trainer::run::{Plan, Run, Trained};
use minigpt_trainer::run_config::{Recompute, RunConfig, TokenizerChoice};
use minigpt_trainer::train::{Ending, Summary, finished, train};

use self::destination::Destination;
use self::words::{say_arithmetic, say_ending};
use crate::cmd::{cuda, generate};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{self, grouped, say};
use crate::progress::TrainProgress;
use crate::settings;

/// Longest text that is written at the end of training, in tokens.
const STORY_TOKENS: i64 = 300;

/// What it is drawn with, whatever the seed of the training: one with which the model of the built-in
/// stories keeps its people apart.
const STORY_SEED: u64 = 19;

const EXAMPLES: &str = "\
Examples:
  minigpt train                                             # built-in stories, into runs/stories
  minigpt train --data input.txt                            # your text, into runs/input
  minigpt train --data shakespeare                          # a data set by its name
  minigpt train --data books/ notes.txt --tokenizer bpe:2048 --preset tiny --out runs/books
  minigpt train --data input.txt --set n_layer=6 --set positions=rope --set dropout=0.1
  minigpt train --config my.toml --steps 5000 --seed 7      # flags win over the file
  minigpt train --out runs/input --resume --steps 4000      # take a finished run further
  minigpt train --from runs/stories --data mine.txt         # teach a trained model your text
  minigpt train --data input.txt --board mps2-an500         # and an image, runs/input/mps2-an500.elf
";

/// Train a model on your text, or on built-in stories.
///
/// Everything goes into one run directory: settings, record, loss curve, checkpoints, a sample and
/// the model. The same command again goes on where an interrupted run stopped, to the same numbers
/// as if it had never been interrupted.
#[derive(Clone, Debug, Args)]
#[command(after_help = settings::help(EXAMPLES))]
pub(crate) struct TrainArgs {
    /// What to learn from: files and directories of any kind (hidden files are left out of
    /// directories); shakespeare, wikitext-2 or tinystories; https://... or hf:OWNER/NAME/FILE
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// What to validate on, likewise, instead of the end of the data
    #[arg(long, value_name = "FILE", num_args = 1..)]
    val_data: Vec<PathBuf>,
    /// Share of the tokens, from the end, to validate on [default: 0.1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    val_fraction: Option<f64>,
    /// Where the text of a document stands in JSON lines and Parquet files [default: text]
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// Begin with the weights of this run, model file or file .safetensors, as far as they fit; where nothing
    /// else is said, shape and tokenizer are its own (a file .safetensors says neither: give both) and the
    /// learning rate is a tenth of the preset's
    #[arg(long, value_name = "MODEL_OR_RUN")]
    from: Option<PathBuf>,
    /// char, byte, bpe or bpe:N (N tokens); auto is char for UTF-8 text of up to 256 different
    /// characters, bpe for other UTF-8 text, byte for the rest
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<TokenizerChoice>,
    /// Shape and training to start from, see below [default: stories, or cpu with --data]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Steps of the optimiser
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) steps: Option<i64>,
    /// Windows of text in one pass
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch: Option<i64>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// Seed of everything random; same seed, same model [default: 1337]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// Threads; changes the speed and nothing else [default: all cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<i64>,
    /// auto, cpu, cuda or cuda:N; auto is the first GPU if there is one that trains the model, or else
    /// the CPU (see minigpt doctor)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,
    /// Settings from a TOML or YAML file, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting by its name, such as n_layer=6; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Run directory [default: runs/ and the name of the data]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// End with an image for this board beside the model, see minigpt firmware --list; where no shape is
    /// asked for and the usual one is too large, it is what minigpt fit suggests
    #[arg(long, value_name = "BOARD")]
    pub(crate) board: Option<String>,
    /// Keep event files of TensorBoard in the run directory
    #[arg(long)]
    tensorboard: bool,
    /// Say what the run would take - parameters, tokens, memory, time, size of the model - and make
    /// nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on with the run in --out under its own settings; more --steps take it further
    #[arg(long)]
    pub(crate) resume: bool,
}

pub(crate) fn run(args: &TrainArgs) -> Outcome {
    interrupt::listen()?;
    let destination = args.board.as_deref().map(Destination::named).transpose()?;
    if let Choice::Cuda(number) = args.device {
        Cuda::find(number).map_err(Failure::misuse)?;
    }
    if args.dry_run {
        return args.dry_run(destination.as_ref());
    }
    let mut run = args.open(destination.as_ref())?;
    let (summary, again) = advance(&mut run, args.device)?;
    say_ending(&summary, &run, &again);
    finish(&run, &summary)?;
    match destination {
        Some(destination) => destination.image(&run),
        None => Ok(()),
    }
}

/// Trains the run that `args` ask for to its end, without a model and a text. Where it diverges, its
/// directory says so, and it is not trained a second time.
pub(crate) fn variant(args: &TrainArgs) -> Outcome {
    let mut run = args.open(None)?;
    if let Some(divergence) = Run::divergence(run.path())? {
        say!(
            "diverged before: {divergence}; remove {} to train it again",
            run.path().display()
        );
        return Ok(());
    }
    match advance(&mut run, args.device) {
        Err(Failure::Diverged(diverged)) => {
            say!("training diverged: {}", diverged.kept());
            Ok(())
        }
        advanced => advanced.map(|_| ()),
    }
}

/// Says what is to be done and does it. Gives back how the run ended and the command that goes on.
fn advance(run: &mut Run, choice: Choice) -> Result<(Summary, String), Failure> {
    if let Some(facts) = &run.settings.facts {
        say!(
            "{}: {} parameters, {} tokens in the vocabulary, {} to learn from, {} to validate on",
            run.path().display(),
            grouped(facts.n_params),
            grouped(facts.n_vocab.into()),
            grouped(facts.train_tokens),
            grouped(facts.val_tokens)
        );
    }
    say_arithmetic(&run.settings.training);
    let mut progress = TrainProgress::new(run.settings.training.steps, run.log.history());
    let summary = match finished(run, &mut progress)? {
        Some(summary) => summary,
        None => go(run, choice, &mut progress)?,
    };
    let again = format!("minigpt train --out {} --resume", run.path().display());
    match summary.ending {
        Ending::Stopped => Err(Failure::Interrupted(format!(
            "stopped at step {} of {}, saved as {}; the same command goes on, and so does {again}",
            summary.step,
            run.settings.training.steps,
            summary.checkpoint.display()
        ))),
        _ => Ok((summary, again)),
    }
}

/// Trains `run` as is planned for it.
fn go(run: &mut Run, choice: Choice, progress: &mut TrainProgress) -> Result<Summary, Failure> {
    let plan = planned(run, choice)?;
    let cuda = match plan.device {
        Device::Cuda { found, .. } => {
            say!("training on {}", found.name);
            Some(cuda(found, &run.settings.training)?)
        }
        _ => None,
    };
    if plan.recompute && run.settings.run.recompute == Recompute::Auto {
        say!(
            "backward makes activations again, because there is no memory to keep them: recompute=on"
        );
    }
    interrupt::heed(true);
    interrupt::made();
    let result = match cuda {
        Some(cuda) => train(run, cuda, plan.recompute, progress),
        None => train(run, Cpu::default(), plan.recompute, progress),
    };
    interrupt::heed(false);
    progress.finish();
    Ok(result?)
}

/// What of `choice` is to train `run`, and how; says so if that is not the GPU that is there.
fn planned(run: &Run, choice: Choice) -> Result<Plan, Failure> {
    let device = choice.device(&run.settings, &run.config, &mut |error| {
        say!("training on the CPU: {error}");
    });
    Ok(run.plan(device.map_err(Failure::failed)?)?)
}

/// The format of a run's model where none is asked for: that which its weights were prepared for.
pub(crate) fn deployed(settings: &RunConfig) -> Format {
    let prepared = settings.training.quantize_aware.format();
    prepared.unwrap_or(Format::Q8)
}

/// Writes the model and a text of its own, both only if they are not there yet.
fn finish(run: &Run, summary: &Summary) -> Outcome {
    let trained = Trained::load(run.path())?;
    let name = run.path().file_name().unwrap_or_default().to_string_lossy();
    let format = deployed(&run.settings);
    let model = trained.export(&name, format).map_err(Failure::failed)?;
    let path = run.model();
    let changed = Mapped::open(&path).map_or(true, |old| *old != *model.bytes());
    if changed {
        output::write_model(&path, model.bytes())?;
    }
    let sample = run.samples().join(format!("step-{:06}.txt", summary.step));
    if changed || !sample.exists() {
        let story = generate::story(&path, STORY_TOKENS, STORY_SEED)?;
        let written = fs::create_dir_all(run.samples())
            .and_then(|()| durable::replace_file(&sample, story.as_bytes()));
        written.map_err(|error| Failure::writing(&sample, &error))?;
        say!("");
        output::print(&(story + "\n"))?;
        say!("");
    }
    say!(
        "model {}, loss curve {}",
        path.display(),
        run.picture().display()
    );
    say!("more of it: minigpt generate {}", path.display());
    Ok(())
}
