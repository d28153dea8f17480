//! `minigpt bench`.

mod bandwidth;
mod measure;
mod shape;
mod train;

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use minigpt_runtime::{Format, Isa, KvFormat};
use serde::Serialize;

use self::measure::{Lengths, Speed};
use self::shape::Shape;
use super::{count, format_parser, kv_parser, open_model, parser_of};
use crate::failure::{Failure, Outcome};
use crate::output::{self, say};

/// Measure the speed of a model, or of random weights in the shape of a known one.
///
/// Every figure is measured here and now, the read bandwidth of the memory included: a model that does
/// not fit the caches cannot make more tokens a second than that bandwidth over the bytes of its weights.
/// On a machine that has other work take the best of more repetitions.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  minigpt bench train --preset baby
  minigpt bench model.mgpt
  minigpt bench model.mgpt --threads 1 2 --kv f16 --kernels scalar
  minigpt bench --shape 15m --format q8 q4 --threads 2
  minigpt bench --shape 124m --format f16 --json")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    of: Option<Of>,
    /// The model file
    #[arg(required_unless_present = "shape", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Random weights in this shape instead: llama2.c's models of 260 thousand, 15 and 110 million
    /// parameters, or GPT-2 of 124 million
    #[arg(long, value_name = "SHAPE")]
    shape: Option<Shape>,
    /// How to store the matrices of --shape [default: each of f32, f16, q8, q4]
    #[arg(long, value_name = "FORMAT", num_args = 1.., conflicts_with = "model", value_parser = format_parser())]
    format: Vec<Format>,
    /// Threads; several numbers measure each [default: 1, and as many as the machine runs at once]
    #[arg(long, value_name = "N", num_args = 1.., allow_negative_numbers = true)]
    threads: Vec<i64>,
    /// Tokens of the prompt
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        allow_negative_numbers = true
    )]
    prompt: i64,
    /// Tokens made after it, one by one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 128,
        allow_negative_numbers = true
    )]
    tokens: i64,
    /// How often each figure is measured; it is the median, beside the best
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true
    )]
    repeat: i64,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f16", value_parser = kv_parser())]
    kv: KvFormat,
    /// The instruction set, one that this machine has [default: the best of them]
    #[arg(long, value_name = "SET", value_parser = isa_parser())]
    kernels: Option<Isa>,
    /// Print a JSON array with one object a format and number of threads
    #[arg(long)]
    json: bool,
}

/// What has a speed beside models.
#[derive(Debug, Subcommand)]
enum Of {
    Train(train::TrainArgs),
}

/// A row of the table.
#[derive(Serialize)]
struct Row {
    model: String,
    format: &'static str,
    kv_format: &'static str,
    kernels: &'static str,
    threads: usize,
    prompt_tokens: usize,
    decode_tokens: usize,
    #[serde(flatten)]
    speed: Speed,
    /// Of the weights that a token reads, of the best read bandwidth.
    share_of_bandwidth: f64,
    /// Bytes a second that as many threads read from memory.
    bandwidth: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    if let Some(Of::Train(args)) = &args.of {
        return train::run(args);
    }
    let lengths = Lengths {
        prompt: count("--prompt", args.prompt, 1)?,
        decode: count("--tokens", args.tokens, 1)?,
        repeat: count("--repeat", args.repeat, 1)?,
    };
    let threads = threads(&args.threads)?;
    check_context(args, lengths)?;
    let bandwidths = bandwidth::measure(&threads).map_err(Failure::failed)?;
    let mut rows = Vec::new();
    let mut measure = |path: &Path, name: &str| -> Outcome {
        for (&threads, &bandwidth) in threads.iter().zip(&bandwidths) {
            rows.push(row(args, lengths, path, name, threads, bandwidth)?);
        }
        Ok(())
    };
    match (&args.model, args.shape) {
        (Some(path), _) => measure(path, &path.display().to_string())?,
        (None, Some(shape)) => on_random_weights(args, shape, &mut measure)?,
        (None, None) => {}
    }
    match args.json {
        true => output::print_json(&rows),
        false => output::print(&table(&rows)),
    }
}

/// Whether the context holds what is to be measured.
fn check_context(args: &BenchArgs, lengths: Lengths) -> Outcome {
    let n_ctx = match (&args.model, args.shape) {
        (Some(path), _) => {
            let model = open_model(path)?;
            let file = model.file().map_err(|e| Failure::with(path, e))?;
            file.config().n_ctx()
        }
        (None, Some(shape)) => shape.n_ctx(),
        (None, None) => return Ok(()),
    };
    let asked = lengths.prompt.saturating_add(lengths.decode);
    if asked <= n_ctx {
        return Ok(());
    }
    Err(Failure::Misuse(format!(
        "--prompt and --tokens are {asked} together and the context holds {n_ctx}; give less"
    )))
}

/// Measures a file of random weights in each format.
fn on_random_weights(
    args: &BenchArgs,
    shape: Shape,
    measure: &mut impl FnMut(&Path, &str) -> Outcome,
) -> Outcome {
    let directory = tempfile::tempdir();
    let directory = directory.map_err(|error| Failure::writing(Path::new("."), &error))?;
    let parameters = shape.random_parameters();
    let all = [Format::F32, Format::F16, Format::Q8, Format::Q4];
    let formats = match args.format.is_empty() {
        true => &all,
        false => args.format.as_slice(),
    };
    for format in formats {
        let path = directory.path().join("model.mgpt");
        let model = shape.model(*format, &parameters)?;
        fs::write(&path, model.bytes()).map_err(|error| Failure::writing(&path, &error))?;
        drop(model);
        measure(&path, shape.name())?;
    }
    Ok(())
}

fn row(
    args: &BenchArgs,
    lengths: Lengths,
    path: &Path,
    name: &str,
    threads: usize,
    bandwidth: f64,
) -> Result<Row, Failure> {
    let model = open_model(path)?;
    let file = model.file().map_err(|e| Failure::with(path, e))?;
    if !args.json {
        say!("{name}, {}, {threads} threads", file.format().name());
    }
    let isa = args.kernels.unwrap_or_else(Isa::detect);
    let speed = measure::measure(path, &file, (args.kv, isa), threads, lengths)?;
    Ok(Row {
        model: name.to_owned(),
        format: file.format().name(),
        kv_format: args.kv.name(),
        kernels: isa.name(),
        threads,
        prompt_tokens: lengths.prompt,
        decode_tokens: lengths.decode,
        share_of_bandwidth: speed.bytes_per_second() / bandwidth,
        bandwidth,
        speed,
    })
}

/// Names of the instruction sets of this machine to these.
fn isa_parser() -> impl TypedValueParser<Value = Isa> {
    parser_of(Isa::available(), Isa::name)
}

/// The numbers of `--threads`, or 1 and all.
fn threads(asked: &[i64]) -> Result<Vec<usize>, Failure> {
    if !asked.is_empty() {
        let number = |n: &i64| super::threads(Some(*n));
        return asked.iter().map(number).collect();
    }
    let mut threads = vec![1, super::threads(None)?];
    threads.dedup();
    Ok(threads)
}

/// The report for people.
fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<7} {:>7} {:>8} {:>12} {:>22} {:>22} {:>12} {:>10}\n",
        "format",
        "threads",
        "load ms",
        "1st token ms",
        "prefill tok/s (best)",
        "decode tok/s (best)",
        "MB per token",
        "bandwidth"
    );
    for row in rows {
        let rate = |median: f64, best: f64| format!("{median:.0} ({best:.0})");
        let speed = &row.speed;
        text += &format!(
            "{:<7} {:>7} {:>8.2} {:>12.2} {:>22} {:>22} {:>12.2} {:>9.0}%\n",
            row.format,
            row.threads,
            speed.load_ms,
            speed.first_token_ms,
            rate(speed.prefill_tokens_per_second, speed.best_prefill),
            rate(speed.decode_tokens_per_second, speed.best_decode),
            speed.bytes_per_token as f64 / 1e6,
            100.0 * row.share_of_bandwidth,
        );
    }
    if let Some(row) = rows.first() {
        let bandwidths: Vec<String> = rows
            .iter()
            .map(|row| format!("{} threads {:.1} GB/s", row.threads, row.bandwidth / 1e9))
            .collect();
        let mut bandwidths = bandwidths;
        bandwidths.sort();
        bandwidths.dedup();
        text += &format!(
            "{}, prompt of {}, {} tokens made, {} kernels, cache in {}; memory reads: {}\n",
            row.model,
            row.prompt_tokens,
            row.decode_tokens,
            row.kernels,
            row.kv_format,
            bandwidths.join(", ")
        );
    }
    text
}
