//! `minigpt export`.

use std::path::{Path, PathBuf};

use clap::Args;
use minigpt_runtime::format::Metadata;
use minigpt_runtime::{Format, KvFormat};
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::export::with_metadata;
use minigpt_trainer::inference::ModelBytes;
use minigpt_trainer::run::Trained;

use super::chat::Template;
use super::train::deployed;
use super::{count, format_parser};
use crate::failure::{Failure, Outcome};
use crate::output::{self, grouped, say};
use crate::progress::TokenProgress;

/// Write the best weights of a run as one model file.
///
/// Says what the format costs: bits per byte on the run's validation text, measured by running the
/// exported bytes, beside those of f32.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt export runs/stories --format q8 -o stories.mgpt
  minigpt export runs/stories --format f32 -o stories-f32.mgpt --measure 0
  minigpt export runs/dialogues --chat-template chat.jinja -o dialogues.mgpt")]
pub(crate) struct ExportArgs {
    /// Run directory of `minigpt train`
    run: PathBuf,
    /// How to store the matrices [default: what the run was trained for (quantize_aware), or q8]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<Format>,
    /// Where to write the model file; a model that is there is replaced
    #[arg(short, long, value_name = "OUT.mgpt")]
    output: PathBuf,
    /// Put a chat template into the file, in Jinja as Hugging Face's are; `minigpt chat` writes conversations
    /// with it
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Measure on this many tokens of the validation text; 0 measures nothing
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8192,
        allow_negative_numbers = true
    )]
    measure: i64,
}

pub(crate) fn run(args: &ExportArgs) -> Outcome {
    let n_measured = count("--measure", args.measure, 0)?;
    let trained = Trained::load(&args.run)?;
    let name = args.output.file_stem().unwrap_or_default();
    let name = name.to_string_lossy();
    let export = |format| trained.export(&name, format).map_err(Failure::failed);
    let format = args.format.unwrap_or(deployed(&trained.state.settings));
    let mut model = export(format)?;
    if let Some(path) = &args.chat_template {
        model = with_template(&model, path)?;
    }
    let done = output::write_model(&args.output, model.bytes())?;
    let bytes = |model: &ModelBytes| grouped(model.bytes().len() as u64);
    say!(
        "{done} {}: {} bytes as {}",
        args.output.display(),
        bytes(&model),
        format.name()
    );
    let tokens = trained.validation_tokens(n_measured.saturating_add(1))?;
    if n_measured == 0 || tokens.len() < 2 {
        return Ok(());
    }
    let reference = export(Format::F32)?;
    // Two models are enough to have in memory.
    drop(trained);
    let exact = measure("f32", &reference, &tokens)?;
    let stored = (format != Format::F32).then(|| measure(format.name(), &model, &tokens));
    let stored = stored.transpose()?;
    say!("on {} tokens of the validation text:", tokens.len() - 1);
    say!(
        "  f32  {:>12} bytes  {exact:.4} bits per byte",
        bytes(&reference)
    );
    if let Some(stored) = stored {
        say!(
            "  {:3}  {:>12} bytes  {stored:.4} bits per byte ({:+.3}%)",
            format.name(),
            bytes(&model),
            100.0 * (stored / exact - 1.0)
        );
    }
    Ok(())
}

/// The same model with the chat template at `path`.
fn with_template(model: &ModelBytes, path: &Path) -> Result<ModelBytes, Failure> {
    let template = Template::read(path)?;
    let file = model.file().map_err(Failure::failed)?;
    let metadata = Metadata {
        chat_template: template.source(),
        ..file.header().metadata
    };
    with_metadata(&file, metadata).map_err(Failure::failed)
}

/// Bits per byte of `model` on `tokens`.
fn measure(what: &'static str, model: &ModelBytes, tokens: &[u32]) -> Result<f64, Failure> {
    let file = model.file().map_err(Failure::failed)?;
    let mut progress = TokenProgress::new(what, tokens.len() - 1);
    let sums = evaluate(&file, tokens, KvFormat::F32, |n| progress.set(n));
    progress.finish();
    Ok(sums.map_err(Failure::failed)?.bits_per_byte())
}
