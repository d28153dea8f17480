//! The command line of minigpt.
#![warn(clippy::print_stderr, clippy::print_stdout)] // they panic where nobody listens

mod board;
mod cmd;
mod convert;
mod failure;
mod generation;
mod interrupt;
mod library;
mod output;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cmd::{
    bench, chat, compare, doctor, eval, export, firmware, fit, generate, import, inspect, train,
};
use crate::failure::Failure;

/// The kind of error for which clap shows the help.
const NO_COMMAND: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 tried and failed; 2 the command line, or a file it names, asks for something that \
cannot be; 130 stopped by Ctrl-C.";

/// Train, export and run small GPT models.
#[derive(Debug, Parser)]
#[command(name = "minigpt", version, after_help = EXIT_CODES)]
enum Cli {
    Train(train::TrainArgs),
    Generate(generate::GenerateArgs),
    Chat(chat::ChatArgs),
    Eval(eval::EvalArgs),
    Bench(bench::BenchArgs),
    Compare(compare::CompareArgs),
    Export(export::ExportArgs),
    Firmware(firmware::FirmwareArgs),
    Fit(fit::FitArgs),
    Import(import::ImportArgs),
    Inspect(inspect::InspectArgs),
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.exit_code() == 0 || error.kind() == NO_COMMAND => error.exit(),
        Err(error) => return Failure::usage(&error).report(),
    };
    let outcome = match cli {
        Cli::Train(args) => train::run(&args),
        Cli::Generate(args) => generate::run(&args),
        Cli::Chat(args) => chat::run(&args),
        Cli::Eval(args) => eval::run(&args),
        Cli::Bench(args) => bench::run(&args),
        Cli::Compare(args) => compare::run(&args),
        Cli::Export(args) => export::run(&args),
        Cli::Firmware(args) => firmware::run(&args),
        Cli::Fit(args) => fit::run(&args),
        Cli::Import(args) => import::run(&args),
        Cli::Inspect(args) => inspect::run(&args),
        Cli::Doctor(args) => doctor::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
