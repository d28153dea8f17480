//! Two programs by turns on one machine, and the median of the ratios of what they report.
//!
//! Each is a command line that prints a line of JSON with the field last. One line of CSV a round:
//!
//! ```text
//! alternate --rounds 5 --field tokens_per_second \
//!     "minigpt bench train --preset tiny --threads 2 --json" \
//!     "python torch_baseline.py speed --preset tiny --threads 2"
//! ```

use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;

/// Run two commands by turns and compare a figure that both print as JSON.
#[derive(Parser)]
struct Options {
    /// How often each runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The figure: a member of the object in the last line that a command prints
    #[arg(long, default_value = "tokens_per_second")]
    field: String,
    /// Command of the first program
    ours: String,
    /// Command of the second
    peer: String,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("alternate: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    println!("round,ours,peer,ratio");
    let mut rounds = Vec::new();
    for round in 1..=options.rounds.max(1) {
        // Who begins changes, so that neither always runs on the warmer machine.
        let figure = |command| figure(command, &options.field);
        let (ours, peer) = if round % 2 == 1 {
            let ours = figure(&options.ours)?;
            (ours, figure(&options.peer)?)
        } else {
            let peer = figure(&options.peer)?;
            (figure(&options.ours)?, peer)
        };
        println!("{round},{ours:.1},{peer:.1},{:.3}", ours / peer);
        rounds.push((ours, peer));
    }
    let of = |value: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (ours, peer, ratios) = (of(|r| r.0), of(|r| r.1), of(|r| r.0 / r.1));
    let middle = rounds.len() / 2;
    println!(
        "median,{:.1},{:.1},{:.3}",
        ours[middle], peer[middle], ratios[middle]
    );
    let (best, best_peer) = (ours[ours.len() - 1], peer[peer.len() - 1]);
    println!("best,{best:.1},{best_peer:.1},{:.3}", best / best_peer);
    Ok(())
}

/// What `command` says of `field` in its last line.
fn figure(command: &str, field: &str) -> Result<f64, String> {
    let run = Command::new("sh")
        .args(["-c", command])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    if !run.status.success() {
        return Err(format!("{command}: {}", run.status));
    }
    let text = String::from_utf8_lossy(&run.stdout);
    let line = text.lines().last().unwrap_or_default();
    let object: Option<Value> = serde_json::from_str(line).ok();
    let figure = object.and_then(|object| object.get(field)?.as_f64());
    figure.ok_or_else(|| {
        format!("{command}: its last line is not JSON with a number {field}: {line}")
    })
}
