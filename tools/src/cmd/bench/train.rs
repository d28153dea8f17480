//! `minigpt bench train`.

mod load;

use core::ops::Range;
use std::collections::VecDeque;
use std::fs;
use std::time::Instant;

use clap::{Args, ValueEnum};
use minigpt_runtime::layout::{self, Role, Tensor, TensorSpec};
use minigpt_runtime::{Config, rng::Rng};
use minigpt_trainer::data::token_file::TokenFile;
use minigpt_trainer::device::{Choice, Device};
use minigpt_trainer::run::start_threads;
use minigpt_trainer::run_config::{Recompute, RunConfig};
use minigpt_trainer::{AdamW, Backend, BackendError, Batch, Cpu, Gpt, PassOptions};
use serde::Serialize;

use self::load::Load;
use crate::cmd::{count, cuda, threads};
use crate::failure::{Failure, Outcome};
use crate::output::{self, say};

/// Steps before the clock counts.
const WARM_UP: usize = 3;

/// Groups of steps that are measured where a device works while it is asked.
const GROUPS: usize = 5;

/// Tokens that windows are drawn from.
const N_TOKENS: usize = 1 << 20;

/// Measure the speed of training as a run does it: windows drawn from random tokens, forward, backward, clipping
/// and AdamW, on a GPU ahead of their losses.
///
/// Median and best are of the steps one by one. On a GPU, which is at several at once, they are of five groups
/// of steps: the time from the first question to the last answer, divided by the steps.
///
/// The shapes are those that benchmarks of GPTs use, each with a batch and a vocabulary; the last four
/// are for a GPU.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt bench train --preset baby
  minigpt bench train --preset cpu --threads 1 --steps 50 --json
  minigpt bench train --preset baby64 --device cuda")]
pub(super) struct TrainArgs {
    /// The model and its batch: loads to compare programs by, not the presets of minigpt train
    #[arg(long, value_name = "NAME", default_value = "tiny")]
    preset: Load,
    /// Threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<i64>,
    /// Steps that are measured, after three of warm-up
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        allow_negative_numbers = true
    )]
    steps: i64,
    /// Sequences of a batch [default: the preset's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch: Option<i64>,
    /// Chance of a value to be dropped
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    dropout: f32,
    /// cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Choice,
    /// Have cuBLASLt do products of matrices on a GPU, where it can
    #[arg(long)]
    cublaslt: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Report {
    program: &'static str,
    preset: String,
    device: String,
    threads: usize,
    batch: usize,
    n_time: usize,
    n_params: u64,
    tokens_per_second: f64,
    best_tokens_per_second: f64,
    ms_per_step: f64,
    best_ms: f64,
    /// Thousand million operations a second, at the median.
    gflops: f64,
    /// Of a process's memory at its largest, where the system says it; or else 0.
    peak_bytes: u64,
    /// Of all buffers.
    model_bytes: u64,
    loss: f64,
}

pub(super) fn run(args: &TrainArgs) -> Outcome {
    let steps = count("--steps", args.steps, 1)?;
    let threads = threads(args.threads)?;
    if !(0.0..1.0).contains(&args.dropout) {
        let message = format!("--dropout is {}; it must be from 0 up to 1", args.dropout);
        return Err(Failure::Misuse(message));
    }
    let config = args.preset.config()?;
    let n_batch = match args.batch {
        Some(n) => count("--batch", n, 1)?,
        None => args.preset.sizes()[4] as usize,
    };
    let batch = Batch {
        n_batch,
        n_time: config.n_ctx(),
    };
    // As much of a run as decides whether it fits: all activations are kept.
    let mut settings = RunConfig::default();
    settings.training.batch = u32::try_from(n_batch).unwrap_or(u32::MAX);
    settings.run.recompute = Recompute::Off;
    settings.training.cublaslt = args.cublaslt;
    start_threads(u32::try_from(threads).unwrap_or(u32::MAX)).map_err(Failure::failed)?;
    let device = args.device.device(&settings, &config, &mut |error| {
        say!("training on the CPU: {error}");
    });
    let tokens = random_tokens(&config)?;
    let measured = match device.map_err(Failure::failed)? {
        Device::Cuda { found, .. } => {
            let name = found.name.clone();
            let cuda = cuda(found, &settings.training)?;
            measure(cuda, (config, batch), &tokens, steps, args.dropout)
                .map(|measured| (name, measured))
        }
        _ => {
            let cpu = Cpu::new(None);
            measure(cpu, (config, batch), &tokens, steps, args.dropout)
                .map(|measured| ("cpu".to_owned(), measured))
        }
    };
    let (device, measured) = measured.map_err(Failure::failed)?;
    let report = report(args, (device, threads), &config, batch, &measured);
    match args.json {
        true => output::print_json_line(&report),
        false => output::print(&text(&report)),
    }
}

/// What is trained on.
fn random_tokens(config: &Config) -> Result<TokenFile, Failure> {
    let (mut rng, n_vocab) = (Rng::new(1337, 0), config.n_vocab());
    let id = |_| rng.next_below(n_vocab) as u32;
    let ids: Vec<u32> = (0..N_TOKENS).map(id).collect();
    TokenFile::in_memory(&ids, n_vocab).map_err(Failure::failed)
}

/// Seconds of a step, of each group in order of size, the last loss, and the bytes of all buffers.
struct Measured {
    times: Vec<f64>,
    loss: f64,
    bytes: u64,
}

fn measure<B: Backend>(
    backend: B,
    (config, batch): (Config, Batch),
    tokens: &TokenFile,
    steps: usize,
    dropout: f32,
) -> Result<Measured, BackendError> {
    let mut model = Gpt::new(backend, config, batch, 1337)?;
    let corpus = model.corpus(tokens)?;
    let groups = match model.ahead().steps {
        0 => steps,
        _ => GROUPS.min(steps),
    };
    let mut loss = take(&mut model, &corpus, 0..WARM_UP, dropout)?;
    let mut times = Vec::new();
    for group in 0..groups {
        let end = |group| WARM_UP + steps * group / groups;
        let (asked, since) = (end(group)..end(group + 1), Instant::now());
        let n_steps = asked.len() as f64;
        loss = take(&mut model, &corpus, asked, dropout)?;
        times.push(since.elapsed().as_secs_f64() / n_steps);
    }
    times.sort_by(f64::total_cmp);
    let bytes = model.bytes();
    Ok(Measured { times, loss, bytes })
}

/// Takes `steps`, as many ahead of the device as a run ever is, and waits for all of them. The last loss.
fn take<B: Backend>(
    model: &mut Gpt<B>,
    corpus: &B::Corpus,
    steps: Range<usize>,
    dropout: f32,
) -> Result<f64, BackendError> {
    let (late, mut owed) = (model.ahead().steps, VecDeque::new());
    let mut loss = f64::NAN;
    for step in steps.map(|step| step as u64) {
        let pass = PassOptions {
            dropout,
            seed: 1,
            micro_step: step,
            accumulation: 1,
        };
        owed.push_back(model.accumulate_drawn(corpus, None, pass)?);
        model.update(&AdamW::default(), step + 1)?;
        if owed.len() > late
            && let Some(pending) = owed.pop_front()
        {
            loss = model.loss(&pending)?.mean();
        }
    }
    for pending in owed {
        loss = model.loss(&pending)?.mean();
    }
    Ok(loss)
}

fn report(
    args: &TrainArgs,
    (device, threads): (String, usize),
    config: &Config,
    batch: Batch,
    measured: &Measured,
) -> Report {
    let (median, best) = (measured.times[measured.times.len() / 2], measured.times[0]);
    let rate = |seconds: f64| batch.rows() as f64 / seconds;
    let name = args.preset.to_possible_value();
    Report {
        program: "minigpt",
        preset: name.map_or_else(String::new, |name| name.get_name().to_owned()),
        device,
        threads,
        batch: batch.n_batch,
        n_time: batch.n_time,
        n_params: layout::n_params(config),
        tokens_per_second: rate(median),
        best_tokens_per_second: rate(best),
        ms_per_step: median * 1e3,
        best_ms: best * 1e3,
        gflops: flops_per_token(config) * rate(median) / 1e9,
        peak_bytes: peak_bytes(),
        model_bytes: measured.bytes,
        loss: measured.loss,
    }
}

/// Multiplications and additions of a token's forward and backward pass: twice one of each for every
/// weight forward, twice that backward; attention over half the context on average.
fn flops_per_token(config: &Config) -> f64 {
    // Positions are no factor of a product; the embedding is one as the head.
    let factor = |spec: &TensorSpec| spec.role == Role::Matrix && spec.id.tensor != Tensor::Wpe;
    let weights: usize = layout::tensors(config)
        .filter(factor)
        .map(|spec| spec.len())
        .sum();
    let attention = config.n_layer() * config.n_ctx() * config.n_embd();
    6.0 * (weights + attention) as f64
}

/// Most memory that this process ever held, in bytes; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
}

/// The report for people.
fn text(report: &Report) -> String {
    format!(
        "{}: {} parameters, {} sequences of {} tokens, {} with {} threads\n\
         tokens a second  {:>10.0} (best {:.0})\n\
         ms a step        {:>10.2} (best {:.2})\n\
         GFLOP/s          {:>10.1}\n\
         peak memory      {:>7.1} MB\n",
        report.preset,
        report.n_params,
        report.batch,
        report.n_time,
        report.device,
        report.threads,
        report.tokens_per_second,
        report.best_tokens_per_second,
        report.ms_per_step,
        report.best_ms,
        report.gflops,
        report.peak_bytes as f64 / 1e6,
    )
}
