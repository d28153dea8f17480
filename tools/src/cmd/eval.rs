//! `minigpt eval`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use minigpt_runtime::{KvFormat, ModelFile};
use minigpt_trainer::data::sources;
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::inference;
use minigpt_trainer::run::RunError;
use minigpt_trainer::tokenizer::OwnedTokenizer;
use serde::Serialize;

use super::{count, kv_parser, open_model, threads};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::TokenProgress;

/// Measure how well a model predicts a text.
///
/// The text goes through the model in windows of its context that do not overlap; every token is
/// predicted once. Bits per byte compare models with different tokenizers; perplexity does not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt eval model.mgpt --data book.txt
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
    tokens: usize,
    bytes: usize,
    format: &'static str,
    kv_format: &'static str,
    context_tokens: usize,
    tokens_per_second: f64,
}

pub(crate) fn run(args: &EvalArgs) -> Outcome {
    let most = args.max_tokens.unwrap_or(i64::MAX);
    let most = count("--max-tokens", most, 1)?.saturating_add(1);
    let n = threads(args.threads)?;
    let model = open_model(&args.model)?;
    let file = model.file().map_err(|e| Failure::with(&args.model, e))?;
    let mut tokens = encode(&file, &args.data)?;
    tokens.truncate(most);
    if tokens.len() < 2 {
        return Err(Failure::Misuse(
            "there is nothing to predict: the text has fewer than two tokens; give more".to_owned(),
        ));
    }
    let mut progress = TokenProgress::new("eval", tokens.len() - 1);
    let start = Instant::now();
    let sums = inference::on_threads(n, || evaluate(&file, &tokens, args.kv, |n| progress.set(n)));
    progress.finish();
    let sums = sums.map_err(Failure::failed)?.map_err(Failure::failed)?;
    let report = Report {
        loss: sums.loss(),
        perplexity: sums.perplexity(),
        bits_per_byte: sums.bits_per_byte(),
        tokens: sums.tokens,
        bytes: sums.bytes,
        format: file.format().name(),
        kv_format: args.kv.name(),
        context_tokens: file.config().n_ctx(),
        tokens_per_second: sums.tokens as f64 / start.elapsed().as_secs_f64(),
    };
    match args.json {
        true => output::print_json(&report),
        false => output::print(&text(&report)),
    }
}

/// Tokens of the files below `data`, one after the other.
fn encode(file: &ModelFile<'_>, data: &[PathBuf]) -> Result<Vec<u32>, Failure> {
    let tokenizer = OwnedTokenizer::new(file.tokenizer()).map_err(Failure::failed)?;
    let mut tokens = Vec::new();
    for source in sources::read(data).map_err(RunError::from)? {
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
fn text(report: &Report) -> String {
    format!(
        "loss           {:.4} nats per token\nperplexity     {:.3}\nbits per byte  {:.4}\n\
         tokens         {}\nbytes          {}\n",
        report.loss,
        report.perplexity,
        report.bits_per_byte,
        output::grouped(report.tokens as u64),
        output::grouped(report.bytes as u64),
    )
}
