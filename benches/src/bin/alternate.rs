//! Training speed: forward, backward, clipping and AdamW on random tokens. One JSON line, to stand
//! beside that of a PyTorch program on the same shapes.
//!
//! ```text
//! cargo run --release -p minigpt-benches --bin train_speed -- --preset tiny --steps 20 --threads 2
//! train_speed --device cuda:0 --shape 6,6,192,256 --batch 32      # n_layer,n_head,n_embd,n_ctx
//! ```

use std::time::Instant;

use minigpt_models::preset;
use minigpt_runtime::{Config, Hyperparameters, layout, rng::Rng};
use minigpt_trainer::backend::cuda::Cuda;
use minigpt_trainer::{AdamW, Backend, BackendError, Batch, Cpu, Gpt, PassOptions};

/// Steps before the clock counts.
const WARM_UP: usize = 3;

fn main() -> Result<(), BackendError> {
    let options = options();
    let preset = preset(&options.preset).expect("--preset is the name of a preset");
    let mut hyper = preset.hyperparameters(options.n_vocab);
    if let Some([n_layer, n_head, n_embd, n_ctx]) = options.shape {
        hyper = Hyperparameters {
            n_layer,
            n_head,
            n_head_kv: n_head,
            n_embd,
            n_ff: 4 * n_embd,
            n_ctx,
            ..hyper
        };
    }
    let config = Config::new(hyper).expect("the sizes of a model divide");
    let batch = Batch {
        n_batch: options.batch.unwrap_or(preset.n_batch as usize),
        n_time: options.time.unwrap_or(config.n_ctx()),
    };
    match options.device.strip_prefix("cuda:") {
        None => measure(Cpu::new(Some(options.threads)), config, batch, &options),
        Some(number) => {
            let number = number.parse().expect("--device is cpu or cuda:N");
            let found = Cuda::find(number).unwrap_or_else(|error| panic!("{error}"));
            measure(Cuda::new(found)?, config, batch, &options)
        }
    }
}

/// Takes the steps and prints the line.
fn measure<B: Backend>(
    backend: B,
    config: Config,
    batch: Batch,
    options: &Options,
) -> Result<(), BackendError> {
    let mut model = Gpt::new(backend, config, batch, 1337)?;
    let (mut rng, mut times, mut loss) = (Rng::new(1337, 0), Vec::new(), 0.0);
    for step in 0..options.steps + WARM_UP {
        let mut ids = || -> Vec<u32> {
            let id = |_| rng.next_below(options.n_vocab as usize) as u32;
            (0..batch.rows()).map(id).collect()
        };
        let (tokens, targets) = (ids(), ids());
        let start = Instant::now();
        let pass = PassOptions {
            dropout: options.dropout,
            seed: 1,
            micro_step: step as u64,
            accumulation: 1,
        };
        let pending = model.accumulate(&tokens, &targets, pass)?;
        model.update(&AdamW::default(), step as u64 + 1)?;
        loss = model.loss(&pending)?.mean();
        if step >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[times.len() / 2], times[0]);
    let rate = |seconds: f64| batch.rows() as f64 / seconds;
    // Random tokens cannot be learned: a wrong answer would show as a loss far from ln V.
    assert!(
        (loss / f64::from(options.n_vocab).ln() - 1.0).abs() < 0.2,
        "loss {loss}"
    );
    println!(
        "{{\"program\": \"minigpt\", \"device\": \"{}\", \"preset\": \"{}\", \"threads\": {}, \
         \"batch\": {}, \"n_time\": {}, \"n_params\": {}, \"tokens_per_second\": {:.1}, \
         \"best_tokens_per_second\": {:.1}, \"ms_per_step\": {:.3}, \"best_ms\": {:.3}, \
         \"loss\": {loss:.4}, \"model_bytes\": {}, \"peak_bytes\": {}}}",
        options.device,
        options.preset,
        options.threads,
        batch.n_batch,
        batch.n_time,
        layout::n_params(&config),
        rate(median),
        rate(best),
        median * 1e3,
        best * 1e3,
        model.bytes(),
        peak_bytes(),
    );
    Ok(())
}

struct Options {
    device: String,
    preset: String,
    /// `n_layer`, `n_head`, `n_embd`, `n_ctx` instead of the preset's.
    shape: Option<[u32; 4]>,
    steps: usize,
    threads: usize,
    n_vocab: u32,
    batch: Option<usize>,
    time: Option<usize>,
    dropout: f32,
}

fn options() -> Options {
    let mut options = Options {
        device: "cpu".into(),
        preset: "tiny".into(),
        shape: None,
        steps: 20,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        n_vocab: 65,
        batch: None,
        time: None,
        dropout: 0.0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().expect("every option takes a value");
        let number = || value.parse().expect("a whole number");
        match name.as_str() {
            "--device" => options.device = value,
            "--preset" => options.preset = value,
            "--shape" => {
                let sizes = value.split(',').map(|size| size.parse().expect("a size"));
                let sizes = sizes.collect::<Vec<_>>().try_into();
                options.shape = Some(sizes.expect("four sizes"));
            }
            "--steps" => options.steps = number(),
            "--threads" => options.threads = number(),
            "--vocab" => options.n_vocab = number() as u32,
            "--batch" => options.batch = Some(number()),
            "--time" => options.time = Some(number()),
            "--dropout" => options.dropout = value.parse().expect("a number"),
            _ => panic!("unknown option {name}"),
        }
    }
    options
}

/// Most memory that this process ever held, in bytes; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
}
