//! `minigpt import`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use minigpt_runtime::Format;
use minigpt_runtime::format::{Header, Metadata};
use minigpt_trainer::export::export;
use minigpt_trainer::tokenizer::OwnedTokenizer;

use super::format_parser;
use crate::convert::{Foreign, llama2c};
use crate::failure::{Failure, Outcome};
use crate::output::{self, say};

/// Turn a model made elsewhere into a model file.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    Llama2c(Llama2cArgs),
}

/// Import a model of llama2.c: its .bin (f32) and its tokenizer.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  minigpt import llama2c stories260K.bin --tokenizer tok512.bin --format q8 -o stories260K.mgpt")]
struct Llama2cArgs {
    /// The model, MODEL.bin
    model: PathBuf,
    /// Its tokenizer, TOK.bin
    #[arg(long, value_name = "TOK.bin")]
    tokenizer: PathBuf,
    /// How to store the matrices
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = format_parser())]
    format: Format,
    /// Where to write the model file; a model that is there is replaced
    #[arg(short, long, value_name = "OUT.mgpt")]
    output: PathBuf,
}

pub(crate) fn run(args: &ImportArgs) -> Outcome {
    match &args.from {
        From::Llama2c(args) => import_llama2c(args),
    }
}

fn import_llama2c(args: &Llama2cArgs) -> Outcome {
    let model = llama2c::read(&read(&args.model)?).map_err(|e| Failure::with(&args.model, e))?;
    let n_vocab = model.hyperparameters.n_vocab as usize;
    let tokenizer = OwnedTokenizer::llama2c(&read(&args.tokenizer)?, n_vocab)
        .map_err(|error| Failure::with(&args.tokenizer, error))?;
    let made_by = format!("imported from llama2.c: {}", file_name(&args.model));
    write(&model, &tokenizer, args.format, &made_by, &args.output)
}

fn write(
    model: &Foreign,
    tokenizer: &OwnedTokenizer,
    format: Format,
    made_by: &str,
    path: &Path,
) -> Outcome {
    let name = file_name(path);
    let header = Header {
        hyperparameters: model.hyperparameters,
        format,
        tokenizer: tokenizer.view(),
        metadata: Metadata {
            name: name.trim_end_matches(".mgpt"),
            bits_per_byte: None,
            made_by,
            chat_template: "",
        },
    };
    let bytes = export(&header, &model.parameters).map_err(Failure::failed)?;
    let done = output::write_model(path, bytes.bytes())?;
    say!(
        "{done} {}: {} bytes, {} parameters as {}",
        path.display(),
        output::grouped(bytes.bytes().len() as u64),
        output::grouped(model.parameters.iter().map(|p| p.len() as u64).sum()),
        format.name()
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::reading(path, &error))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
