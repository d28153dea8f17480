//! Options that contradict each other, named together before anything is opened.

use super::GenerateArgs;
use crate::cmd::count;
use crate::failure::{Failure, Outcome};
use crate::generation::prompt::utf8;

/// Pairs that contradict each other, and why.
const APART: [(&str, &str, &str); 8] = [
    ("--prompt", "--prompts", "a text has one prompt"),
    ("--beams", "--prompts", "a batch draws its texts"),
    ("--beams", "--temperature", DRAWING),
    ("--beams", "--top-k", DRAWING),
    ("--beams", "--top-p", DRAWING),
    ("--beams", "--min-p", DRAWING),
    ("--beams", "--seed", DRAWING),
    (
        "--beams",
        "--stop",
        "beam search ends texts where the model does",
    ),
];

const DRAWING: &str = "beam search draws nothing";

pub(super) fn check(args: &GenerateArgs) -> Outcome {
    let sampling = &args.sampling;
    let given = [
        ("--beams", args.beams.is_some()),
        ("--prompts", args.prompts.is_some()),
        ("--prompt", args.prompt.is_some()),
        ("--temperature", sampling.temperature.is_some()),
        ("--top-k", sampling.top_k.is_some()),
        ("--top-p", sampling.top_p.is_some()),
        ("--min-p", sampling.min_p.is_some()),
        ("--seed", sampling.seed.is_some()),
        ("--length-penalty", args.length_penalty.is_some()),
        ("--stop", !args.stop.is_empty()),
    ];
    let is_given = |name| given.contains(&(name, true));
    for (one, other, why) in APART {
        if is_given(one) && is_given(other) {
            return Err(Failure::Misuse(format!(
                "{one} and {other} contradict each other: {why}; leave one of them out"
            )));
        }
    }
    if is_given("--length-penalty") && !is_given("--beams") {
        return Err(Failure::Misuse(
            "--length-penalty does nothing without --beams; add that or leave --length-penalty out"
                .to_owned(),
        ));
    }
    numbers(args)
}

fn numbers(args: &GenerateArgs) -> Outcome {
    let least = count("--min-tokens", args.min_tokens, 0)?;
    let most = count("--max-tokens", args.max_tokens, 1)?;
    if least > most {
        return Err(Failure::Misuse(format!(
            "--min-tokens {least} and --max-tokens {most} contradict each other; make --min-tokens the smaller"
        )));
    }
    let n = count("--n", args.n, 1)?;
    if let Some(width) = args.beams {
        let width = count("--beams", width, 1)?;
        if n > width {
            return Err(Failure::Misuse(format!(
                "--n {n} and --beams {width} contradict each other: a search ends with as many texts as it has \
                 beams; raise --beams or lower --n"
            )));
        }
    }
    if let Some(index) = args.stop.iter().position(String::is_empty) {
        return Err(Failure::misuse(minigpt_runtime::EmptyStop { index }));
    }
    let prompt = args.prompt.as_deref().unwrap_or_default();
    utf8("--prompt", prompt).map(|_| ())
}
