//! `minigpt train`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use minigpt_runtime::Format;
use minigpt_trainer::Cpu;
use minigpt_trainer::durable;
use minigpt_trainer::run::{Inputs, Run, RunError, Stage, Trained, start_threads};
use minigpt_trainer::run_config::{
    ModelSettings, Overlay, RunConfig, RunConfigError, TokenizerChoice,
};
use minigpt_trainer::train::{Ending, Summary, train};
use toml::Value;

use crate::cmd::generate;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{self, grouped, say};
use crate::progress::TrainProgress;
use crate::settings;

/// Longest text that is written at the end of training, in tokens.
const STORY_TOKENS: i64 = 300;

/// Texts from this size on take so long to prepare that it is said, in bytes.
const LONG_TEXT: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  minigpt train                                             # built-in stories, into runs/stories
  minigpt train --data input.txt                            # your text, into runs/input
  minigpt train --data books/ notes.txt --tokenizer bpe:2048 --preset tiny --out runs/books
  minigpt train --data input.txt --set n_layer=6 --set positions=rope --set dropout=0.1
  minigpt train --config my.toml --steps 5000 --seed 7      # flags win over the file
  minigpt train --out runs/input --resume --steps 4000      # take a finished run further
";

/// Train a model on your text, or on built-in stories.
///
/// Everything goes into one run directory: settings, record, loss curve, checkpoints, a sample and
/// the model. The same command again goes on where an interrupted run stopped, to the same numbers
/// as if it had never been interrupted.
#[derive(Debug, Args)]
#[command(after_help = settings::help(EXAMPLES))]
pub(crate) struct TrainArgs {
    /// Files and directories to learn from, of any kind; hidden files are left out of directories
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Files and directories to validate on, instead of the end of the data
    #[arg(long, value_name = "FILE", num_args = 1..)]
    val_data: Vec<PathBuf>,
    /// Share of the tokens, from the end, to validate on [default: 0.1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    val_fraction: Option<f64>,
    /// char, byte, bpe or bpe:N (N tokens); auto is char for UTF-8 text of up to 256 different
    /// characters, bpe for other UTF-8 text, byte for the rest
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<TokenizerChoice>,
    /// Shape and training to start from, see below [default: stories, or cpu with --data]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Steps of the optimiser
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<i64>,
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
    /// Settings from a TOML or YAML file, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by its name, such as n_layer=6; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Run directory [default: runs/ and the name of the data]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in --out under its own settings; more --steps take it further
    #[arg(long)]
    resume: bool,
}

pub(crate) fn run(args: &TrainArgs) -> Outcome {
    interrupt::listen()?;
    let asked = args.settings(None)?;
    let out = args.out.clone().unwrap_or_else(|| default_out(&asked));
    let stored = Run::find(&out)?;
    if args.resume && stored.is_none() {
        return Err(RunError::Absent { path: out }.into());
    }
    start_threads(args.threads(stored.as_ref(), &asked))?;
    let mut run = match stored {
        Some(stored) => args.take_up(&out, &stored, asked)?,
        None => begin(&out, asked)?,
    };
    let summary = advance(&mut run)?;
    let again = format!("minigpt train --out {} --resume", out.display());
    if summary.ending == Ending::Stopped {
        return Err(Failure::Interrupted(format!(
            "stopped at step {} of {}, saved as {}; the same command goes on, and so does {again}",
            summary.step,
            run.settings.training.steps,
            summary.checkpoint.display()
        )));
    }
    say_ending(&summary, &run, &again);
    finish(&run, &summary)
}

impl TrainArgs {
    /// Preset, file and flags, over `stored` where there is a run to go on with.
    fn settings(&self, stored: Option<&RunConfig>) -> Result<RunConfig, Failure> {
        let file = self
            .config
            .as_deref()
            .map(settings::File::read)
            .transpose()?;
        let file = file.as_ref();
        let base = self.base(stored, file)?;
        let mut overlay = Overlay::new(&base);
        if let (Some(file), None) = (file, &self.preset) {
            let mut table = file.table.clone();
            table.remove("preset");
            overlay.merge(table);
        }
        let flags = self.flags()?;
        for (name, value) in &flags {
            overlay.set(name, value.clone()).map_err(Failure::misuse)?;
            let typed = overlay.clone().finish();
            typed.map_err(|error| Failure::Misuse(format!("{}: {error}", flag(name))))?;
        }
        for assignment in &self.set {
            let assigned = overlay.assign(assignment);
            assigned.map_err(|error| {
                Failure::Misuse(format!("--set {assignment}: {}", settings::unknown(&error)))
            })?;
        }
        let mut asked = overlay.finish().map_err(Failure::misuse)?;
        if let Err(error) = asked.clone().resolve() {
            return Err(Failure::Misuse(self.located(&error, file, &flags)));
        }
        forget_preset(&mut asked);
        Ok(asked)
    }

    /// What the flags are laid over: a preset that a flag names over the file, or the file over the
    /// preset that it names.
    fn base(
        &self,
        stored: Option<&RunConfig>,
        file: Option<&settings::File>,
    ) -> Result<RunConfig, Failure> {
        let in_file = |key: &str| file.and_then(|file| file.table.get(key));
        if let Some(name) = &self.preset {
            let mut below = Overlay::new(&stored.cloned().unwrap_or_default());
            below.merge(file.map(|file| file.table.clone()).unwrap_or_default());
            let below = below.finish().map_err(Failure::misuse)?;
            return settings::with_preset(below, settings::preset(name)?);
        }
        let named = in_file("preset").and_then(Value::as_str);
        if let (Some(stored), None) = (stored, named) {
            return Ok(stored.clone());
        }
        let files = in_file("data").and_then(|data| data.get("files")?.as_array());
        let has_data = !self.data.is_empty() || files.is_some_and(|files| !files.is_empty());
        let usual = if has_data { "cpu" } else { "stories" };
        let preset = settings::preset(named.unwrap_or(usual))?;
        settings::with_preset(stored.cloned().unwrap_or_default(), preset)
    }

    /// `error` behind the flag or the line of the file that made it.
    fn located(
        &self,
        error: &RunConfigError,
        file: Option<&settings::File>,
        flags: &[(&'static str, Value)],
    ) -> String {
        let Some(field) = error.field() else {
            return error.to_string();
        };
        let sets = |text: &&String| {
            let name = text.split('=').next().unwrap_or_default().trim();
            name == field || name.rsplit('.').next() == Some(field)
        };
        if let Some(assignment) = self.set.iter().rfind(sets) {
            format!("--set {assignment}: {error}")
        } else if flags.iter().any(|(name, _)| *name == field) {
            format!("{}: {error}", flag(field))
        } else if let Some(file) = file.filter(|file| file.states(field)) {
            format!("{}: {error}", file.place(field))
        } else {
            error.to_string()
        }
    }

    /// Threads to prepare and train with; those of the run itself where it is only resumed.
    fn threads(&self, stored: Option<&RunConfig>, asked: &RunConfig) -> u32 {
        let given = self.threads.is_some() || self.set.iter().any(|set| set.contains("threads"));
        match stored {
            Some(stored) if self.resume && !given => stored.run.threads,
            _ => asked.run.threads,
        }
    }

    /// The flags that were given, by the settings that they are.
    fn flags(&self) -> Result<Vec<(&'static str, Value)>, Failure> {
        let files = |paths: &[PathBuf]| {
            let path = |path: &PathBuf| match path.to_str() {
                Some(path) => Ok(Value::String(path.to_owned())),
                None => Err(Failure::Misuse(format!(
                    "the path {} is not UTF-8; rename it or link to it",
                    path.display()
                ))),
            };
            let values: Result<Vec<_>, _> = paths.iter().map(path).collect();
            values.map(|values| (!values.is_empty()).then_some(Value::Array(values)))
        };
        let tokenizer = self
            .tokenizer
            .map(|choice| Value::String(choice.to_string()));
        let flags = [
            ("files", files(&self.data)?),
            ("val_files", files(&self.val_data)?),
            ("val_fraction", self.val_fraction.map(Value::Float)),
            ("tokenizer", tokenizer),
            ("steps", self.steps.map(Value::Integer)),
            ("batch", self.batch.map(Value::Integer)),
            ("learning_rate", self.learning_rate.map(Value::Float)),
            ("seed", self.seed.map(Value::Integer)),
            ("threads", self.threads.map(Value::Integer)),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Ok(given.collect())
    }

    /// Opens the run in `out` if it is the one that was asked for.
    fn take_up(&self, out: &Path, stored: &RunConfig, asked: RunConfig) -> Result<Run, Failure> {
        let mut asked = match self.resume {
            true => self.settings(Some(stored))?,
            false => asked,
        };
        // A run to be resumed has its tokens; otherwise the data must be the same.
        let restated = !self.resume || !self.data.is_empty() || !self.val_data.is_empty();
        let of_files = !asked.data.files.is_empty() || !asked.data.val_files.is_empty();
        let by_text = of_files || asked.data.tokenizer == TokenizerChoice::Auto;
        if restated && by_text {
            let inputs = Inputs::read(&asked.data)?;
            asked.data.tokenizer = inputs.settle(asked.data.tokenizer);
            asked.facts = Some(inputs.facts());
        }
        let mut run = Run::open(out)?;
        match run.adopt(&asked, self.resume) {
            Err(RunError::Differs { .. }) if !self.resume && !Run::has_checkpoint(out)? => {
                drop(run);
                say!(
                    "the run in {} has no checkpoint yet: it is begun anew",
                    out.display()
                );
                begin(out, asked)
            }
            adopted => adopted.map(|()| run).map_err(Failure::from),
        }
    }
}

/// How the setting `field` is spelt as a flag.
fn flag(field: &str) -> String {
    match field {
        "files" => "--data".to_owned(),
        "val_files" => "--val-data".to_owned(),
        _ => format!("--{}", field.replace('_', "-")),
    }
}

/// A model of another shape than its preset's is not of that preset.
fn forget_preset(settings: &mut RunConfig) {
    let preset = settings.preset.as_deref().map(settings::preset);
    let Some(Ok(preset)) = preset else {
        return;
    };
    let (shape, of) = (preset.hyperparameters(1), ModelSettings::of);
    if of(&settings.model.hyperparameters(1)) != of(&shape) {
        settings.preset = None;
    }
}

/// Where a run goes that was not told: `runs/` and the name of its first file.
fn default_out(settings: &RunConfig) -> PathBuf {
    let first = settings.data.files.first();
    let name = first.and_then(|path| path.file_stem().or(Some(path.as_os_str())));
    let name = name.and_then(|name| name.to_str()).unwrap_or("stories");
    let name = name.trim_matches(|c| c == '.' || c == '/');
    Path::new("runs").join(if name.is_empty() { "text" } else { name })
}

/// Makes a run directory.
fn begin(out: &Path, settings: RunConfig) -> Result<Run, Failure> {
    interrupt::making(out);
    let run = Inputs::read(&settings.data).and_then(|inputs| {
        let choice = inputs.settle(settings.data.tokenizer);
        let bytes = inputs.train.iter().map(|source| source.bytes.len()).sum();
        Run::create(out, settings, &inputs, &mut |stage| {
            say_stage(stage, choice, bytes)
        })
    });
    if run.is_err() {
        interrupt::made();
    }
    Ok(run?)
}

fn say_stage(stage: Stage, choice: TokenizerChoice, bytes: usize) {
    match (stage, choice) {
        (Stage::Tokenizer, TokenizerChoice::Bpe { n_vocab }) => {
            say!("learning a BPE of {n_vocab} tokens");
        }
        (Stage::Tokens, _) if bytes >= LONG_TEXT => {
            say!(
                "turning {} bytes of text into tokens",
                grouped(bytes as u64)
            );
        }
        _ => {}
    }
}

/// Says what is to be done and does it.
fn advance(run: &mut Run) -> Result<Summary, Failure> {
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
    let mut progress = TrainProgress::new(run.settings.training.steps);
    interrupt::heed(true);
    interrupt::made();
    let result = train(run, Cpu::default(), &mut progress);
    interrupt::heed(false);
    progress.finish();
    Ok(result?)
}

fn say_ending(summary: &Summary, run: &Run, again: &str) {
    let (step, steps) = (summary.step, run.settings.training.steps);
    let what = match summary.ending {
        Ending::Stale => format!("stopped early at step {step}: validation no longer improves"),
        Ending::OutOfTime => format!("out of time at step {step} of {steps}; {again} goes on"),
        _ if summary.start == step => {
            format!("this run is finished ({step} steps); {again} --steps N takes it further")
        }
        _ => format!("finished {step} steps"),
    };
    say!("{what}");
    if let Some(best) = summary.best {
        say!(
            "best validation at step {}: {:.4} nats per token, {:.4} bits per byte",
            best.step,
            best.val_loss,
            best.val_bits_per_byte
        );
    }
}

/// Writes the model and a text of its own, both only if they are not there yet.
fn finish(run: &Run, summary: &Summary) -> Outcome {
    let trained = Trained::load(run.path())?;
    let name = run.path().file_name().unwrap_or_default().to_string_lossy();
    let model = trained.export(&name, Format::Q8).map_err(Failure::failed)?;
    let path = run.model();
    let changed = fs::read(&path).map_or(true, |old| old != model.bytes());
    if changed {
        output::write_model(&path, model.bytes())?;
    }
    let sample = run.samples().join(format!("step-{:06}.txt", summary.step));
    if changed || !sample.exists() {
        let seed = run.settings.training.seed;
        let story = generate::story(&path, STORY_TOKENS, seed)?;
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
        run.path().join("loss.svg").display()
    );
    say!("more of it: minigpt generate {}", path.display());
    Ok(())
}
