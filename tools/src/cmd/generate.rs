//! `minigpt generate`.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use minigpt_runtime::tokenizer::TokenizeError;
use minigpt_runtime::{
    Format, KvFormat, ModelFile, Sampler, SamplerOptions, SessionOptions, StreamDecoder, Tokenizer,
};
use minigpt_trainer::inference::{self, AnySession};
use serde::Serialize;

use super::open_model;
use crate::failure::{Failure, Outcome};
use crate::output::{self, say};

/// Largest `--top-k`.
const MAX_TOP_K: usize = 1024;

/// Tokens of a prompt that go through the model together.
const CHUNK: usize = 32;

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
    #[arg(long, default_value = "", hide_default_value = true)]
    prompt: String,
    /// Stop after this many tokens, unless the text ends before
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Longest context in tokens; the model's own if not given. A text that outgrows it goes on
    /// from its start token and its last half context
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f32")]
    kv: Kv,
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
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw only from the fewest likeliest tokens whose probabilities sum to P, in (0, 1]
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Same seed, same text; without it one is drawn and said
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kv {
    F32,
    F16,
}

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stop {
    /// The model ended it.
    EndOfText,
    /// `--max-tokens`.
    MaxTokens,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    prompt: String,
    text: String,
    stop: Stop,
    seed: u64,
    prompt_tokens: usize,
    tokens: usize,
    prompt_seconds: f64,
    tokens_per_second: f64,
    kernels: &'static str,
}

impl SamplingArgs {
    fn sampler(&self) -> Result<(Sampler<MAX_TOP_K>, u64), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let drawn = || now.map_or(0, |time| u64::from(time.subsec_nanos()) ^ time.as_secs());
        let seed = self.seed.unwrap_or_else(drawn);
        let options = SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed,
        };
        let sampler = Sampler::new(options).map_err(Failure::misuse)?;
        Ok((sampler, seed))
    }
}

/// A text of the model's own of up to `max_tokens` tokens, as [`run`] makes it.
pub(crate) fn story(model: &Path, max_tokens: usize, seed: u64) -> Result<String, Failure> {
    let args = GenerateArgs {
        model: model.to_owned(),
        prompt: String::new(),
        max_tokens,
        sampling: SamplingArgs {
            temperature: 0.5,
            top_k: None,
            top_p: 0.95,
            seed: Some(seed),
        },
        context: None,
        kv: Kv::F32,
        json: true,
    };
    report(&args).map(|(report, _)| report.text)
}

pub(crate) fn run(args: &GenerateArgs) -> Outcome {
    let (report, format) = report(args)?;
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

/// Makes the text, and writes it as it is made unless it is to be JSON.
fn report(args: &GenerateArgs) -> Result<(Report, Format), Failure> {
    let (sampler, seed) = args.sampling.sampler()?;
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
    let mut writer = Writer {
        tokenizer: file.tokenizer(),
        session,
        sampler,
        decoder: StreamDecoder::new(),
        text: String::new(),
        quiet: args.json,
    };
    Ok((writer.write(args, prompt, seed)?, file.format()))
}

impl GenerateArgs {
    fn session_options(&self, file: &ModelFile<'_>) -> Result<SessionOptions, Failure> {
        let n_ctx = file.config().n_ctx();
        let asked = self.context.unwrap_or(n_ctx);
        if !(1..=n_ctx).contains(&asked) {
            return Err(Failure::Misuse(format!(
                "--context is {asked}; this model's is between 1 and {n_ctx}"
            )));
        }
        Ok(SessionOptions {
            n_ctx: asked,
            n_chunk: CHUNK,
            kv: match self.kv {
                Kv::F32 => KvFormat::F32,
                Kv::F16 => KvFormat::F16,
            },
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

struct Writer<'a> {
    tokenizer: &'a Tokenizer<'a>,
    session: AnySession<'a>,
    sampler: Sampler<MAX_TOP_K>,
    decoder: StreamDecoder,
    text: String,
    quiet: bool,
}

impl Writer<'_> {
    fn write(
        &mut self,
        args: &GenerateArgs,
        mut history: Vec<u32>,
        seed: u64,
    ) -> Result<Report, Failure> {
        let specials = self.tokenizer.specials();
        let n_keep = usize::from(specials.bos.is_some());
        let prompt_tokens = history.len();
        let start = Instant::now();
        self.push_text(args.prompt.as_bytes())?;
        let mut prompt_end = start;
        let (mut tokens, mut stop) = (0, Stop::MaxTokens);
        while tokens < args.max_tokens {
            let logits = if self.session.position() == self.session.n_ctx() {
                let slid = self.session.slide(&mut history, n_keep);
                let (kept, logits) = slid.map_err(Failure::failed)?;
                history.truncate(kept);
                logits
            } else {
                let new = &history[self.session.position()..];
                self.session.forward(new).map_err(Failure::failed)?
            };
            if tokens == 0 {
                prompt_end = Instant::now();
            }
            let token = self.sampler.sample(logits);
            tokens += 1;
            if specials.eos == Some(token) || specials.bos == Some(token) {
                stop = Stop::EndOfText;
                break;
            }
            history.push(token);
            self.push_token(token)?;
        }
        self.finish()?;
        let decode_seconds = prompt_end.elapsed().as_secs_f64();
        Ok(Report {
            prompt: args.prompt.clone(),
            text: core::mem::take(&mut self.text),
            stop,
            seed,
            prompt_tokens,
            tokens,
            prompt_seconds: (prompt_end - start).as_secs_f64(),
            tokens_per_second: tokens as f64 / decode_seconds.max(1e-9),
            kernels: self.session.isa().name(),
        })
    }

    /// The prompt is part of the text, as it was given.
    fn push_text(&mut self, text: &[u8]) -> Outcome {
        let mut complete = String::new();
        self.decoder
            .push_bytes(text, &mut |part| complete.push_str(part));
        self.emit(&complete)
    }

    fn push_token(&mut self, token: u32) -> Outcome {
        let mut complete = String::new();
        let pushed = self
            .decoder
            .push(self.tokenizer, token, &mut |part| complete.push_str(part));
        // A model may have more rows than its tokenizer has tokens: such a token is no text.
        if pushed.is_err() {
            return Ok(());
        }
        self.emit(&complete)
    }

    fn finish(&mut self) -> Outcome {
        let mut complete = String::new();
        self.decoder.finish(&mut |part| complete.push_str(part));
        self.emit(&complete)
    }

    fn emit(&mut self, text: &str) -> Outcome {
        self.text.push_str(text);
        if self.quiet || text.is_empty() {
            return Ok(());
        }
        output::print(text)
    }
}
