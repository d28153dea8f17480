//! `minigpt doctor`.

use std::thread::available_parallelism;

use clap::Args;
use minigpt_trainer::backend::cuda::{self, Cuda, Found};
use minigpt_trainer::run_config::RunConfig;
use minigpt_trainer::{Method, device};

use crate::failure::Outcome;
use crate::output::{self, grouped};

/// Say what this machine can train on, and why.
///
/// On a GPU that is found a small model takes a step of AdamW and one of Muon, which are compared with the CPU's.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

pub(crate) fn run(_: &DoctorArgs) -> Outcome {
    let threads = available_parallelism().map_or(1, usize::from);
    let mut text = format!("minigpt {}\n", env!("CARGO_PKG_VERSION"));
    text += &format!("cpu     {threads} threads\n");
    let mut chosen = "the CPU".to_owned();
    match cuda::find() {
        Err(error) => text += &format!("cuda    {error}\n"),
        Ok(all) => {
            for found in &all {
                let verdict = verdict(found);
                if found.number == 0 && verdict.is_ok() {
                    chosen = format!("{} (cuda:0)", found.name);
                }
                text += &line(found, &verdict.unwrap_or_else(|reason| reason));
            }
            text += match Cuda::has_cublaslt() {
                true => "cublaslt there is one, for --set cublaslt=true\n",
                false => "cublaslt none that the loader finds, and none is needed\n",
            };
        }
    }
    text += &format!("minigpt train uses {chosen}\n");
    output::print(&text)
}

/// What is good or bad about a GPU.
fn verdict(found: &Found) -> Result<String, String> {
    found.suits().map_err(|error| error.to_string())?;
    let check = |method| {
        let mut settings = RunConfig::default();
        settings.training.optimizer = method;
        device::check(found, &settings).map_err(|error| error.to_string())
    };
    let free = check(Method::AdamW)?;
    check(Method::Muon)?;
    Ok(format!(
        "{} bytes free; steps of training on it, of AdamW and of Muon, are the CPU's within rounding",
        grouped(free)
    ))
}

fn line(found: &Found, verdict: &str) -> String {
    let (major, minor) = found.capability;
    format!(
        "cuda:{:<2} {}, compute capability {major}.{minor}, {} bytes of memory\n        {verdict}\n",
        found.number,
        found.name,
        grouped(found.memory)
    )
}
