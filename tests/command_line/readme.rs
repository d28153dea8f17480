//! The README's `console` blocks are what the program prints.
#![cfg(unix)]

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{MINIGPT, stderr};

#[test]
fn the_readme_shows_what_the_program_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let dir = TempDir::new().unwrap();
    symlink(
        root.join("models").canonicalize().unwrap(),
        dir.path().join("models"),
    )
    .unwrap();
    let programs = dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(MINIGPT, programs.join("minigpt")).unwrap();
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let blocks = readme.split("```").skip(1).step_by(2);
    let mut n = 0;
    for block in blocks.filter_map(|block| block.strip_prefix("console\n")) {
        let commands = block
            .strip_prefix("$ ")
            .expect("a block begins with a command");
        for command in commands.split("\n$ ") {
            let (command, expected) = command.split_once('\n').unwrap_or((command, ""));
            let ran = Command::new("sh")
                .args(["-c", command])
                .current_dir(dir.path())
                .env("PATH", &path)
                .output()
                .unwrap();
            assert!(ran.status.success(), "{command}: {}", stderr(&ran));
            let told = String::from_utf8(ran.stdout.clone()).unwrap();
            assert_eq!(
                told.trim_end_matches('\n'),
                expected.trim_end_matches('\n'),
                "{command}"
            );
            n += 1;
        }
    }
    assert!(n >= 9, "{n}");
}
