//! Instructions of a token on other processors, counted exactly by a plugin of QEMU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minigpt_runtime::Format;

use super::{ARM, FOLDER, Processor, command};
use crate::cost::about;
use crate::cost::shape::{STORIES, STORIES_15M};
use crate::{missing, output, run};

/// The plugin.
const SOURCE: &str = "tools/xtask/src/kernels/count.c";

/// The figures.
const TABLE: &str = "benches/results/kernels.csv";

const FORMATS: [Format; 4] = [Format::F32, Format::F16, Format::Q8, Format::Q4];

/// How keys and values are kept.
const KV: &str = "f16";

/// Tokens of the two runs whose difference is counted.
const TOKENS: [u64; 2] = [4, 20];

/// Counts, and writes the table.
pub(super) fn write() -> Result<(), String> {
    if output("cc", &["--version"]).is_empty() {
        return missing("cc", "cc", "apt-get install gcc");
    }
    let plugin = PathBuf::from(FOLDER).join("count.so");
    fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    let options = ["-O2", "-shared", "-fPIC", SOURCE, "-o"];
    run(Command::new("cc").args(options).arg(&plugin))?;
    let mut table = about("kernels --count");
    let [first, last] = TOKENS;
    table += &format!(
        "# instructions of a token, the mean of positions {first} to {last}, keys and values in {KV}; weights of no meaning\n\
         shape,format,core,set,instructions,of_scalar\n"
    );
    let processors = Processor::all()?;
    for shape in [STORIES, STORIES_15M] {
        for format in FORMATS {
            let model = shape.write(Path::new(FOLDER), format)?;
            for processor in processors.iter().filter(|one| one.target == ARM) {
                let mut scalar = None;
                for set in processor.sets {
                    let count = |tokens| count(processor, &plugin, &model, set, tokens);
                    let token = (count(last)? - count(first)?) / (last - first);
                    let share = token as f64 / *scalar.get_or_insert(token) as f64;
                    let (name, format, core) = (shape.name, format.name(), processor.name);
                    let line = format!("{name},{format},{core},{set},{token},{share:.3}\n");
                    print!("{line}");
                    table += &line;
                }
            }
            // Some have 60 MB.
            fs::remove_file(&model).map_err(|error| format!("{}: {error}", model.display()))?;
        }
    }
    fs::write(TABLE, table).map_err(|error| format!("{TABLE}: {error}"))
}

/// Instructions of a run of so many tokens.
fn count(
    processor: &Processor,
    plugin: &Path,
    model: &Path,
    set: &str,
    tokens: u64,
) -> Result<u64, String> {
    let mut words = processor.runner()?;
    words.extend(["-plugin".to_owned(), plugin.to_string_lossy().into_owned()]);
    words.push(processor.program().to_string_lossy().into_owned());
    let mut command = command(&words)?;
    command.arg(model).args([
        format!("--isa={set}"),
        format!("--kv={KV}"),
        format!("--max-tokens={tokens}"),
    ]);
    let out = command.args(["--temperature=0", "--prompt=O"]).output();
    let out = out.map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    let counted = said
        .lines()
        .find_map(|line| line.strip_prefix("instructions "));
    counted
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| format!("{command:?}: {}; it said: {said}", out.status))
}
