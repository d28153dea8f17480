//! `minigpt generate`.

mod batch;
mod beam;
mod conflicts;
mod report;
mod samples;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use minigpt_runtime::{KvFormat, ModelFile, SessionOptions};

use super::{context, count, kv_parser, on_threads, open_model, threads};
use crate::failure::{Failure, Outcome};
use crate::generation::prompt::{check_length, prompt_tokens, utf8};
use crate::generation::sampling::{ORDER, SamplingArgs};
use crate::generation::sequence;
use crate::generation::teller::Limits;

/// Continue a text with a model.
///
/// The text, prompt included, goes to standard output as it is made; everything else goes to
/// standard error.
#[derive(Debug, Args)]
#[command(after_help = ORDER, after_long_help = long_help())]
pub(crate) struct GenerateArgs {
    /// The model file
    model: PathBuf,
    /// Text to continue; without it the model begins a text of its own
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<OsString>,
    /// Continue each line of a file, or of standard input with `-`; prints a JSON object a line, in the
    /// order of the prompts. In a .jsonl file a line is a string or an object with a "prompt"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Stop after this many tokens, unless the text ends before
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        allow_negative_numbers = true
    )]
    max_tokens: i64,
    /// Let nothing end the text before this many tokens
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    min_tokens: i64,
    /// End the text before these words; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Tell N texts, of the seeds from --seed on; with --beams, the N best
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    n: i64,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Search for the likeliest text instead of drawing one, with this many unfinished texts at once
    #[arg(long, value_name = "WIDTH", allow_negative_numbers = true)]
    beams: Option<i64>,
    /// With --beams: a text's score is the logarithm of its probability, divided by its length in tokens to
    /// the power of P; more favours longer texts [default: 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    length_penalty: Option<f32>,
    /// Threads [default: the machine's]: with --prompts for so many texts at once, else for the work of each
    /// token; the texts are the same with any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<i64>,
    /// Longest context in tokens; the model's own if not given. A text that outgrows it goes on
    /// from its start token and its last half context
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<i64>,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = kv_parser())]
    kv: KvFormat,
    /// Print JSON with text, tokens, their log-probabilities, counts and speed instead of the text: one
    /// object, or with several texts one a line
    #[arg(long)]
    json: bool,
}

fn long_help() -> String {
    format!("{ORDER}\n\n{EXAMPLES}")
}

const EXAMPLES: &str = "\
Examples:
  minigpt generate runs/stories/model.mgpt
  minigpt generate model.mgpt --prompt \"Once upon a time\" --max-tokens 200
  minigpt generate model.mgpt --prompt \"The king\" --temperature 0            # always the likeliest token
  minigpt generate model.mgpt --temperature 0.8 --top-k 40 --min-p 0.05 --seed 7 --n 3
  minigpt generate model.mgpt --prompt \"Name:\" --stop \"\\n\" --ban \" Max\" --repetition-penalty 1.1
  minigpt generate model.mgpt --prompt \"One day\" --beams 4 --n 2 --json
  minigpt generate model.mgpt --prompts prompts.txt --threads 2 > texts.jsonl";

/// A text of the model's own of up to `max_tokens` tokens, as [`run`] makes it.
pub(crate) fn story(model: &Path, max_tokens: i64, seed: u64) -> Result<String, Failure> {
    let args = GenerateArgs {
        model: model.to_owned(),
        prompt: None,
        prompts: None,
        max_tokens,
        min_tokens: 0,
        stop: Vec::new(),
        n: 1,
        sampling: SamplingArgs::story(seed),
        beams: None,
        length_penalty: None,
        threads: None,
        context: None,
        kv: KvFormat::F32,
        json: true,
    };
    let bytes = open_model(model)?;
    let file = bytes.file().map_err(|e| Failure::with(model, e))?;
    let job = Job::new(&args, &file)?;
    samples::one(&job, &args).map(|report| report.text)
}

pub(crate) fn run(args: &GenerateArgs) -> Outcome {
    conflicts::check(args)?;
    // Of many texts each has a thread.
    let n = match args.prompts {
        Some(_) => 1,
        None => threads(args.threads)?,
    };
    on_threads(n, || generate(args))?
}

fn generate(args: &GenerateArgs) -> Outcome {
    let bytes = open_model(&args.model)?;
    let file = bytes.file().map_err(|e| Failure::with(&args.model, e))?;
    let job = Job::new(args, &file)?;
    match (&args.prompts, args.beams) {
        (Some(prompts), _) => batch::run(&job, args, prompts),
        (None, Some(width)) => beam::run(&job, args, width),
        (None, None) => samples::run(&job, args),
    }
}

/// What every text of a call shares.
struct Job<'a> {
    file: &'a ModelFile<'a>,
    options: SessionOptions,
    limits: Limits<'a>,
    seed: u64,
}

impl<'a> Job<'a> {
    fn new(args: &'a GenerateArgs, file: &'a ModelFile<'a>) -> Result<Self, Failure> {
        Ok(Self {
            file,
            options: sequence::options(context(args.context, file)?, args.kv),
            limits: Limits {
                min_tokens: count("--min-tokens", args.min_tokens, 0)?,
                max_tokens: count("--max-tokens", args.max_tokens, 0)?,
                stops: &args.stop,
            },
            seed: args.sampling.seed()?,
        })
    }

    /// `--prompt` and its tokens, which fit into the context.
    fn prompt<'p>(&self, args: &'p GenerateArgs) -> Result<(&'p str, Vec<u32>), Failure> {
        let prompt = utf8("--prompt", args.prompt.as_deref().unwrap_or_default())?;
        let tokens = prompt_tokens(self.file.tokenizer(), prompt, "--prompt")?;
        let longest = self.file.config().n_ctx();
        check_length(tokens.len(), self.options.n_ctx, longest, "the prompt")?;
        Ok((prompt, tokens))
    }

    /// Tokens that stay in front of a text that outgrows the context.
    fn n_keep(&self) -> usize {
        usize::from(self.file.tokenizer().specials().bos.is_some())
    }
}
