//! Texts from one prompt.

use minigpt_trainer::inference;

use super::report::Report;
use super::{GenerateArgs, Job};
use crate::cmd::count;
use crate::failure::{Failure, Outcome};
use crate::generation::memory;
use crate::generation::sampling::Sampling;
use crate::generation::sequence::Sequence;
use crate::generation::teller::Teller;
use crate::output::{self, say};

/// One text, written nowhere.
pub(super) fn one(job: &Job<'_>, args: &GenerateArgs) -> Result<Report, Failure> {
    let mut reports = Vec::new();
    each(job, args, &mut |report| {
        reports.push(report);
        Ok(())
    })?;
    reports
        .pop()
        .ok_or_else(|| Failure::Failed("no text was made".to_owned()))
}

pub(super) fn run(job: &Job<'_>, args: &GenerateArgs) -> Outcome {
    each(job, args, &mut |report| match (args.json, args.n) {
        (true, 1) => output::print_json(&report),
        (true, _) => output::print_json_line(&report),
        (false, _) => {
            output::print("\n")?;
            say!("{}", report.summary(job));
            Ok(())
        }
    })
}

/// Makes the texts one after the other, writes them as they are made unless they are to be JSON, and hands
/// each to `done`.
fn each(job: &Job<'_>, args: &GenerateArgs, done: &mut dyn FnMut(Report) -> Outcome) -> Outcome {
    let tokenizer = job.file.tokenizer();
    let (prompt, tokens) = job.prompt(args)?;
    memory::check(&args.model, job.file, &job.options, 1)?;
    let mut arena = inference::arena(job.file, &job.options).map_err(Failure::failed)?;
    let teller = Teller {
        tokenizer,
        sequence: Sequence::new(job.file, &mut arena, &job.options)?,
        with_logprobs: args.json,
    };
    let sampling = args.sampling.sampling(tokenizer, job.seed)?;
    if args.sampling.seed.is_none() && args.sampling.draws() && !args.json {
        say!("seed {}", job.seed);
    }
    tell((job, args), (prompt, &tokens), teller, &sampling, done)
}

/// Tells the texts; the prompt goes through the model once.
fn tell(
    (job, args): (&Job<'_>, &GenerateArgs),
    (prompt, tokens): (&str, &[u32]),
    mut teller: Teller<'_>,
    sampling: &Sampling,
    done: &mut dyn FnMut(Report) -> Outcome,
) -> Outcome {
    let n = count("--n", args.n, 1)?;
    let write = |text: &str| match args.json {
        true => Ok(()),
        false => output::print(text),
    };
    for i in 0..n {
        let seed = job.seed.wrapping_add(i as u64);
        if n > 1 && !args.json {
            say!("text {} of {n}, seed {seed}", i + 1);
        }
        write(prompt)?;
        let told = teller.tell(
            tokens.to_vec(),
            (job.n_keep(), !prompt.is_empty()),
            &mut sampling.with(sampling.temperature(), seed)?,
            job.limits,
            &mut |text| write(text),
            &|| false,
        )?;
        let kernels = teller.sequence.isa().name();
        done(Report::new(prompt, tokens.len(), told, seed, kernels))?;
    }
    Ok(())
}
