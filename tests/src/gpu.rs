//! A CUDA device for tests: the machine's own, or one that is simulated on the CPU.
#![allow(
    unsafe_code,
    reason = "loading a library is unsafe by nature; no other module of the tests does it"
)]

use core::ffi::{CStr, c_char, c_long};
use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use libloading::Library;

use crate::missing;

/// Whether backends can be made on a CUDA device in this process.
///
/// With `MINIGPT_GPU` in the environment that is the machine's first; otherwise it is simulated, for
/// which g++ compiles the kernels (`tests/cuda/simulator`).
///
/// # Panics
/// If the simulator does not compile, or there is no g++ and `MINIGPT_REQUIRE` lists `cc`.
#[must_use]
pub fn is_there() -> bool {
    env::var_os("MINIGPT_GPU").is_some() || loaded().is_some()
}

/// The simulator: whoever asks for a `libcuda.so` once it is loaded gets it.
fn loaded() -> Option<&'static Library> {
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    let load = || {
        let folder = simulator()?;
        // SAFETY: the library was compiled for this, and its initialisers do nothing but their own.
        let library = unsafe { Library::new(folder.join("libcuda.so")) };
        Some(library.expect("the simulator loads"))
    };
    LOADED.get_or_init(load).as_ref()
}

/// The calls of the driver that this thread has made so far and that reach a device, with how often each
/// was made, and under `waiting` how much it asked for that is not done; nothing where the device is not
/// simulated.
///
/// # Panics
/// As [`is_there`].
#[must_use]
pub fn calls() -> Option<BTreeMap<String, u64>> {
    let library = loaded()?;
    // SAFETY: the function is the simulator's own, of this type.
    let counts =
        unsafe { library.get::<unsafe extern "C" fn() -> *const c_char>(b"simulated_calls") };
    let counts = counts.expect("the simulator counts calls");
    // SAFETY: it takes nothing.
    let text = unsafe { counts() };
    // SAFETY: the text ends in a zero and stays until this thread asks again.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_str().expect("names of functions");
    let call = |line: &str| {
        let (name, count) = line.split_once(' ').expect("a name and a number");
        (name.to_owned(), count.parse().expect("a number"))
    };
    Some(text.lines().map(call).collect())
}

/// The folder of a `libcuda.so` that simulates a device, for `LD_LIBRARY_PATH`; compiled if it is not
/// there, with AddressSanitizer if `MINIGPT_SANITIZE` is set. Nothing with `MINIGPT_GPU`.
///
/// # Panics
/// As [`is_there`].
#[must_use]
pub fn simulator() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(compiled).clone()
}

/// [`simulator`], which is asked for by many threads.
fn compiled() -> Option<PathBuf> {
    if env::var_os("MINIGPT_GPU").is_some() {
        return None;
    }
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        missing("cc", "a simulated GPU: it runs on x86-64 Linux alone");
        return None;
    }
    if Command::new("g++").arg("--version").output().is_err() {
        missing(
            "cc",
            "g++ to simulate a GPU; to get it: apt-get install g++",
        );
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (own, kernels) = (
        root.join("cuda/simulator"),
        root.join("../trainer/src/backend/cuda/kernels"),
    );
    let mut flags = vec!["-O2", "-march=native", "-std=c++17", "-fPIC", "-shared"];
    if env::var_os("MINIGPT_SANITIZE").is_some() {
        flags.extend(["-O1", "-g1", "-fsanitize=address"]);
    }
    let place = env::current_exe().expect("a test has a path");
    let name = format!("simulator-{:016x}", fingerprint(&flags, &[&own, &kernels]));
    let folder = place.with_file_name(name);
    compile(&folder.join("libcuda.so"), |compiler| {
        compiler.args(&flags).args(["-x", "c++"]);
        compiler.arg("-I").arg(&own).arg("-I").arg(&kernels);
        let files = ["fibres.cpp", "work.cpp", "driver.cpp"];
        compiler.args(files.map(|file| own.join(file)));
        compiler.arg(kernels.join("kernels.cu")).arg("-ldl");
    });
    compile(&folder.join(PRODUCTS).join("libcublasLt.so"), |compiler| {
        compiler.args(&flags).arg(own.join("lt.cpp"));
        compiler.arg("-L").arg(&folder).arg("-lcuda");
    });
    Some(folder)
}

/// The folder of a stand-in for cuBLASLt, in that of [`simulator`]: a machine may lack the one and have the
/// other.
const PRODUCTS: &str = "products";

/// Whether cuBLASLt is there for backends of this process: the machine's own, or a stand-in.
///
/// # Panics
/// As [`is_there`].
#[must_use]
pub fn multiplies() -> bool {
    if env::var_os("MINIGPT_GPU").is_none() {
        return products().is_some();
    }
    let names = ["libcublasLt.so", "libcublasLt.so.12"];
    let loads = |name: &&str| {
        // SAFETY: it is loaded as whoever uses it does.
        unsafe { Library::new(*name) }.is_ok()
    };
    names.iter().any(loads)
}

/// Objects of the stand-in for cuBLASLt that this thread made and did not give back; nothing where there is
/// none.
///
/// # Panics
/// As [`is_there`].
#[must_use]
pub fn objects() -> Option<i64> {
    // SAFETY: the function is the stand-in's own, of this type.
    let alive = unsafe { products()?.get::<unsafe extern "C" fn() -> c_long>(b"simulated_alive") };
    let alive = alive.expect("the stand-in counts its objects");
    // SAFETY: it takes nothing.
    Some(unsafe { alive() })
}

fn products() -> Option<&'static Library> {
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    let load = || {
        loaded()?;
        let library = simulator()?.join(PRODUCTS).join("libcublasLt.so");
        // SAFETY: as that which it stands on.
        Some(unsafe { Library::new(library) }.expect("the stand-in loads"))
    };
    LOADED.get_or_init(load).as_ref()
}

/// Has g++ make `library`, if it is not there, as `with` tells it.
fn compile(library: &Path, with: impl FnOnce(&mut Command)) {
    if library.exists() {
        return;
    }
    let folder = library.parent().expect("a library lies in a folder");
    fs::create_dir_all(folder).expect("the folder of tests is writable");
    // Other tests may be doing the same.
    let aside = folder.join(format!("{}.so", std::process::id()));
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let mut compiler = Command::new("g++");
    // A sanitizer that watches this process is not for the compiler.
    compiler.env_remove("LD_PRELOAD");
    with(&mut compiler);
    compiler.arg(format!("-Wl,-soname,{name}"));
    let output = compiler.arg("-o").arg(&aside).output().expect("g++ starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the simulator: {errors}");
    fs::rename(&aside, library).expect("the folder of tests is writable");
}

/// Of the compiler's flags and all files in `folders`.
fn fingerprint(flags: &[&str], folders: &[&PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    flags.hash(&mut hasher);
    for folder in folders {
        let entries = fs::read_dir(folder).expect("the sources are there");
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            fs::read(file)
                .expect("a source is readable")
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}
