//! Many prompts, on several threads, results in the order of the prompts.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use minigpt_trainer::inference;
use serde::Deserialize;

use super::report::Report;
use super::{GenerateArgs, Job};
use crate::cmd::{count, threads, too_many_threads};
use crate::failure::{Failure, Outcome};
use crate::generation::memory;
use crate::generation::prompt::{check_length, prompt_tokens};
use crate::generation::sequence::Sequence;
use crate::generation::teller::Teller;
use crate::output::{self, say};

/// A prompt that can be continued.
struct Prompt {
    text: String,
    tokens: Vec<u32>,
}

/// A result: the prompt's index, and its texts.
type Made = (usize, Result<Vec<Report>, Failure>);

pub(super) fn run(job: &Job<'_>, args: &GenerateArgs, path: &Path) -> Outcome {
    let prompts = prompts(job, path)?;
    let threads = threads(args.threads)?.min(prompts.len());
    memory::check(&args.model, job.file, &job.options, threads)?;
    // Bad options are said once, before any thread begins.
    args.sampling.sampling(job.file.tokenizer(), job.seed)?;
    if args.sampling.seed.is_none() && args.sampling.draws() {
        say!("seed {}", job.seed);
    }
    let batch = Batch {
        prompts,
        next: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let started = (0..threads).try_for_each(|_| {
            let (sender, batch) = (sender.clone(), &batch);
            let work = move || {
                if let Err(failure) = work(job, args, batch, &sender) {
                    // Nobody listens once another thread has failed.
                    let _ = sender.send((batch.take(), Err(failure)));
                }
            };
            thread::Builder::new().spawn_scoped(scope, work).map(drop)
        });
        drop(sender);
        let written = match started {
            Ok(()) => write(&receiver),
            Err(error) => Err(too_many_threads(threads, &error)),
        };
        batch.closed.store(true, Ordering::Relaxed);
        written
    })
}

/// What all threads share.
struct Batch {
    prompts: Vec<Prompt>,
    /// The first prompt that nobody has taken.
    next: AtomicUsize,
    /// Whether nobody wants more.
    closed: AtomicBool,
}

impl Batch {
    fn take(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Takes prompt after prompt until none is left.
fn work(job: &Job<'_>, args: &GenerateArgs, batch: &Batch, sender: &Sender<Made>) -> Outcome {
    let mut arena = inference::arena(job.file, &job.options).map_err(Failure::failed)?;
    let mut teller = Teller {
        tokenizer: job.file.tokenizer(),
        sequence: Sequence::new(job.file, &mut arena, &job.options)?,
        with_logprobs: true,
    };
    while !batch.is_closed() {
        let index = batch.take();
        if index >= batch.prompts.len() {
            break;
        }
        let made = texts(job, args, &mut teller, (index, batch));
        if sender.send((index, made)).is_err() {
            break;
        }
    }
    Ok(())
}

/// The texts of one prompt; those of prompt `index` have the seeds from `seed + index * n` on.
fn texts(
    job: &Job<'_>,
    args: &GenerateArgs,
    teller: &mut Teller<'_>,
    (index, batch): (usize, &Batch),
) -> Result<Vec<Report>, Failure> {
    let prompt = &batch.prompts[index];
    let n = count("--n", args.n, 1)?;
    let first = job.seed.wrapping_add((index * n) as u64);
    let mut reports = Vec::with_capacity(n);
    for i in 0..n {
        let seed = first.wrapping_add(i as u64);
        let mut sampling = args.sampling.sampling(teller.tokenizer, seed)?;
        let told = teller.tell(
            prompt.tokens.clone(),
            (job.n_keep(), !prompt.text.is_empty()),
            &mut sampling,
            job.limits,
            &mut |_| Ok(()),
            &|| batch.is_closed(),
        )?;
        let kernels = teller.sequence.isa().name();
        let report = Report::new(&prompt.text, prompt.tokens.len(), told, seed, kernels);
        reports.push(Report {
            index: Some(index),
            ..report
        });
    }
    Ok(reports)
}

/// Writes results as soon as all before them are written.
fn write(receiver: &Receiver<Made>) -> Outcome {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (index, made) in receiver {
        waiting.insert(index, made);
        while let Some(made) = waiting.remove(&next) {
            for report in made? {
                output::print_json_line(&report)?;
            }
            next += 1;
        }
    }
    Ok(())
}

/// The prompts of the file at `path`, or of standard input where it is `-`.
fn prompts(job: &Job<'_>, path: &Path) -> Result<Vec<Prompt>, Failure> {
    let bytes = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map(|_| bytes)
        }
        false => fs::read(path),
    };
    let bytes = bytes.map_err(|error| Failure::reading(path, &error))?;
    let text = core::str::from_utf8(&bytes).map_err(|error| {
        Failure::Misuse(format!(
            "{} is not UTF-8 from byte {} on; give a text file",
            path.display(),
            error.valid_up_to()
        ))
    })?;
    let json = path
        .extension()
        .is_some_and(|extension| extension == "jsonl");
    let (mut prompts, longest) = (Vec::new(), job.file.config().n_ctx());
    for (i, line) in text.lines().enumerate() {
        let what = format!("line {} of {}", i + 1, path.display());
        let text = if json {
            parsed(line, &what)?
        } else {
            line.to_owned()
        };
        let tokens = prompt_tokens(job.file.tokenizer(), &text, &what)?;
        check_length(tokens.len(), job.options.n_ctx, longest, &what)?;
        prompts.push(Prompt { text, tokens });
    }
    if prompts.is_empty() {
        let path = path.display();
        return Err(Failure::Misuse(format!(
            "{path} holds no prompts; give one a line"
        )));
    }
    Ok(prompts)
}

/// A line of JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Object { prompt: String },
}

fn parsed(line: &str, what: &str) -> Result<String, Failure> {
    match serde_json::from_str(line) {
        Ok(Line::Text(prompt) | Line::Object { prompt }) => Ok(prompt),
        Err(_) => Err(Failure::Misuse(format!(
            "{what} is neither a JSON string nor an object with a \"prompt\"; mend it"
        ))),
    }
}
