//! `minigpt fit`.

mod cores;
mod place;
mod report;
mod search;

use std::path::PathBuf;

use clap::Args;
use minigpt_runtime::{Config, Format};
use minigpt_trainer::run_config::{DataSettings, RunConfig, TokenizerChoice};

use self::place::{Bytes, Hertz, Place};
pub(crate) use self::search::Candidate;
use self::search::Vocabulary;
use super::format_parser_of;
use crate::failure::{Failure, Outcome};
use crate::{library, output, settings};

/// Vocabularies that are tried, of as many tokens as the text gives.
const VOCABULARIES: [u32; 9] = [320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];

/// Contexts that are tried where none is asked for, longest first.
const CONTEXTS: [u32; 4] = [256, 128, 64, 32];

/// What a context of twice the length may cost: this share more of what the loss goes with.
const CONTEXT_PRICE: f64 = 1.1;

/// Most suggestions.
const SUGGESTIONS: usize = 6;

/// Find what fits a board, before training: vocabulary, width, depth and context.
///
/// Sizes are exact: those of the file that training will make and of the memory that a session will
/// take. Instructions come from a model that was fitted to counted ones. The best model is the one of
/// which the parameters promise the least loss, the table of the vocabulary counted apart.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt fit --board microbit
  minigpt fit --board microbit --format q4
  minigpt fit --flash 1M --ram 256K --core m4f --clock 168M --speed 20 --context 256
  minigpt fit --flash 512K --ram 64K --data book.txt -o config.toml
  minigpt train --config config.toml

K is 1024 bytes or 1000 Hz. Cores: m0, m0+, m3, m4f, m7, m33, m55, rv32imc.")]
pub(crate) struct FitArgs {
    /// Flash for program and model, in bytes
    #[arg(long, value_name = "BYTES", required_unless_present = "board")]
    flash: Option<Bytes>,
    /// RAM for stack and session, in bytes
    #[arg(long, value_name = "BYTES", required_unless_present = "board")]
    ram: Option<Bytes>,
    /// A board of `minigpt firmware --list`: its partition for models, RAM, core and clock
    #[arg(long, value_name = "NAME", conflicts_with_all = ["flash", "ram", "core"])]
    board: Option<String>,
    /// How the matrices are stored, q8 or q4: half the flash, and some of the quality
    #[arg(long, value_name = "FORMAT", default_value = "q8", value_parser = format_parser_of(&[Format::Q8, Format::Q4]))]
    format: Format,
    /// The processor's core, for program, stack and speed
    #[arg(long, value_name = "CORE")]
    core: Option<String>,
    /// Its clock
    #[arg(long, value_name = "HZ")]
    clock: Option<Hertz>,
    /// Cycles per instruction, if they were measured [default: an estimate from published timings]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cycles: Option<f64>,
    /// Least tokens a second, at the end of the context
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    speed: Option<f64>,
    /// Context in tokens [default: 256, or shorter where it would cost too much]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<i64>,
    /// Text that the vocabulary is learned from, instead of the built-in stories
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// char, byte or bpe:N, instead of the best
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<TokenizerChoice>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write the first suggestion as settings for `minigpt train --config`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &FitArgs) -> Outcome {
    let mut data = RunConfig::default().data;
    data.files.clone_from(&args.data);
    let (place, best) = search(args, &data)?;
    if let Some(path) = &args.output {
        report::write_config(path, args, &best[0])?;
    }
    match args.json {
        true => output::print_json(&report::Report::new(&place, &best)),
        false => output::print(&report::text(&place, &best)),
    }
}

/// The best model of `format` for `board` that is to learn `data`, with `tokenizer` or the best.
pub(crate) fn for_board(
    board: &str,
    format: Format,
    data: &DataSettings,
    tokenizer: Option<TokenizerChoice>,
) -> Result<Candidate, Failure> {
    let args = FitArgs {
        board: Some(board.to_owned()),
        format,
        tokenizer,
        flash: None,
        ram: None,
        core: None,
        clock: None,
        cycles: None,
        speed: None,
        context: None,
        data: Vec::new(),
        json: false,
        output: None,
    };
    let (_, mut best) = search(&args, data)?;
    Ok(best.swap_remove(0))
}

/// The place that `args` describe, and what fits it, best first; at least one.
fn search(args: &FitArgs, data: &DataSettings) -> Result<(Place, Vec<Candidate>), Failure> {
    let preset = settings::preset("stories")?;
    let probe = Config::new(preset.hyperparameters(1024)).map_err(Failure::failed)?;
    let place = Place::new(args, &probe)?;
    let vocabularies = vocabularies(args, data, &place)?;
    let best = best(args, &place, &vocabularies)?;
    Ok((place, best))
}

/// The vocabularies that may suit, smallest first.
fn vocabularies(
    args: &FitArgs,
    data: &DataSettings,
    place: &Place,
) -> Result<Vec<Vocabulary>, Failure> {
    let inputs = library::inputs(data)?;
    let choices = match args.tokenizer {
        Some(choice) => vec![inputs.settle(choice)],
        None => VOCABULARIES
            .map(|n_vocab| TokenizerChoice::Bpe { n_vocab })
            .into(),
    };
    let mut found: Vec<Vocabulary> = Vec::new();
    for choice in choices {
        let vocabulary = Vocabulary::new(choice, inputs.tokenizer(choice)?);
        // Larger ones have no more tokens where the text has no more pairs to merge.
        let exhausted = found
            .last()
            .is_some_and(|last| last.len() >= vocabulary.len());
        let too_large = u64::from(vocabulary.len()) * 16 > place.model_room();
        if !found.is_empty() && (exhausted || too_large) {
            break;
        }
        found.push(vocabulary);
    }
    Ok(found)
}

/// The best model of each vocabulary, best first; at least one.
fn best(
    args: &FitArgs,
    place: &Place,
    vocabularies: &[Vocabulary],
) -> Result<Vec<Candidate>, Failure> {
    let contexts = match args.context {
        Some(n_ctx) => vec![context(n_ctx)?],
        None => CONTEXTS.to_vec(),
    };
    let mut chosen: Vec<Candidate> = Vec::new();
    // Shortest first: a longer one replaces a shorter one that it is hardly worse than.
    for n_ctx in contexts.iter().rev() {
        let longer = suggestions(*n_ctx, place, vocabularies)?;
        let worth = longer.first().is_some_and(|longer| {
            let shorter = chosen.first();
            shorter.is_none_or(|shorter| longer.loss <= CONTEXT_PRICE * shorter.loss)
        });
        if worth {
            chosen = longer;
        }
    }
    match chosen.is_empty() {
        true => Err(report::impossible(
            place,
            &smallest(&contexts, place, vocabularies)?,
        )),
        false => Ok(chosen),
    }
}

/// `--context`, checked.
fn context(asked: i64) -> Result<u32, Failure> {
    let n_ctx = u32::try_from(asked).ok();
    n_ctx
        .filter(|n_ctx| (1..=1 << 16).contains(n_ctx))
        .ok_or_else(|| {
            Failure::Misuse(format!(
                "--context is {asked}; it must be between 1 and 65536"
            ))
        })
}

/// The best that fits of each vocabulary, best first.
fn suggestions(
    n_ctx: u32,
    place: &Place,
    vocabularies: &[Vocabulary],
) -> Result<Vec<Candidate>, Failure> {
    let mut found = Vec::new();
    for vocabulary in vocabularies {
        let mut fitting = vocabulary.candidates(n_ctx, place)?;
        fitting.retain(|candidate| candidate.fits(place));
        let cost = |candidate: &Candidate| candidate.last_instructions.unwrap_or(0.0);
        let best = fitting.into_iter().min_by(|a, b| {
            let by_loss = a.loss.total_cmp(&b.loss);
            by_loss.then(cost(a).total_cmp(&cost(b)))
        });
        if let Some(best) = best {
            found.push(vocabulary.exact(best, place)?);
        }
    }
    found.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    found.truncate(SUGGESTIONS);
    Ok(found)
}

/// The smallest of all models, which is also the fastest.
fn smallest(
    contexts: &[u32],
    place: &Place,
    vocabularies: &[Vocabulary],
) -> Result<Candidate, Failure> {
    let n_ctx = contexts.iter().min().copied().unwrap_or(1);
    let mut all = Vec::new();
    for vocabulary in vocabularies {
        for candidate in vocabulary.candidates(n_ctx, place)? {
            all.push(candidate);
        }
    }
    let smallest = all
        .into_iter()
        .min_by_key(|candidate| candidate.model_bytes + candidate.arena_bytes);
    smallest.ok_or_else(|| Failure::Failed("there is no vocabulary to choose from".to_owned()))
}
