//! `minigpt eval`.

mod heat;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use minigpt_runtime::{KvFormat, ModelFile};
use minigpt_trainer::evaluate::{EvaluationOptions, Scored, evaluate_each};
use minigpt_trainer::tokenizer::OwnedTokenizer;
use serde::Serialize;

use self::heat::{Heat, TokenReport};
use super::{count, kv_parser, on_threads, open_model, threads};
use crate::failure::{Failure, Outcome};
use crate::generation::{memory, sequence};
use crate::library;
use crate::output::{self, say};
use crate::progress::TokenProgress;

/// Measure how well a model predicts a text.
///
/// The text goes through the model in windows of its context; every token is predicted once, from those
/// before it in its document and window. Bits per byte compare models with different tokenizers; loss,
/// perplexity and accuracy do not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt eval model.mgpt --data book.txt
  minigpt eval model.mgpt --data book.txt --stride 64               # windows overlap: slower, fairer
  minigpt eval model.mgpt --data poem.txt --per-token               # what the model finds hard, in colours
  minigpt eval model.mgpt --data poem.txt --html poem.html
  minigpt eval model.mgpt --data texts/ --max-tokens 20000 --json")]
pub(crate) struct EvalArgs {
    /// The model file
    model: PathBuf,
    /// Text files or directories to predict
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Predict only this many tokens, from the start
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_tokens: Option<i64>,
    /// Tokens from the start of a window to the start of the next; the context if not given, so that
    /// windows do not overlap. With less, tokens have more before them to be predicted from
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    stride: Option<i64>,
    /// Show the text in colours, the redder the harder; where standard output is no terminal, a line for
    /// each token: index, number, bits, how many tokens were likelier, text
    #[arg(long)]
    per_token: bool,
    /// Write the text in colours as a page
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = kv_parser())]
    kv: KvFormat,
    /// Threads [default: as many as the machine runs at once]; the result is the same with any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<i64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    /// Nats per token.
    loss: f64,
    perplexity: f64,
    bits_per_byte: f64,
    /// Share of tokens that were held for the likeliest.
    top_1_accuracy: f64,
    tokens: usize,
    bytes: usize,
    format: &'static str,
    kv_format: &'static str,
    context_tokens: usize,
    stride_tokens: usize,
    tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_token: Option<Vec<TokenReport>>,
}

pub(crate) fn run(args: &EvalArgs) -> Outcome {
    let most = args.max_tokens.unwrap_or(i64::MAX);
    let most = count("--max-tokens", most, 1)?.saturating_add(1);
    let model = open_model(&args.model)?;
    let file = model.file().map_err(|e| Failure::with(&args.model, e))?;
    let options = args.options(&file)?;
    let n_ctx = file.config().n_ctx();
    memory::check(&args.model, &file, &sequence::options(n_ctx, args.kv), 1)?;
    let mut tokens = encode(&file, &args.data)?;
    tokens.truncate(most);
    if tokens.len() < 2 {
        return Err(Failure::Misuse(
            "there is nothing to predict: the text has fewer than two tokens; give more".to_owned(),
        ));
    }
    let (mut report, scores) = measure(args, &file, &tokens, options)?;
    let heat = Heat::new(file.tokenizer(), &tokens, &scores);
    if let Some(path) = &args.html {
        let page = heat.html(&args.data, &lines(&report));
        let done = output::replace_alike(path, page.as_bytes(), "page")?;
        say!("{done} {}", path.display());
    }
    if args.json {
        report.per_token = args.per_token.then(|| heat.tokens());
        return output::print_json(&report);
    }
    if !args.per_token {
        return output::print(&lines(&report));
    }
    output::print(&match io::stdout().is_terminal() {
        true => heat.terminal(),
        false => heat.table(),
    })?;
    say!("{}", lines(&report).trim_end());
    Ok(())
}

impl EvalArgs {
    fn options(&self, file: &ModelFile<'_>) -> Result<EvaluationOptions, Failure> {
        let n_ctx = file.config().n_ctx();
        let stride = self.stride.map_or(Ok(n_ctx), |stride| {
            let fits = usize::try_from(stride)
                .ok()
                .filter(|n| (1..=n_ctx).contains(n));
            fits.ok_or_else(|| {
                Failure::Misuse(format!(
                    "--stride is {stride}; it must be between 1 and the context of {n_ctx} tokens"
                ))
            })
        })?;
        let kv = self.kv;
        Ok(EvaluationOptions { kv, stride })
    }
}

/// The report, and what became of each token but the first.
fn measure(
    args: &EvalArgs,
    file: &ModelFile<'_>,
    tokens: &[u32],
    options: EvaluationOptions,
) -> Result<(Report, Vec<Scored>), Failure> {
    let mut progress = TokenProgress::new("eval", tokens.len() - 1);
    let start = Instant::now();
    let (n, mut scores) = (threads(args.threads)?, Vec::new());
    let sums = on_threads(n, || {
        evaluate_each(file, tokens, options, |scored| {
            scores.push(scored);
            progress.set(scores.len());
        })
    });
    progress.finish();
    let sums = sums?.map_err(Failure::failed)?;
    let report = Report {
        loss: sums.loss(),
        perplexity: sums.perplexity(),
        bits_per_byte: sums.bits_per_byte(),
        top_1_accuracy: sums.accuracy(),
        tokens: sums.tokens,
        bytes: sums.bytes,
        format: file.format().name(),
        kv_format: args.kv.name(),
        context_tokens: file.config().n_ctx(),
        stride_tokens: options.stride,
        tokens_per_second: sums.tokens as f64 / start.elapsed().as_secs_f64(),
        per_token: None,
    };
    Ok((report, scores))
}

/// Tokens of the files below `data`, one after the other.
fn encode(file: &ModelFile<'_>, data: &[PathBuf]) -> Result<Vec<u32>, Failure> {
    let tokenizer = OwnedTokenizer::new(file.tokenizer()).map_err(Failure::failed)?;
    let mut tokens = Vec::new();
    for source in library::texts(data)? {
        let encoded = tokenizer.encode_documents(&source.bytes);
        tokens.extend(encoded.map_err(|error| {
            Failure::Misuse(format!(
                "{}: {error}; this model knows only the characters of the text it was trained on: \
                 give a text of those, or train with --tokenizer byte or bpe",
                source.name
            ))
        })?);
    }
    Ok(tokens)
}

/// The report for people.
fn lines(report: &Report) -> String {
    format!(
        "loss           {:.4} nats per token\nperplexity     {:.3}\nbits per byte  {:.4}\n\
         accuracy       {:.2}% of tokens were held for the likeliest\n\
         tokens         {}\nbytes          {}\nwindows        {} tokens, {} apart\n",
        report.loss,
        report.perplexity,
        report.bits_per_byte,
        100.0 * report.top_1_accuracy,
        output::grouped(report.tokens as u64),
        output::grouped(report.bytes as u64),
        report.context_tokens,
        report.stride_tokens,
    )
}
