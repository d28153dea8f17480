//! The header against the library that is linked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::super::{missing, output};
use super::{FOLDER, read, told, write};

/// A program that calls for each function of the header, where the library of this machine lies.
pub(super) const CALLER: &str = "every.c";

/// Compares the functions of the header with those that the libraries export, and links every one.
pub(super) fn check(installed: &Path) -> Result<(), String> {
    let declared = functions(&read(&Path::new(FOLDER).join("include/minigpt.h"))?);
    write(&installed.join(CALLER), &caller(&declared))?;
    if output("nm", &["--version"]).is_empty() {
        return missing("cc", "nm", "apt-get install binutils");
    }
    let shared = told(
        Command::new("nm")
            .args(["-D", "--defined-only", "-P"])
            .arg(installed.join("lib/libminigpt.so")),
    )?;
    let every: BTreeSet<String> = symbols(&shared).collect();
    same(&declared, &every, "libminigpt.so exports")?;
    let archive = installed.join("lib/libminigpt.a");
    let fixed = told(
        Command::new("nm")
            .args(["-g", "--defined-only", "-P"])
            .arg(&archive),
    )?;
    let ours = symbols(&fixed).filter(|name| name.starts_with("minigpt_"));
    same(&declared, &ours.collect(), "libminigpt.a has")
}

/// The functions that the header declares.
pub(super) fn functions(header: &str) -> BTreeSet<String> {
    let code = without_comments(header);
    let declarations = code.split(';').filter(|text| !text.contains("typedef"));
    let names = declarations.filter_map(|declaration| {
        let (before, _) = declaration.split_once('(')?;
        before
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    });
    let ours = names.filter(|name| name.starts_with("minigpt_"));
    ours.map(str::to_owned).collect()
}

/// Without comments and preprocessor lines.
fn without_comments(header: &str) -> String {
    let mut parts = header.split("/*");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        code.push_str(part.split_once("*/").map_or("", |(_, rest)| rest));
    }
    let lines = code.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names in the answer of `nm -P`.
fn symbols(answer: &str) -> impl Iterator<Item = String> {
    let names = answer.lines().filter_map(|line| {
        let mut words = line.split(' ');
        words.next().filter(|_| words.next().is_some())
    });
    names.map(str::to_owned)
}

fn same(declared: &BTreeSet<String>, found: &BTreeSet<String>, what: &str) -> Result<(), String> {
    let lacks: Vec<_> = declared.difference(found).collect();
    let adds: Vec<_> = found.difference(declared).collect();
    if lacks.is_empty() && adds.is_empty() {
        return Ok(());
    }
    Err(format!(
        "minigpt.h declares {lacks:?} in vain, and {what} {adds:?} that it does not declare"
    ))
}

/// A C program that refers to each function, so that linking it needs all of them.
fn caller(functions: &BTreeSet<String>) -> String {
    let casts = functions.iter().map(|name| format!("    (any)&{name},\n"));
    let table: String = casts.collect();
    let n = functions.len();
    format!(
        "#include <minigpt.h>\ntypedef void (*any)(void);\nstatic const any every[] = {{\n{table}}};\n\
         int main(void) {{\n    for (int i = 0; i < {n}; i++) {{\n        if (every[i] == NULL) return 1;\n    }}\n    return 0;\n}}\n"
    )
}
