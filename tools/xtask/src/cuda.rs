//! The CUDA kernels as they lie in `trainer/src/backend/cuda/kernels/prebuilt` and inside `minigpt`: one
//! PTX, and programs of the devices that are named, made by NVIDIA's compiler NVRTC; and a table of what
//! they take.

mod nvrtc;
mod resources;

use std::fs;
use std::path::{Path, PathBuf};

use self::nvrtc::{Compiled, Nvrtc, Source};
use super::missing;

const KERNELS: &str = "trainer/src/backend/cuda/kernels";

/// What is compiled for, and the kind of file that comes of it.
const TARGETS: [(&str, &str); 5] = [
    ("compute_80", "ptx"),
    ("sm_80", "cubin"),
    ("sm_86", "cubin"),
    ("sm_89", "cubin"),
    ("sm_90a", "cubin"),
];

/// Where pip puts the compiler if it is told to.
const COMPILER: &str = "target/nvrtc";

/// The level of compression.
const BEST: u8 = 10;

/// Makes all of it anew.
pub(crate) fn write() -> Result<(), String> {
    let Some(all) = compile_all()? else {
        return Ok(());
    };
    let mut total = 0;
    for ((target, kind), compiled) in TARGETS.iter().zip(&all) {
        let deflated = miniz_oxide::deflate::compress_to_vec(&compiled.image, BEST);
        let path = image(target, kind);
        fs::write(&path, &deflated).map_err(|error| failed(&path, error))?;
        let (whole, deflated) = (compiled.image.len(), deflated.len());
        println!("xtask: {}: {deflated} bytes, of {whole}", path.display());
        total += deflated;
    }
    println!("xtask: {total} bytes in all");
    let path = table();
    fs::write(&path, resources_of(&all)?).map_err(|error| failed(&path, error))
}

/// The step: what lies there is what the sources make.
pub(crate) fn check() -> Result<(), String> {
    let Some(all) = compile_all()? else {
        return Ok(());
    };
    let advice = "run cargo xtask cuda";
    for ((target, kind), compiled) in TARGETS.iter().zip(&all) {
        let path = image(target, kind);
        let found = fs::read(&path).map_err(|error| failed(&path, error))?;
        let found = miniz_oxide::inflate::decompress_to_vec(&found).ok();
        if found.as_ref() != Some(&compiled.image) {
            let path = path.display();
            return Err(format!("{path} is not what the sources make; {advice}"));
        }
    }
    let path = table();
    let found = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    match found == resources_of(&all)? {
        true => Ok(()),
        false => Err(format!(
            "{} is not what the kernels take; {advice}",
            path.display()
        )),
    }
}

/// The kernels for each target; nothing where there is no compiler.
fn compile_all() -> Result<Option<Vec<Compiled>>, String> {
    let Some(nvrtc) = Nvrtc::load(&Path::new(COMPILER).join("nvidia/cuda_nvrtc/lib"))? else {
        let install = format!(
            "python3 -m pip install --target {COMPILER} --no-deps nvidia-cuda-nvrtc-cu12=={}",
            nvrtc::PACKAGE
        );
        return missing("nvrtc", "NVIDIA's compiler NVRTC", &install).map(|()| None);
    };
    let source = Source::read(Path::new(KERNELS))?;
    let compiled = TARGETS.iter().map(|(target, kind)| {
        let compiled = nvrtc.compile(&source, target, kind)?;
        println!("xtask: compiled for {target}");
        Ok(compiled)
    });
    compiled.collect::<Result<_, String>>().map(Some)
}

/// The table of all programs.
fn resources_of(all: &[Compiled]) -> Result<String, String> {
    let mut text = String::from(resources::HEADER);
    for ((target, kind), compiled) in TARGETS.iter().zip(all) {
        if *kind == "cubin" {
            text += &resources::rows(target, &compiled.log)?;
        }
    }
    Ok(text)
}

fn image(target: &str, kind: &str) -> PathBuf {
    Path::new(KERNELS).join(format!("prebuilt/{target}.{kind}.deflate"))
}

fn table() -> PathBuf {
    Path::new(KERNELS).join("prebuilt/resources.csv")
}

fn failed(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
