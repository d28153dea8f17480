//! `minigpt inspect`.

mod attention;

use core::fmt::{self, Write};
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use minigpt_runtime::{
    Config, Format, Hyperparameters, KvFormat, MemoryPlan, ModelFile, SessionOptions, Specials,
    config::Positions, layout,
};
use serde::Serialize;

use super::{context, open_model};
use crate::failure::{Failure, Outcome};
use crate::output::{self, grouped};

/// Show what a model file holds and what memory it needs to run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt inspect model.mgpt
  minigpt inspect model.mgpt --context 64 --json
  minigpt inspect model.mgpt --attention \"Lily had a red ball. Lily\" -o lily.html")]
pub(crate) struct InspectArgs {
    /// The model file
    model: PathBuf,
    /// Plan memory for this many tokens of context; the model's own if not given
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<i64>,
    /// Show what each attention head looks at in this text, as a page
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    attention: Option<OsString>,
    /// With --attention: where to write the page; standard output if not given
    #[arg(short, long, value_name = "OUT.html")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    bytes: usize,
    name: String,
    made_by: String,
    bits_per_byte: Option<f32>,
    /// Empty for none.
    chat_template: String,
    format: Format,
    n_params: u64,
    config: Config,
    tokenizer: TokenizerReport,
    /// Of the runtime, for a program that runs this model alone.
    features: Vec<&'static str>,
    tensors: Vec<TensorReport>,
    memory_plan: Vec<PlanReport>,
}

#[derive(Serialize)]
struct TokenizerReport {
    kind: &'static str,
    n_vocab: usize,
    #[serde(flatten)]
    specials: Specials,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    shape: [usize; 2],
    format: Format,
    /// From the start of the weights.
    offset_bytes: u64,
    bytes: u64,
}

/// For one token at a time; see the runtime's `MemoryPlan`.
#[derive(Serialize)]
struct PlanReport {
    kv_format: &'static str,
    context_tokens: usize,
    kv_cache_bytes: u64,
    activation_bytes: u64,
    quant_bytes: u64,
    score_bytes: u64,
    logit_bytes: u64,
    total_bytes: u64,
}

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    conflicts(args)?;
    let model = open_model(&args.model)?;
    let file = model.file().map_err(|e| Failure::with(&args.model, e))?;
    if let Some(prompt) = &args.attention {
        let name = args.model.display().to_string();
        return attention::run(&name, &file, prompt, args.output.as_deref());
    }
    let context = context(args.context, &file)?;
    let report = report(args.model.display().to_string(), &file, context);
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&text(&report))
    }
}

/// Options that contradict each other.
fn conflicts(args: &InspectArgs) -> Outcome {
    let wrong = match (&args.attention, &args.output) {
        (None, Some(_)) => "-o does nothing without --attention; add that or leave -o out",
        (Some(_), _) if args.json => {
            "--attention and --json contradict each other: the maps are a page; leave one of them out"
        }
        _ => return Ok(()),
    };
    Err(Failure::Misuse(wrong.to_owned()))
}

fn report(name: String, file: &ModelFile<'_>, context: usize) -> Report {
    let (config, format) = (file.config(), file.format());
    let (tokenizer, metadata) = (file.tokenizer(), file.header().metadata);
    let tensors = layout::tensors(config).map(|spec| TensorReport {
        name: spec.id.to_string(),
        shape: [spec.rows, spec.cols],
        format: spec.stored_format(format),
        offset_bytes: layout::offset(config, spec.id, format),
        bytes: spec.stored_bytes(format),
    });
    Report {
        file: name,
        bytes: file.len(),
        name: metadata.name.to_owned(),
        made_by: metadata.made_by.to_owned(),
        bits_per_byte: metadata.bits_per_byte,
        chat_template: metadata.chat_template.to_owned(),
        format,
        n_params: layout::n_params(config),
        config: *config,
        tokenizer: TokenizerReport {
            kind: tokenizer.kind(),
            n_vocab: tokenizer.n_vocab(),
            specials: tokenizer.specials(),
        },
        features: file.header().features().collect(),
        tensors: tensors.collect(),
        memory_plan: KvFormat::ALL.map(|kv| plan(file, context, kv)).into(),
    }
}

fn plan(file: &ModelFile<'_>, context: usize, kv: KvFormat) -> PlanReport {
    let options = SessionOptions {
        n_ctx: context,
        n_chunk: 1,
        kv,
    };
    let plan = MemoryPlan::new(file.config(), file.format(), &options);
    PlanReport {
        kv_format: kv.name(),
        context_tokens: context,
        kv_cache_bytes: plan.kv_cache,
        activation_bytes: plan.activations,
        quant_bytes: plan.quants,
        score_bytes: plan.scores,
        logit_bytes: plan.logits,
        total_bytes: plan.total(),
    }
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut out, report);
    out
}

fn write_text(out: &mut String, report: &Report) -> fmt::Result {
    let (file, bytes) = (&report.file, grouped(report.bytes as u64));
    writeln!(out, "{file}  {bytes} bytes")?;
    writeln!(out, "{}, {}", report.name, report.made_by)?;
    if let Some(bits) = report.bits_per_byte {
        writeln!(out, "{bits:.4} bits per byte on its validation text")?;
    }
    if !report.chat_template.is_empty() {
        let n = report.chat_template.chars().count();
        writeln!(out, "a chat template of {n} characters")?;
    }
    let (n_params, format) = (grouped(report.n_params), report.format.name());
    let TokenizerReport { kind, n_vocab, .. } = &report.tokenizer;
    writeln!(
        out,
        "{n_params} parameters as {format}, {kind} tokenizer with {n_vocab} tokens\n"
    )?;
    write_options(out, &report.config.hyperparameters())?;
    write_tensors(out, &report.tensors)?;
    write_plans(out, &report.memory_plan)?;
    let features = report.features.join(", ");
    writeln!(
        out,
        "\nfeatures of minigpt-runtime that it needs: {features}"
    )
}

fn write_options(out: &mut String, hyper: &Hyperparameters) -> fmt::Result {
    let options = [
        ("n_vocab", hyper.n_vocab.to_string()),
        ("n_ctx", hyper.n_ctx.to_string()),
        ("n_embd", hyper.n_embd.to_string()),
        ("n_head", hyper.n_head.to_string()),
        ("n_head_kv", hyper.n_head_kv.to_string()),
        ("n_layer", hyper.n_layer.to_string()),
        ("n_ff", hyper.n_ff.to_string()),
        ("positions", name(&hyper.positions)),
        ("rope_theta", hyper.rope_theta.to_string()),
        ("norm", name(&hyper.norm)),
        ("mlp", name(&hyper.mlp)),
        ("bias", hyper.bias.to_string()),
        ("tied_head", hyper.tied_head.to_string()),
    ];
    for (option, value) in options {
        if option != "rope_theta" || hyper.positions == Positions::Rope {
            writeln!(out, "{option:10} {value}")?;
        }
    }
    writeln!(out)
}

/// The name that `--set` takes.
fn name(option: &impl Serialize) -> String {
    let value = serde_json::to_value(option).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn write_tensors(out: &mut String, tensors: &[TensorReport]) -> fmt::Result {
    writeln!(
        out,
        "{:28} {:>14} {:>6} {:>12}",
        "tensor", "shape", "format", "bytes"
    )?;
    for tensor in tensors {
        let [rows, cols] = tensor.shape;
        let (shape, bytes) = (format!("{rows} x {cols}"), grouped(tensor.bytes));
        let (name, format) = (&tensor.name, tensor.format.name());
        writeln!(out, "{name:28} {shape:>14} {format:>6} {bytes:>12}")?;
    }
    Ok(())
}

fn write_plans(out: &mut String, plans: &[PlanReport]) -> fmt::Result {
    writeln!(out, "\nmemory to run it, one token at a time, in bytes")?;
    for plan in plans {
        writeln!(
            out,
            "context {}, keys and values in {}: {} (cache {}, activations {}, integers {}, scores {}, logits {})",
            plan.context_tokens,
            plan.kv_format,
            grouped(plan.total_bytes),
            grouped(plan.kv_cache_bytes),
            grouped(plan.activation_bytes),
            grouped(plan.quant_bytes),
            grouped(plan.score_bytes),
            grouped(plan.logit_bytes)
        )?;
    }
    Ok(())
}
