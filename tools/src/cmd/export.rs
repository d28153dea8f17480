//! `minigpt export`.

use core::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::Args;
use minigpt_runtime::format::Metadata;
use minigpt_runtime::{Format, KvFormat};
use minigpt_trainer::evaluate::evaluate;
use minigpt_trainer::export::{self, with_metadata};
use minigpt_trainer::inference::ModelBytes;
use minigpt_trainer::run::Trained;

use super::chat::Template;
use super::train::deployed;
use super::{count, format_parser, open_model};
use crate::failure::{Failure, Outcome};
use crate::output::{self, grouped, say};
use crate::progress::TokenProgress;

/// Tokens that a run's model is measured on.
const MEASURED: i64 = 8192;

/// Write the best weights of a run as one model file, or a model file in another format.
///
/// Of a run it says what the format costs: bits per byte on the run's validation text, measured by running the
/// exported bytes, beside those of f32.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  minigpt export runs/stories --format q8 -o stories.mgpt
  minigpt export runs/stories --format f32 -o stories-f32.mgpt --measure 0
  minigpt export runs/dialogues --chat-template chat.jinja -o dialogues.mgpt
  minigpt export stories.mgpt --format q8-dsp -o stories-m4f.mgpt")]
pub(crate) struct ExportArgs {
    /// Run directory of `minigpt train`, or a model file to be stored otherwise
    #[arg(value_name = "MODEL_OR_RUN")]
    source: PathBuf,
    /// How to store the matrices [default: what the run was trained for (quantize_aware), or q8; of a model
    /// file, its own]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<Format>,
    /// Where to write the model file; a model that is there is replaced
    #[arg(short, long, value_name = "OUT.mgpt")]
    output: PathBuf,
    /// Put a chat template into the file, in Jinja as Hugging Face's are; `minigpt chat` writes conversations
    /// with it
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Measure on this many tokens of the run's validation text; 0 measures nothing [default: 8192]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    measure: Option<i64>,
}

pub(crate) fn run(args: &ExportArgs) -> Outcome {
    match args.source.is_file() {
        true => convert(args),
        false => export_run(args),
    }
}

/// Writes the model file `args.source` with other weights or another template.
fn convert(args: &ExportArgs) -> Outcome {
    if args.measure.is_some() {
        return Err(Failure::Misuse(format!(
            "{} is a model file and has no validation text for --measure; leave it out, and see minigpt eval --data",
            args.source.display()
        )));
    }
    let source = open_model(&args.source)?;
    let file = source.file().map_err(|e| Failure::with(&args.source, e))?;
    let format = args.format.unwrap_or(file.format());
    let model = export::converted(&file, format).map_err(Failure::failed)?;
    write(args, model, format)?;
    let exact = matches!(
        (file.format(), format),
        (Format::F32, _) | (Format::Q8, Format::Q8Dsp)
    );
    if !exact && format != file.format() {
        say!("what {} had rounded stays so", file.format().name());
    }
    Ok(())
}

/// Writes the best weights of the run `args.source`.
fn export_run(args: &ExportArgs) -> Outcome {
    let n_measured = count("--measure", args.measure.unwrap_or(MEASURED), 0)?;
    let trained = Trained::load(&args.source)?;
    let name = args.output.file_stem().unwrap_or_default();
    let name = name.to_string_lossy();
    let export = |format| trained.export(&name, format).map_err(Failure::failed);
    let format = args.format.unwrap_or(deployed(&trained.state.settings));
    let model = write(args, export(format)?, format)?;
    let tokens = trained.validation_tokens(n_measured.saturating_add(1))?;
    if n_measured == 0 || tokens.len() < 2 {
        return Ok(());
    }
    let reference = export(Format::F32)?;
    let aware = trained.state.settings.training.quantize_aware.format();
    // Two models are enough to have in memory.
    drop(trained);
    let exact = measure("f32", &reference, &tokens)?;
    say!("on {} tokens of the validation text:", tokens.len() - 1);
    say!("  {}", Line("f32", &reference, exact));
    if format != Format::F32 {
        let stored = measure(format.name(), &model, &tokens)?;
        let line = Line(format.name(), &model, stored);
        say!("  {line} ({:+.3}%)", 100.0 * (stored / exact - 1.0));
    }
    if let Some(aware) = aware {
        say!(
            "the run was made for {0}: its f32 are weights before they are rounded, which nothing was trained to use; what {0} costs says a run without quantize_aware",
            aware.name()
        );
    }
    Ok(())
}

/// What a format has come to.
struct Line<'a>(&'a str, &'a ModelBytes, f64);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, model, bits) = self;
        let bytes = grouped(model.bytes().len() as u64);
        write!(f, "{name:3}  {bytes:>12} bytes  {bits:.4} bits per byte")
    }
}

/// Writes `model` as `args` say; what was written.
fn write(args: &ExportArgs, model: ModelBytes, format: Format) -> Result<ModelBytes, Failure> {
    let model = match &args.chat_template {
        Some(path) => with_template(&model, path)?,
        None => model,
    };
    let done = output::write_model(&args.output, model.bytes())?;
    say!(
        "{done} {}: {} bytes as {}",
        args.output.display(),
        grouped(model.bytes().len() as u64),
        format.name()
    );
    Ok(model)
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
