//! Says which kernels the target is certain to have: stable Rust hides the feature `dsp`.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kernel_dsp, kernel_dsp_optional)");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    // The kernels use floating point as well.
    if target.ends_with("-eabihf") {
        if target.starts_with("thumbv7em-") {
            println!("cargo::rustc-cfg=kernel_dsp");
        }
        if target.starts_with("thumbv8m.main-") {
            println!("cargo::rustc-cfg=kernel_dsp");
            println!("cargo::rustc-cfg=kernel_dsp_optional");
        }
    }
}
