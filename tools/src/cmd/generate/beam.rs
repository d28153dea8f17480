//! The likeliest texts, by beam search.

mod search;

use std::time::Instant;

use minigpt_runtime::{StreamDecoder, Tokenizer};
use minigpt_trainer::aligned::AlignedBytes;
use minigpt_trainer::inference;
use serde::Serialize;

use self::search::{Found, Predictor, Settings};
use super::{GenerateArgs, Job};
use crate::cmd::count;
use crate::failure::{Failure, Outcome};
use crate::generation::memory;
use crate::generation::sampling::Sampling;
use crate::generation::sequence::Sequence;
use crate::generation::teller::Stop;
use crate::output::{self, say};

/// What `--json` prints of a text.
#[derive(Serialize)]
struct Report {
    /// 1 is the best.
    rank: usize,
    prompt: String,
    text: String,
    stop: Stop,
    /// `logprob / tokens^length_penalty`.
    score: f64,
    /// The sum of `logprobs`.
    logprob: f64,
    tokens: usize,
    token_ids: Vec<u32>,
    logprobs: Vec<f64>,
    /// Of the whole search.
    seconds: f64,
}

pub(super) fn run(job: &Job<'_>, args: &GenerateArgs, width: i64) -> Outcome {
    let width = count("--beams", width, 1)?;
    let (prompt, tokens) = job.prompt(args)?;
    let ends: Vec<u32> = job.file.tokenizer().specials().ends().collect();
    let settings = Settings {
        width,
        penalty: penalty(args)?,
        min_tokens: job.limits.min_tokens,
        // The last token is predicted and needs no place in the context.
        max_tokens: job
            .limits
            .max_tokens
            .min(job.options.n_ctx + 1 - tokens.len()),
        ends: &ends,
    };
    memory::check(&args.model, job.file, &job.options, width)?;
    let mut arenas = Vec::new();
    for _ in 0..width {
        arenas.push(inference::arena(job.file, &job.options).map_err(Failure::failed)?);
    }
    let start = Instant::now();
    let mut sessions = Sessions::new(job, args, &tokens, &mut arenas)?;
    let found = search::search(&mut sessions, &settings)?;
    let seconds = start.elapsed().as_secs_f64();
    let n = count("--n", args.n, 1)?;
    for (i, found) in found.into_iter().take(n).enumerate() {
        let added = decoded(job.file.tokenizer(), &found, !prompt.is_empty())?;
        print(args, &Report::new(i + 1, (prompt, &added), found, seconds))?;
    }
    if !args.json {
        say!(
            "{width} beams, {} tokens through the model in {seconds:.2} s",
            sessions.computed()
        );
    }
    Ok(())
}

fn penalty(args: &GenerateArgs) -> Result<f64, Failure> {
    let penalty = args.length_penalty.unwrap_or(1.0);
    match penalty.is_finite() {
        true => Ok(f64::from(penalty)),
        false => Err(Failure::Misuse(format!(
            "--length-penalty is {penalty}; it must be a finite number, and 0 is none"
        ))),
    }
}

impl Report {
    fn new(rank: usize, (prompt, added): (&str, &str), found: Found, seconds: f64) -> Self {
        Self {
            rank,
            prompt: prompt.to_owned(),
            text: prompt.to_owned() + added,
            stop: stop(&found),
            score: found.score,
            logprob: found.logprobs.iter().sum(),
            tokens: found.tokens.len(),
            token_ids: found.tokens,
            logprobs: found.logprobs,
            seconds,
        }
    }
}

fn print(args: &GenerateArgs, report: &Report) -> Outcome {
    if args.json {
        return match args.n {
            1 => output::print_json(report),
            _ => output::print_json_line(report),
        };
    }
    let Report {
        rank,
        score,
        logprob,
        tokens,
        ..
    } = report;
    say!("text {rank}: score {score:.4}, log-probability {logprob:.4}, {tokens} tokens");
    output::print(&format!("{}\n", report.text))
}

fn stop(found: &Found) -> Stop {
    match found.ended {
        true => Stop::EndOfText,
        false => Stop::MaxTokens,
    }
}

/// The text of what was found; of a character that its end cuts, nothing.
fn decoded(tokenizer: &Tokenizer<'_>, found: &Found, in_text: bool) -> Result<String, Failure> {
    let mut decoder = match in_text {
        true => StreamDecoder::continuing(),
        false => StreamDecoder::new(),
    };
    let mut text = String::new();
    for &token in &found.tokens {
        let pushed = decoder.push(tokenizer, token, &mut |part| text.push_str(part));
        pushed.map_err(Failure::failed)?;
    }
    Ok(text)
}

/// A session for each beam. A beam goes on in the session that holds most of it already, so that the prompt
/// and what beams have in common is computed anew only where a beam moves to another session.
struct Sessions<'a> {
    sequences: Vec<Sequence<'a>>,
    sampling: Sampling,
    prompt: &'a [u32],
    n_vocab: usize,
}

impl<'a> Sessions<'a> {
    fn new(
        job: &Job<'a>,
        args: &GenerateArgs,
        prompt: &'a [u32],
        arenas: &'a mut [AlignedBytes],
    ) -> Result<Self, Failure> {
        let sequences = arenas.iter_mut();
        let sequences = sequences.map(|arena| Sequence::new(job.file, arena, &job.options));
        let tokenizer = job.file.tokenizer();
        Ok(Self {
            sequences: sequences.collect::<Result<_, _>>()?,
            sampling: args.sampling.sampling(tokenizer, job.seed)?,
            prompt,
            n_vocab: tokenizer.n_vocab(),
        })
    }

    fn computed(&self) -> usize {
        self.sequences.iter().map(Sequence::computed).sum()
    }
}

impl Predictor for Sessions<'_> {
    fn predict(&mut self, beams: &[&[u32]], barred: &[u32]) -> Result<Vec<Vec<f64>>, Failure> {
        let mut free: Vec<usize> = (0..self.sequences.len()).collect();
        let mut predictions = Vec::with_capacity(beams.len());
        for beam in beams {
            let mut history = [self.prompt, beam].concat();
            let held = |at: &usize| self.sequences[free[*at]].shared(&history);
            let Some(best) = (0..free.len()).rev().max_by_key(held) else {
                break; // there are as many sessions as beams
            };
            let sequence = &mut self.sequences[free.swap_remove(best)];
            let logits = &mut sequence.logits(&mut history, 0)?[..self.n_vocab];
            self.sampling.adjust(logits, &history, barred);
            predictions.push(log_softmax(logits));
        }
        Ok(predictions)
    }
}

/// `ln softmax(logits)`.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(minigpt_runtime::ops::max(logits));
    let sum: f64 = logits.iter().map(|l| (f64::from(*l) - largest).exp()).sum();
    let total = largest + sum.ln();
    logits.iter().map(|l| f64::from(*l) - total).collect()
}
