//! `minigpt chat`.

mod commands;
mod conversation;
mod input;
mod stopping;
mod talk;
mod template;

use std::path::PathBuf;

use clap::Args;
use minigpt_runtime::KvFormat;
use minigpt_trainer::inference;

use self::conversation::Conversation;
use self::input::Input;
use self::talk::Talk;
pub(crate) use self::template::Template;
use super::{context, count, kv_parser, open_model};
use crate::failure::{Failure, Outcome};
use crate::generation::memory;
use crate::generation::sampling::{ORDER, SamplingArgs};
use crate::generation::sequence::{self, Sequence};
use crate::generation::teller::Teller;
use crate::output::{print, say};

/// Talk with a model.
///
/// Answers go to standard output as they are made; everything else goes to standard error. On a terminal lines
/// can be edited and called back; from a pipe each line is a message. Lines that begin with a slash are
/// commands: /help lists them. Ctrl-C stops an answer, and ends the program where none is being made.
#[derive(Debug, Args)]
#[command(after_help = ORDER, after_long_help = long_help())]
pub(crate) struct ChatArgs {
    /// The model file
    model: PathBuf,
    /// What the model is told first, and what stays when the context is full
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// How the conversation is written for the model: a Jinja file, `plain` (User: and Assistant:) or `bare`
    /// (nothing but the words); the one in the model file if not given, or else `plain`
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<PathBuf>,
    /// Go on with a conversation that /save wrote
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Longest answer in tokens
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        allow_negative_numbers = true
    )]
    max_tokens: i64,
    /// End answers before these words as well; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Longest context in tokens; the model's own if not given
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<i64>,
    /// How keys and values are kept
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = kv_parser())]
    kv: KvFormat,
    /// Keep the lines that were typed in this file, for the next time
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

fn long_help() -> String {
    format!("{}\n\n{ORDER}\n\n{EXAMPLES}", commands::HELP)
}

const EXAMPLES: &str = "\
Examples:
  minigpt chat model.mgpt
  minigpt chat model.mgpt --system \"You are a pirate.\" --temperature 0.6 --top-p 0.9
  minigpt chat runs/stories --template bare --max-tokens 80
  printf 'Hello\\n/stats\\n' | minigpt chat model.mgpt --seed 7";

pub(crate) fn run(args: &ChatArgs) -> Outcome {
    let max_tokens = count("--max-tokens", args.max_tokens, 1)?;
    if let Some(index) = args.stop.iter().position(String::is_empty) {
        return Err(Failure::misuse(minigpt_runtime::EmptyStop { index }));
    }
    let bytes = open_model(&args.model)?;
    let file = bytes.file().map_err(|e| Failure::with(&args.model, e))?;
    let template = Template::open(
        args.template.as_deref(),
        file.header().metadata.chat_template,
    )?;
    let options = sequence::options(context(args.context, &file)?, args.kv);
    let sampling = args
        .sampling
        .sampling(file.tokenizer(), args.sampling.seed()?)?;
    memory::check(&args.model, &file, &options, 1)?;
    let mut arena = inference::arena(&file, &options).map_err(Failure::failed)?;
    let teller = Teller {
        tokenizer: file.tokenizer(),
        sequence: Sequence::new(&file, &mut arena, &options)?,
        with_logprobs: false,
    };
    let stops = [template.stops(), args.stop.clone()].concat();
    let mut talk = Talk::new(teller, template, sampling, stops, max_tokens);
    talk.conversation = match &args.load {
        Some(path) => Conversation::load(path)?,
        None => Conversation::default(),
    };
    if let Some(system) = &args.system {
        talk.conversation.system.clone_from(system);
    }
    stopping::listen()?;
    converse(&mut talk, args.history.clone())
}

/// Message after message until there are no more.
fn converse(talk: &mut Talk<'_>, history: Option<PathBuf>) -> Outcome {
    let mut input = Input::new(history)?;
    if input.is_terminal() {
        say!("/help lists the commands, Ctrl-D ends");
    }
    while let Some(line) = input.line()? {
        match answer(talk, &line) {
            Ok(true) => {}
            Ok(false) => break,
            // Whoever sits there can mend it; a script is told by the exit code.
            Err(failure @ (Failure::Misuse(_) | Failure::Failed(_))) if input.is_terminal() => {
                failure.report();
            }
            Err(failure) => return Err(failure),
        }
    }
    input.end()
}

/// Does what a line says; whether to go on.
fn answer(talk: &mut Talk<'_>, line: &str) -> Result<bool, Failure> {
    if let Some(command) = commands::parse(line)? {
        return commands::run(talk, command);
    }
    let message = commands::literal(line);
    if message.trim().is_empty() {
        return Ok(true);
    }
    talk.answer(message)?;
    print("\n")?;
    Ok(true)
}
