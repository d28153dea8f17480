//! `minigpt generate`.

mod writer;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use minigpt_runtime::tokenizer::TokenizeError;
use minigpt_runtime::{
    Format, KvFormat, ModelFile, Sampler, SamplerOptions, SessionOptions, Tokenizer,
};
use minigpt_trainer::inference::{self, AnySession};

use self::writer::{Report, Writer};
use super::{at_least, context, count, kv_parser, open_model, threads};
use crate::failure::{Failure, Outcome};
use crate::output::{self, say};

/// Largest `--top-k`.
const MAX_TOP_K: usize = 1024;

/// Continue a text with a model.
///
/// The text, prompt included, goes to standard output as it is made; everything else goes to
/// standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt generate runs/stories/model.mgpt
  minigpt generate model.mgpt --prompt \"Once upon a time\" --max-tokens 200
  minigpt generate model.mgpt --prompt \"The king\" --temperature 0            # always the likeliest token
  minigpt generate model.mgpt --temperature 0.8 --top-k 40 --top-p 0.9 --seed 7
  minigpt generate model.mgpt --prompt \"One day\" --json")]
pub(crate) struct GenerateArgs {
    /// The model file
    model: PathBuf,
    /// Text to continue; without it the model begins a text of its own
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    prompt: String,
    /// Stop after this many tokens, unless the text ends before
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        allow_negative_numbers = true
    )]
    max_tokens: i64,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Longest context in tokens; the model's own if not given. A text that outgrows it goes on
    /// from its start token and its last half context
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<i64>,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = kv_parser())]
    kv: KvFormat,
    /// Threads [default: as many as the machine runs at once]; the text is the same with any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<i64>,
    /// Print one JSON object with text, counts and speed instead of the text
    #[arg(long)]
    json: bool,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// 0 always takes the likeliest token; 1 draws as the model predicts; more is wilder
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.8,
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Draw only from the K likeliest tokens (up to 1024)
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<i64>,
    /// Draw only from the fewest likeliest tokens whose probabilities sum to P, in (0, 1]
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Same seed, same text; without it one is drawn and said
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<i64>,
}

impl SamplingArgs {
    fn sampler(&self) -> Result<(Sampler<MAX_TOP_K>, u64), Failure> {
        let seed = self.seed.map(|seed| at_least("--seed", seed, 0));
        let seed = seed.unwrap_or_else(|| Ok(drawn_seed()))?;
        let top_k = self.top_k.map(|k| match usize::try_from(k) {
            Ok(k) => Ok(k),
            Err(_) => Err(Failure::Misuse(format!(
                "top-k is {k}; it must be 1 to {MAX_TOP_K}"
            ))),
        });
        let options = SamplerOptions {
            temperature: self.temperature,
            top_k: top_k.transpose()?,
            top_p: self.top_p,
            seed,
        };
        let sampler = Sampler::new(options).map_err(Failure::misuse)?;
        Ok((sampler, seed))
    }
}

/// A seed that nobody chose.
pub(super) fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| u64::from(time.subsec_nanos()) ^ time.as_secs())
}

/// A text of the model's own of up to `max_tokens` tokens, as [`run`] makes it.
pub(crate) fn story(model: &Path, max_tokens: i64, seed: u64) -> Result<String, Failure> {
    let args = GenerateArgs {
        model: model.to_owned(),
        prompt: String::new(),
        max_tokens,
        sampling: SamplingArgs {
            temperature: 0.5,
            top_k: None,
            top_p: 0.95,
            seed: i64::try_from(seed).ok(),
        },
        context: None,
        kv: KvFormat::F32,
        threads: None,
        json: true,
    };
    on_threads(&args).map(|(report, _)| report.text)
}

pub(crate) fn run(args: &GenerateArgs) -> Outcome {
    let (report, format) = on_threads(args)?;
    if args.json {
        return output::print_json(&report);
    }
    output::print("\n")?;
    say!(
        "{} tokens, {:.0} tokens/s, {} weights, {} kernels",
        report.tokens,
        report.tokens_per_second,
        format.name(),
        report.kernels
    );
    Ok(())
}

/// [`report`] on `--threads` threads.
fn on_threads(args: &GenerateArgs) -> Result<(Report, Format), Failure> {
    let n = threads(args.threads)?;
    inference::on_threads(n, || report(args)).map_err(Failure::failed)?
}

/// Makes the text, and writes it as it is made unless it is to be JSON.
fn report(args: &GenerateArgs) -> Result<(Report, Format), Failure> {
    let (sampler, seed) = args.sampling.sampler()?;
    let max_tokens = count("--max-tokens", args.max_tokens, 0)?;
    let bytes = open_model(&args.model)?;
    let file = bytes.file().map_err(|e| Failure::with(&args.model, e))?;
    let options = args.session_options(&file)?;
    let prompt = prompt_tokens(file.tokenizer(), args.prompt.as_bytes())?;
    if prompt.len() > options.n_ctx {
        return Err(Failure::Misuse(format!(
            "the prompt has {} tokens and the context holds {}; shorten the prompt{}",
            prompt.len(),
            options.n_ctx,
            if options.n_ctx < file.config().n_ctx() {
                " or raise --context"
            } else {
                ""
            }
        )));
    }
    let mut memory = inference::arena(&file, &options).map_err(Failure::failed)?;
    let session = AnySession::new(&file, memory.bytes_mut(), &options).map_err(Failure::failed)?;
    if args.sampling.seed.is_none() && args.sampling.temperature != 0.0 && !args.json {
        say!("seed {seed}");
    }
    let writer = Writer::new(file.tokenizer(), session, sampler, args.json);
    let report = writer.write(&args.prompt, prompt, max_tokens, seed)?;
    Ok((report, file.format()))
}

impl GenerateArgs {
    fn session_options(&self, file: &ModelFile<'_>) -> Result<SessionOptions, Failure> {
        Ok(SessionOptions {
            n_ctx: context(self.context, file)?,
            n_chunk: inference::CHUNK,
            kv: self.kv,
        })
    }
}

/// The start token, if the tokenizer has one, and the tokens of `text`.
///
/// A model without a start token begins an empty text after a line's end, or its first token.
fn prompt_tokens(tokenizer: &Tokenizer<'_>, text: &[u8]) -> Result<Vec<u32>, Failure> {
    let mut tokens = vec![0; text.len() + 1];
    let n = tokenizer.encode(text, &mut tokens).map_err(|error| {
        Failure::Misuse(match error {
            TokenizeError::UnknownChar { .. } => format!(
                "{error}; this model knows only the characters of the text it was trained on: leave it out of --prompt"
            ),
            _ => format!("the prompt cannot be encoded: {error}"),
        })
    })?;
    tokens.truncate(n);
    match tokenizer.specials().bos {
        Some(bos) => tokens.insert(0, bos),
        None if tokens.is_empty() => {
            let mut newline = [0; 2];
            let n = tokenizer.encode(b"\n", &mut newline).unwrap_or(0);
            tokens.push(if n == 1 { newline[0] } else { 0 });
        }
        None => {}
    }
    Ok(tokens)
}
