//! `cargo xtask`: the project's checks, run the same way by everyone.

mod boards;
mod capi;
mod cost;
mod cuda;
mod example;
mod file;
mod golden;
mod kernels;
mod prebuilt;
mod serial;

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Bare-metal and browser targets that the runtime must build for.
const TARGETS: [&str; 5] = [
    "aarch64-unknown-none",
    "thumbv6m-none-eabi",
    DSP_TARGET,
    "riscv32imc-unknown-none-elf",
    "wasm32-unknown-unknown",
];

/// The one with the DSP extension.
const DSP_TARGET: &str = "thumbv7em-none-eabihf";

/// Features of the runtime for what a model may need: those of `any-model` in its `Cargo.toml`.
const MODEL_FEATURES: [&str; 14] = [
    "char",
    "bpe",
    "sentencepiece",
    "sinusoidal",
    "rope",
    "layer-norm",
    "rms-norm",
    "gelu",
    "swiglu",
    "bias",
    "narrow-heads",
    "wide-heads",
    "odd-heads",
    "kv-float",
];

/// What Miri runs: the runtime's unsafe code. Miri is slow, so whole models are left to the tests.
const MIRI_TESTS: [&str; 3] = ["bytes::", "kernels::", "quant::"];

/// What Miri runs with the vector instructions of `avx2.rs`, which it does not detect by itself. It has
/// no conversion from `f32` to `f16`, so kernels whose tests make an `f16` stay with the ordinary tests.
const MIRI_AVX2_TESTS: [&str; 2] = [
    "kernels::tests::quantize",
    "kernels::tests::integer_attention",
];
const AVX2: &str = "-Ctarget-feature=+avx2,+fma,+f16c";

/// A check: its name, what it does, and how.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<(), String>,
}

const STEPS: [Step; 14] = [
    Step {
        name: "fmt",
        about: "the formatter has nothing to change",
        run: || {
            cargo(&["fmt", "--all", "--check"])?;
            for folder in [boards::FIRMWARE, example::FOLDER] {
                let manifest = format!("{folder}/Cargo.toml");
                cargo(&["fmt", "--manifest-path", &manifest, "--check"])?;
            }
            Ok(())
        },
    },
    Step {
        name: "clippy",
        about: "no warnings anywhere",
        run: || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "--deny=warnings",
            ])
        },
    },
    Step {
        name: "test",
        about: "all tests",
        run: || cargo(&["test", "--workspace"]),
    },
    Step {
        name: "doc",
        about: "the documentation builds without warnings",
        run: doc,
    },
    Step {
        name: "features",
        about: "the runtime without its default features, and with each alone; the tool with its own",
        run: features,
    },
    Step {
        name: "targets",
        about: "the runtime on microcontrollers and in the browser",
        run: targets,
    },
    Step {
        name: "boards",
        about: "no warnings in the firmware of any board, an answer to whatever a serial line brings; the example",
        run: boards::check,
    },
    Step {
        name: "cost",
        about: "instructions, program, stack and arena of a token do not grow",
        run: cost::check,
    },
    Step {
        name: "prebuilt",
        about: "the programs of boards inside minigpt are what the sources make (--check)",
        run: prebuilt::check,
    },
    Step {
        name: "cuda",
        about: "the CUDA kernels inside minigpt are what the sources make (--check)",
        run: cuda::check,
    },
    Step {
        name: "kernels",
        about: "the runtime's tests on NEON under QEMU and on WebAssembly's vectors under Node",
        run: kernels::check,
    },
    Step {
        name: "golden",
        about: "the same texts on every instruction set and every board",
        run: golden::check,
    },
    Step {
        name: "capi-test",
        about: "the C library with C and C++ compilers, on a board, in WebAssembly",
        run: capi::check,
    },
    Step {
        name: "miri",
        about: "the runtime's unsafe code under Miri, as far as Miri knows the instructions",
        run: miri,
    },
];

/// What is no check, but makes what [`prebuilt::check`] compares.
const PREBUILT: Step = Step {
    name: "prebuilt",
    about: "making the programs of boards inside minigpt",
    run: prebuilt::write,
};

/// The same for [`cuda::check`].
const CUDA: Step = Step {
    name: "cuda",
    about: "compiling the CUDA kernels inside minigpt",
    run: cuda::write,
};

fn main() -> ExitCode {
    if let Some(code) = prebuilt::as_rustc() {
        return code;
    }
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["cost", options @ ..] = &args[..] {
        return finished("cost", cost::command(options));
    }
    if let ["kernels", "--count"] = &args[..] {
        return finished("kernels", kernels::count());
    }
    if let ["capi", rest @ ..] = &args[..] {
        return finished("capi", capi::command(rest));
    }
    let chosen: Vec<&Step> = match args[..] {
        ["ci"] => STEPS.iter().collect(),
        ["ci", "--except", names] if names.split(',').all(is_step) => {
            let kept = |step: &&Step| !names.split(',').any(|name| name == step.name);
            STEPS.iter().filter(kept).collect()
        }
        ["prebuilt"] => vec![&PREBUILT],
        ["cuda"] => vec![&CUDA],
        [name @ ("prebuilt" | "cuda"), "--check"] => {
            STEPS.iter().filter(|step| step.name == name).collect()
        }
        [name] if is_step(name) => STEPS.iter().filter(|step| step.name == name).collect(),
        _ => {
            if let [step, option, ..] = args[..]
                && is_step(step)
            {
                eprintln!("xtask: {step} has no option {option}");
            }
            usage();
            return ExitCode::from(2);
        }
    };
    for step in chosen {
        println!("xtask: {}: {}", step.name, step.about);
        let start = Instant::now();
        let code = finished(step.name, (step.run)());
        println!("xtask: {}: {} s", step.name, start.elapsed().as_secs());
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

fn finished(name: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {name} failed: {message}");
            ExitCode::FAILURE
        }
    }
}

fn is_step(name: &str) -> bool {
    STEPS.iter().any(|step| step.name == name)
}

fn usage() {
    eprintln!(
        "usage: cargo xtask ci [--except STEP,...] | STEP | prebuilt | cuda | capi [--target TRIPLE] [--simd128] -o DIR\n\nsteps:"
    );
    for step in &STEPS {
        eprintln!("  {:9} {}", step.name, step.about);
    }
    eprintln!("\n{}\n{}", cost::USAGE, kernels::USAGE);
    eprintln!(
        "\nMINIGPT_REQUIRE=targets,qemu,miri,data,cc,cmake,valgrind,arm-gcc,riscv-gcc,node,nvrtc,tensorboard,wandb,pyarrow makes it a failure that one of them is not there."
    );
}

fn cargo(args: &[&str]) -> Result<(), String> {
    run(Command::new(env!("CARGO")).args(args))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status();
    let status = status.map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

fn doc() -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    run(command.env(
        "RUSTDOCFLAGS",
        "--deny=warnings --allow=rustdoc::private_intra_doc_links",
    ))
}

fn features() -> Result<(), String> {
    let package = ["--package", "minigpt-runtime", "--no-default-features"];
    for feature in ["", "std"].iter().chain(&MODEL_FEATURES) {
        let alone = ["--features", feature, "--all-targets"];
        cargo(
            &[
                &["clippy"],
                &package[..],
                &alone,
                &["--", "--deny=warnings"],
            ]
            .concat(),
        )?;
    }
    let absent = ["--lib", "a_program_names_what_it_was_built_without"];
    cargo(&[&["test"], &package[..], &absent].concat())?;
    let any_model = ["--features", "any-model"];
    cargo(&[&["test"], &package[..], &any_model].concat())?;
    let parquet = ["--package", "minigpt", "--features", "parquet"];
    let targets = ["--bin", "minigpt", "--test", "command_line"];
    let deny = ["--", "--deny=warnings"];
    cargo(&[&["clippy"], &parquet[..], &targets, &deny].concat())?;
    let reading = ["--test", "command_line", "parquet"];
    cargo(&[&["test"], &parquet[..], &reading].concat())
}

fn targets() -> Result<(), String> {
    let installed = output("rustup", &["target", "list", "--installed"]);
    for target in TARGETS {
        if !installed.lines().any(|line| line == target) {
            missing("targets", target, &format!("rustup target add {target}"))?;
            continue;
        }
        let package = ["--package", "minigpt-runtime", "--no-default-features"];
        let any_model = ["--features", "any-model", "--target", target];
        cargo(&[&["build", "--release"], &package[..], &any_model].concat())?;
        if target == DSP_TARGET {
            // Its kernels are cut by what a model needs.
            for feature in MODEL_FEATURES {
                let alone = ["--features", feature, "--target", target];
                let deny = ["--", "--deny=warnings"];
                cargo(&[&["clippy"], &package[..], &alone, &deny].concat())?;
            }
        }
    }
    Ok(())
}

fn miri() -> Result<(), String> {
    if !output("cargo", &["+nightly", "miri", "--version"]).starts_with("miri") {
        let install = "rustup toolchain install nightly --profile minimal -c miri -c rust-src";
        return missing("miri", "nightly Miri", install);
    }
    run(miri_command().args(MIRI_TESTS))?;
    if cfg!(target_arch = "x86_64") {
        run(miri_command().args(MIRI_AVX2_TESTS).env("RUSTFLAGS", AVX2))?;
    }
    Ok(())
}

/// Miri on the runtime's tests whose names follow.
fn miri_command() -> Command {
    let mut command = Command::new("cargo");
    command.args([
        "+nightly",
        "miri",
        "test",
        "--package",
        "minigpt-runtime",
        "--lib",
        "--",
    ]);
    // Cargo's variables name the stable toolchain that runs this.
    for stable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(stable);
    }
    command
}

/// Standard output of a command, empty if it cannot be run.
fn output(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(args).env_remove("RUSTUP_TOOLCHAIN").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// Says what is not there and how to get it; a failure if `MINIGPT_REQUIRE` names `kind`.
fn missing(kind: &str, what: &str, install: &str) -> Result<(), String> {
    let message = format!("{what} is not installed; to get it: {install}");
    let required = env::var("MINIGPT_REQUIRE").unwrap_or_default();
    if required.split(',').any(|name| name == kind) {
        return Err(message);
    }
    println!("xtask: skipped: {message}");
    Ok(())
}
