//! The module for WebAssembly, under Node.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::super::{missing, output};
use super::{EVERYTHING, FOLDER, folder_of, header, is_installed, lay_out, read, texts, told};

const TARGET: &str = "wasm32-unknown-unknown";

/// Says the functions of a module, one a line.
const EXPORTS: &str = "const m = new WebAssembly.Module(require('fs').readFileSync(process.argv[1])); \
     for (const e of WebAssembly.Module.exports(m)) if (e.kind === 'function') console.log(e.name)";

/// The module exports the header's functions and says the texts.
pub(super) fn check() -> Result<(), String> {
    if !is_installed(TARGET) {
        return missing("targets", TARGET, &format!("rustup target add {TARGET}"));
    }
    let installed = folder_of(TARGET);
    lay_out(TARGET, EVERYTHING, &installed)?;
    if output("node", &["--version"]).is_empty() {
        return missing("node", "node", "apt-get install nodejs");
    }
    let module = installed.join("lib/minigpt.wasm");
    let exported = told(Command::new("node").args(["-e", EXPORTS]).arg(&module))?;
    let exported: BTreeSet<String> = exported.lines().map(str::to_owned).collect();
    let declared = header::functions(&read(&Path::new(FOLDER).join("include/minigpt.h"))?);
    if exported != declared {
        return Err(format!(
            "minigpt.wasm exports {exported:?} and minigpt.h declares {declared:?}"
        ));
    }
    let texts = texts::all()?;
    for text in &texts {
        let mut command = Command::new("node");
        command.arg(installed.join("examples/wasm/generate.mjs"));
        command.arg(text.model());
        command.args(["--prompt", &text.prompt, "--kv", "f16"]);
        command.args(["--temperature", &text.temperature.to_string()]);
        command.args(["--top-p", &text.top_p.to_string()]);
        command.args(["--seed", &text.seed.to_string()]);
        command.args(["--max-tokens", &text.max_tokens.to_string()]);
        text.compare("generate.mjs", &told(&mut command)?)?;
    }
    println!(
        "xtask: wasm32 under Node: {} texts as on the desktop",
        texts.len()
    );
    Ok(())
}
