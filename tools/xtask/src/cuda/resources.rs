//! What the compiler says that each kernel takes, as a table.

use std::collections::BTreeMap;

/// First line of the table.
pub(super) const HEADER: &str = "target,kernel,registers,shared_bytes,stack_bytes,spilled_bytes\n";

/// Lines of the kernels for `target` that the compiler's `log` is about, by name.
pub(super) fn rows(target: &str, log: &str) -> Result<String, String> {
    let mut rows = BTreeMap::new();
    let (mut kernel, mut stack) = ("", (0, 0));
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap_or_default();
        } else if line.contains("bytes stack frame") {
            let frame = number_before(line, " bytes stack frame")?;
            let spilled = number_before(line, " bytes spill stores")?
                + number_before(line, " bytes spill loads")?;
            stack = (frame, spilled);
        } else if line.contains(" registers") {
            let registers = number_before(line, " registers")?;
            let shared = match line.contains(" bytes smem") {
                true => number_before(line, " bytes smem")?,
                false => 0,
            };
            let (frame, spilled) = stack;
            let row = format!("{target},{kernel},{registers},{shared},{frame},{spilled}\n");
            rows.insert(kernel, row);
        }
    }
    match rows.is_empty() {
        true => Err(format!("the compiler says nothing about {target}: {log}")),
        false => Ok(rows.into_values().collect()),
    }
}

fn number_before(line: &str, words: &str) -> Result<u64, String> {
    let before = line.split(words).next().unwrap_or_default();
    let number = before.rsplit([' ', '.']).next().unwrap_or_default();
    let number = number.parse();
    number.map_err(|_| format!("no number before {words:?} in the compiler's line: {line}"))
}
