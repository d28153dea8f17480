//! Says which kernels suit the target: stable Rust hides the feature `dsp`, and whether there is floating
//! point.

use std::env;

fn main() {
    println!(
        "cargo::rustc-check-cfg=cfg(kernel_scalar, kernel_dsp, kernel_dsp_optional, kernel_thumb2, kernel_neon, kernel_bytewise, kernel_simd128, soft_float)"
    );
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    let integer_only = [
        "thumbv6m-",
        "thumbv7m-",
        "riscv32i-",
        "riscv32im",
        "riscv32e",
    ];
    let soft = integer_only.iter().any(|core| target.starts_with(core)) && !target.contains("imaf");
    if soft || target.starts_with("thumb") && target.ends_with("-eabi") {
        println!("cargo::rustc-cfg=soft_float");
    }
    let thumb2 = ["thumbv7m-", "thumbv7em-", "thumbv8m.main-"];
    if thumb2.iter().any(|core| target.starts_with(core)) && target.ends_with("-eabi") {
        println!("cargo::rustc-cfg=kernel_thumb2");
    }
    // The kernels use floating point as well.
    let hard_float = target.ends_with("-eabihf");
    let dsp = hard_float && target.starts_with("thumbv7em-");
    let dsp_optional = hard_float && target.starts_with("thumbv8m.main-");
    if dsp || dsp_optional {
        println!("cargo::rustc-cfg=kernel_dsp");
    }
    if dsp_optional {
        println!("cargo::rustc-cfg=kernel_dsp_optional");
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let has = |feature| features.split(',').any(|one| one == feature);
    if target.starts_with("aarch64-") && has("neon") {
        println!("cargo::rustc-cfg=kernel_neon");
        // Without an operating system memory may be such that wide accesses must be aligned.
        if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
            println!("cargo::rustc-cfg=kernel_bytewise");
        }
    }
    if target.starts_with("wasm32-") && has("simd128") {
        println!("cargo::rustc-cfg=kernel_simd128");
    }
    // Where every core of the target has the extension, nothing else takes room.
    if !dsp {
        println!("cargo::rustc-cfg=kernel_scalar");
    }
}
