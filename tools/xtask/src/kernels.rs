//! The runtime on processors that this machine is not: NEON under QEMU, WebAssembly's vectors under Node.

mod count;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{missing, output, run};

/// What else it does.
pub(crate) const USAGE: &str = "\
kernels --count                    counts instructions of a token on NEON, into benches/results/kernels.csv";

/// Where programs are kept.
const FOLDER: &str = "target/kernels";

/// What runs programs of [`WASM`] under Node.
const WASI: &str = "tools/xtask/src/kernels/wasi.mjs";

const ARM: &str = "aarch64-unknown-linux-musl";
const WASM: &str = "wasm32-wasip1";

/// A processor and what stands for it here.
pub(crate) struct Processor {
    /// As QEMU calls a core.
    pub(crate) name: &'static str,
    target: &'static str,
    /// What the compiler is told.
    flags: &'static str,
    /// The instruction sets that the runtime must find.
    sets: &'static [&'static str],
}

const ALL: [Processor; 3] = [
    Processor {
        name: "cortex-a53",
        target: ARM,
        // How memory is read on bare metal.
        flags: "--cfg=kernel_bytewise",
        sets: &["scalar", "neon"],
    },
    Processor {
        name: "cortex-a76",
        target: ARM,
        flags: "",
        sets: &["scalar", "neon", "neon-dotprod"],
    },
    Processor {
        name: "wasm32",
        target: WASM,
        flags: "-Ctarget-feature=+simd128",
        sets: &["scalar", "simd128"],
    },
];

/// The step itself: the runtime's tests on each processor.
pub(crate) fn check() -> Result<(), String> {
    for processor in Processor::all()? {
        let test = ["test", "--package", "minigpt-runtime", "--lib"];
        run(processor.cargo(&test)?.args(["--quiet", "--"]).args(TESTS))?;
        let found = said(&mut command(&processor.teller()?)?)?;
        let (found, expected) = (found.trim_end(), processor.sets.join("\n"));
        if found != expected {
            let name = processor.name;
            return Err(format!(
                "the runtime finds {found:?} on {name} and not {expected:?}"
            ));
        }
    }
    Ok(())
}

/// The figures of `cargo xtask kernels --count`.
pub(crate) fn count() -> Result<(), String> {
    for processor in Processor::all()? {
        processor.teller()?;
    }
    count::write()
}

/// What runs through kernels.
const TESTS: [&str; 4] = ["kernels::", "quant::", "self_test::", "session::"];

impl Processor {
    /// Those whose programs can be built and run here.
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        let installed = output("rustup", &["target", "list", "--installed"]);
        let mut all = Vec::new();
        for processor in ALL {
            let target = processor.target;
            if !installed.lines().any(|line| line == target) {
                missing("targets", target, &format!("rustup target add {target}"))?;
            } else if processor.has_runner()? {
                all.push(processor);
            }
        }
        Ok(all)
    }

    fn has_runner(&self) -> Result<bool, String> {
        let (kind, program, package) = match self.target {
            ARM => ("qemu", "qemu-aarch64", "qemu-user"),
            _ => ("node", "node", "nodejs"),
        };
        if !output(program, &["--version"]).is_empty() {
            return Ok(true);
        }
        let install = format!("apt-get install --no-install-recommends {package}");
        missing(kind, program, &install).map(|()| false)
    }

    /// What its programs are arguments of.
    fn runner(&self) -> Result<Vec<String>, String> {
        let here = env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
        let script = here.join(WASI).to_string_lossy().into_owned();
        Ok(match self.target {
            ARM => ["qemu-aarch64", "-cpu", self.name]
                .map(str::to_owned)
                .into(),
            _ => vec!["node".to_owned(), "--no-warnings".to_owned(), script],
        })
    }

    /// A run of cargo for it.
    fn cargo(&self, args: &[&str]) -> Result<Command, String> {
        let target = self.target.to_uppercase().replace('-', "_");
        let mut command = Command::new(env!("CARGO"));
        command.args(args).args(["--target", self.target]);
        command.env(
            format!("CARGO_TARGET_{target}_RUNNER"),
            self.runner()?.join(" "),
        );
        command.env(format!("CARGO_TARGET_{target}_RUSTFLAGS"), self.flags);
        if self.target == ARM {
            // With what Rust brings along, no other linker and no C library is needed.
            command.env(format!("CARGO_TARGET_{target}_LINKER"), "rust-lld");
        }
        Ok(command)
    }

    /// The example `tell` of the runtime on this processor, as a program and its first arguments.
    pub(crate) fn teller(&self) -> Result<Vec<String>, String> {
        let build = [
            "build",
            "--quiet",
            "--release",
            "--package",
            "minigpt-runtime",
        ];
        run(self.cargo(&build)?.args(["--example", "tell"]))?;
        let built = Path::new("target")
            .join(self.target)
            .join("release/examples");
        let built = match self.target {
            ARM => built.join("tell"),
            _ => built.join("tell.wasm"),
        };
        // One is built over the other.
        let program = self.program();
        fs::create_dir_all(FOLDER)
            .and_then(|()| fs::copy(&built, &program))
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut words = self.runner()?;
        words.push(program.to_string_lossy().into_owned());
        Ok(words)
    }

    /// Where [`Self::teller`] puts it.
    fn program(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(self.name)
    }

    /// The best of its instruction sets.
    pub(crate) fn best(&self) -> &'static str {
        self.sets.last().unwrap_or(&"scalar")
    }
}

/// A program and its first arguments.
pub(crate) fn command(words: &[String]) -> Result<Command, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Standard output of `command`; where it fails, what it says.
pub(crate) fn said(command: &mut Command) -> Result<String, String> {
    let out = command.output();
    let out = out.map_err(|error| format!("{command:?}: {error}"))?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}
