//! The C library: laid out for a target by `cargo xtask capi`, and checked by the step `capi-test`.

mod bare;
mod browser;
mod header;
mod programs;
mod readme;
mod texts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{MODEL_FEATURES, output, run};

/// The library's folder.
const FOLDER: &str = "runtime/capi";

/// What a shared library is looked up by; `runtime/capi/build.rs` writes it into the library.
const SONAME: &str = "libminigpt.so.0";

/// System libraries that the static library uses on a host.
const SYSTEM_LIBRARIES: &str = if cfg!(target_os = "macos") {
    "-lSystem -lc -lm"
} else {
    "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"
};

/// Where the check lays out a target's library.
fn folder_of(target: &str) -> PathBuf {
    Path::new("target/capi-check").join(target)
}

/// Weight formats that can be built in.
const FORMATS: &str = "f32,f16,q8,q8-dsp,q4";

/// All that can be built in.
const EVERYTHING: &str = "f32,f16,q8,q8-dsp,q4,any-model";

/// `cargo xtask capi [--target T] [--simd128] [--formats F,F] [--parts P,P] -o DIR`.
pub(crate) fn command(args: &[&str]) -> Result<(), String> {
    const USAGE: &str = "usage: cargo xtask capi [--target TRIPLE] [--simd128] [--formats f32,f16,q8,q8-dsp,q4] \
                         [--parts rope,rms-norm,...] -o DIR";
    let (mut target, mut formats, mut parts, mut out) = (None, None, None, None);
    let mut vectors = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let place = match *arg {
            "--simd128" => {
                vectors = true;
                continue;
            }
            "--target" => &mut target,
            "--formats" => &mut formats,
            "--parts" => &mut parts,
            "-o" | "--out" => &mut out,
            other => return Err(format!("{other:?} is no option; {USAGE}")),
        };
        let value = args.next();
        *place = Some(*value.ok_or_else(|| format!("{arg} needs a value; {USAGE}"))?);
    }
    let out = out.ok_or_else(|| format!("-o says where the library goes; {USAGE}"))?;
    let formats = formats.unwrap_or(FORMATS);
    if let Some(other) = formats
        .split(',')
        .find(|f| !FORMATS.split(',').any(|known| known == *f))
    {
        return Err(format!(
            "{other:?} is no weight format; those are {FORMATS}"
        ));
    }
    let parts = parts.map_or_else(|| Ok("any-model".to_owned()), runtime_features)?;
    let host = host()?;
    let target = target.unwrap_or(&host);
    if target != host && !is_installed(target) {
        return Err(format!(
            "{target} is not installed; to get it: rustup target add {target}"
        ));
    }
    let kind = match (Kind::of(target)?, vectors) {
        (Kind::Module, true) => Kind::VectorModule,
        (_, true) => return Err(format!("--simd128 is for wasm32 and not for {target}")),
        (kind, false) => kind,
    };
    let features = format!("{formats},{parts}");
    lay_out_as(kind, target, &features, Path::new(out))?;
    println!("xtask: the C library for {target} is in {out}");
    Ok(())
}

/// The features of the runtime for `parts`, what a model needs besides its weight format.
fn runtime_features(parts: &str) -> Result<String, String> {
    let features = parts.split(',').map(|part| {
        if MODEL_FEATURES.contains(&part) {
            Ok(format!("minigpt-runtime/{part}"))
        } else {
            let known = MODEL_FEATURES.join(",");
            Err(format!("{part:?} is no part of models; those are {known}"))
        }
    });
    Ok(features.collect::<Result<Vec<_>, _>>()?.join(","))
}

/// The step itself.
pub(crate) fn check() -> Result<(), String> {
    let host = host()?;
    let hosted = folder_of(&host);
    lay_out(&host, EVERYTHING, &hosted)?;
    header::check(&hosted)?;
    programs::check(&hosted)?;
    bare::check(&hosted.join(header::CALLER))?;
    browser::check()?;
    readme::check()
}

fn host() -> Result<String, String> {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host; reinstall Rust with rustup".to_owned())
}

fn is_installed(target: &str) -> bool {
    let installed = output("rustup", &["target", "list", "--installed"]);
    installed.lines().any(|line| line == target)
}

/// What kind of library a target has.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Static and shared, with the standard library.
    Hosted,
    /// Static, without an operating system.
    Bare,
    /// A module for WebAssembly, small.
    Module,
    /// A fast one, with its vectors.
    VectorModule,
}

impl Kind {
    /// The profile of Cargo that it is built with.
    const fn profile(self) -> &'static str {
        match self {
            Self::Hosted | Self::VectorModule => "capi",
            Self::Bare | Self::Module => "capi-small",
        }
    }

    fn of(target: &str) -> Result<Self, String> {
        if target.starts_with("wasm32") {
            Ok(Self::Module)
        } else if target.contains("-none-") {
            Ok(Self::Bare)
        } else if target.contains("-linux-") || target.contains("-darwin") {
            Ok(Self::Hosted)
        } else {
            Err(format!(
                "{target} has no layout yet; Linux, macOS, bare metal (-none-) and wasm32 do"
            ))
        }
    }
}

/// Builds the library for `target` with `features` and writes what C programs need to `out`.
fn lay_out(target: &str, features: &str, out: &Path) -> Result<(), String> {
    lay_out_as(Kind::of(target)?, target, features, out)
}

/// [`lay_out`] of a kind that the target alone does not tell.
fn lay_out_as(kind: Kind, target: &str, features: &str, out: &Path) -> Result<(), String> {
    build(target, features, kind)?;
    let built = Path::new("target").join(target).join(kind.profile());
    let lib = out.join("lib");
    copy(&Path::new(FOLDER).join("include"), &out.join("include"))?;
    copy(&Path::new(FOLDER).join("examples"), &out.join("examples"))?;
    for name in ["README.md", "../../LICENSE-MIT", "../../LICENSE-APACHE"] {
        let from = Path::new(FOLDER).join(name);
        copy(&from, &out.join(from.file_name().unwrap_or_default()))?;
    }
    match kind {
        Kind::Module | Kind::VectorModule => {
            let module = lib.join("minigpt.wasm");
            return copy(&built.join("minigpt_capi.wasm"), &module);
        }
        Kind::Hosted => shared(&built, &lib)?,
        Kind::Bare => {}
    }
    copy(&built.join("libminigpt_capi.a"), &lib.join("libminigpt.a"))?;
    package_files(kind, &lib)
}

fn build(target: &str, features: &str, kind: Kind) -> Result<(), String> {
    let (feature, types) = match kind {
        Kind::Hosted => ("std", "staticlib,cdylib"),
        Kind::Bare => ("panic-handler", "staticlib"),
        Kind::Module | Kind::VectorModule => ("panic-handler", "cdylib"),
    };
    let mut command = Command::new(env!("CARGO"));
    command.args(["rustc", "--package=minigpt-capi", "--no-default-features"]);
    command.args(["--features", &format!("{features},{feature}")]);
    command.args(["--target", target, "--profile", kind.profile()]);
    command.args(["--crate-type", types]);
    if kind == Kind::VectorModule {
        let flags = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
        command.env(flags, "-Ctarget-feature=+simd128");
    }
    run(&mut command)
}

/// The shared library under its own name, and the name that linkers look for.
fn shared(built: &Path, lib: &Path) -> Result<(), String> {
    if cfg!(target_os = "macos") {
        let name = "libminigpt.dylib";
        return copy(&built.join("libminigpt_capi.dylib"), &lib.join(name));
    }
    copy(&built.join("libminigpt_capi.so"), &lib.join(SONAME))?;
    let link = lib.join("libminigpt.so");
    // There is none the first time.
    let _ = fs::remove_file(&link);
    #[cfg(unix)]
    std::os::unix::fs::symlink(SONAME, &link).map_err(|e| format!("{}: {e}", link.display()))?;
    Ok(())
}

/// pkg-config's and CMake's files, with the version and the libraries in them.
fn package_files(kind: Kind, lib: &Path) -> Result<(), String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let libraries = match kind {
        Kind::Hosted => SYSTEM_LIBRARIES,
        Kind::Bare | Kind::Module | Kind::VectorModule => "",
    };
    let values = [
        ("@VERSION@", version),
        ("@MAJOR@", parts.next().unwrap_or_default()),
        ("@MINOR@", parts.next().unwrap_or_default()),
        ("@SYSTEM_LIBRARIES@", libraries),
        ("@SONAME@", SONAME),
    ];
    for (name, folder) in [
        ("minigpt.pc", "pkgconfig"),
        ("minigpt-config.cmake", "cmake/minigpt"),
        ("minigpt-config-version.cmake", "cmake/minigpt"),
    ] {
        let template = Path::new(FOLDER).join("package").join(format!("{name}.in"));
        let mut text = read(&template)?;
        for (key, value) in values {
            text = text.replace(key, value);
        }
        write(&lib.join(folder).join(name), &text)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file, and the folders it is in.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).map_err(|e| failed(from, e))? {
            let entry = entry.map_err(|e| failed(from, e))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(|e| failed(to, e))?;
    // A program that runs, or is mapped, from the old file keeps it.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(|e| failed(from, e))?;
    Ok(())
}

/// Standard output of a command that is to succeed.
fn told(command: &mut Command) -> Result<String, String> {
    let out = command.output();
    let out = out.map_err(|error| format!("{command:?}: {error}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let status = out.status;
    Err(format!("{command:?}: {status}\n{said}"))
}
