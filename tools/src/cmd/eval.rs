//! `minigpt eval`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use minigpt_trainer::data::sources;
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::run::RunError;
use minigpt_trainer::tokenizer::OwnedTokenizer;
use serde::Serialize;

use super::open_model;
use crate::failure::{Failure, Outcome};
use crate::output;

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
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
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
    context_tokens: usize,
    tokens_per_second: f64,
}

pub(crate) fn run(args: &EvalArgs) -> Outcome {
    let model = open_model(&args.model)?;
    let file = model.file().map_err(|e| Failure::with(&args.model, e))?;
    let tokenizer = OwnedTokenizer::new(file.tokenizer()).map_err(Failure::failed)?;
    let mut tokens = Vec::new();
    for source in sources::read(&args.data).map_err(RunError::from)? {
        let encoded = tokenizer
            .encode_documents(&source.bytes)
            .map_err(|error| Failure::Failed(format!("{}: {error}", source.name)))?;
        tokens.extend(encoded);
    }
    let max_tokens = args.max_tokens.unwrap_or(usize::MAX);
    tokens.truncate(max_tokens.saturating_add(1));
    if tokens.len() < 2 {
        return Err(Failure::Misuse(
            "there is nothing to predict: the text has fewer than two tokens".to_owned(),
        ));
    }
    let bar = progress_bar(tokens.len() - 1);
    let start = Instant::now();
    let sums = evaluate(&file, &tokens, |n| bar.set_position(n as u64)).map_err(Failure::failed)?;
    bar.finish_and_clear();
    let report = Report {
        loss: sums.loss(),
        perplexity: sums.perplexity(),
        bits_per_byte: sums.bits_per_byte(),
        tokens: sums.tokens,
        bytes: sums.bytes,
        format: file.format().name(),
        context_tokens: file.config().n_ctx(),
        tokens_per_second: sums.tokens as f64 / start.elapsed().as_secs_f64(),
    };
    if args.json {
        return output::print_json(&report);
    }
    output::print(&format!(
        "loss           {:.4} nats per token\nperplexity     {:.3}\nbits per byte  {:.4}\ntokens         {}\nbytes          {}\n",
        report.loss,
        report.perplexity,
        report.bits_per_byte,
        output::grouped(report.tokens as u64),
        output::grouped(report.bytes as u64),
    ))
}

fn progress_bar(tokens: usize) -> ProgressBar {
    let bar = ProgressBar::new(tokens as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tokens, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
