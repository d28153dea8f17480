//! Data from elsewhere: addresses, JSON lines, Parquet, and what is wrong with them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

#[cfg(feature = "parquet")]
use minigpt_tests::python;

use crate::train::command;
use crate::{MINIGPT, SMALL, assert_refused, directory, stderr};

/// `minigpt train` on a small model, with its cache in `cache` and no way to the web.
fn train(dir: &Path, args: &[&str]) -> Output {
    let mut command = command(dir, args);
    command.args(SMALL).env("XDG_CACHE_HOME", dir.join("cache"));
    // Nobody listens at port 9 of this machine.
    command.env("HTTPS_PROXY", "http://127.0.0.1:9");
    command.env("NO_PROXY", "127.0.0.1").env("HOME", dir);
    command.output().unwrap()
}

/// Serves `files` by name, each connection one, for as long as the test runs.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let n = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let wanted = files
                .iter()
                .find(|(name, _)| head.contains(&format!("/{name} ")));
            let (status, body) = match wanted {
                Some((_, body)) => ("200 OK", &body[..]),
                None => ("404 Not Found", &b""[..]),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )
            .and_then(|()| stream.write_all(body));
        }
    });
    url
}

fn lines() -> Vec<u8> {
    let line = |i| format!("{{\"id\": {i}, \"text\": \"Fish number {i} is a red fish.\"}}\n");
    (0..60).map(line).collect::<String>().into_bytes()
}

#[test]
fn an_address_is_data_and_comes_once() {
    let dir = directory();
    let dir = dir.path();
    let url = serve(vec![("fish.jsonl", lines()), ("val.txt", lines())]);
    let (data, val) = (format!("{url}/fish.jsonl"), format!("{url}/val.txt"));
    let args = ["--data", &data, "--val-data", &val, "--tokenizer=bpe:270"];
    let output = train(dir, &args);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("downloading {data}")), "{said}");
    // The run is called as the file is, and its settings say where the data came from.
    let config = fs::read_to_string(dir.join("runs/fish/config.toml")).unwrap();
    assert!(
        config.contains(&data) && config.contains("bytes = "),
        "{config}"
    );
    let output = train(dir, &args);
    let said = stderr(&output);
    assert!(
        output.status.success() && said.contains("this run is finished"),
        "{said}"
    );
    assert!(!said.contains("downloading"), "{said}");
}

#[test]
fn a_set_that_changed_under_a_run_is_refused_with_what_changed() {
    let dir = directory();
    let dir = dir.path();
    let old = serve(vec![("a.txt", lines())]);
    let first = format!("{old}/a.txt");
    assert!(
        train(dir, &["--data", &first, "--out", "run"])
            .status
            .success()
    );
    let mut changed = lines();
    changed.extend(b"and one fish more");
    let new = serve(vec![("a.txt", changed)]);
    let second = format!("{new}/a.txt");
    let output = train(dir, &["--data", &second, "--out", "run"]);
    let words = [
        "data file is",
        &first,
        "there and",
        &second,
        "another --out",
    ];
    assert_refused_after_download(&output, 2, &words);
}

/// As [`assert_refused`], after the line that says what is downloaded.
fn assert_refused_after_download(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let said = text
        .lines()
        .filter(|line| !line.starts_with("downloading "));
    assert_eq!(said.count(), 1, "{text}");
}

#[test]
fn bad_addresses_are_one_sentence() {
    let dir = directory();
    let dir = dir.path();
    let url = serve(vec![("a.txt", lines())]);
    let absent = format!("{url}/b.txt");
    let wrong = format!("{url}/a.txt#sha256={}", "0".repeat(64));
    let cases: [(&str, i32, &[&str]); 7] = [
        (
            "shakespeare",
            1,
            &[
                "cannot reach raw.githubusercontent.com",
                "shakespeare is not in the cache",
                "the built-in stories",
            ],
        ),
        ("hf:o/n/f.txt", 1, &["cannot reach huggingface.co"]),
        (&absent, 1, &["status 404", "check the address"]),
        (&wrong, 1, &["has the SHA-256", "and is not kept"]),
        ("http://a.org/a", 2, &["use https://"]),
        ("wikitext2", 2, &["did you mean wikitext-2?"]),
        (
            "foo",
            2,
            &["there is no file foo;", "tinystories", "check the path"],
        ),
    ];
    for (data, code, words) in cases {
        assert_refused_after_download(&train(dir, &["--data", data]), code, words);
    }
    assert!(!dir.join("runs").exists() || fs::read_dir(dir.join("runs")).unwrap().count() == 0);
}

#[test]
fn broken_lines_are_named() {
    let dir = directory();
    let dir = dir.path();
    fs::write(
        dir.join("bad.jsonl"),
        "{\"text\": \"a\"}\n{\"text\": \"b\"\n",
    )
    .unwrap();
    fs::write(dir.join("other.jsonl"), "{\"content\": \"a\"}\n").unwrap();
    fs::write(dir.join("empty.jsonl"), "\n\n").unwrap();
    fs::create_dir(dir.join("shards")).unwrap();
    fs::write(dir.join("shards/a.jsonl"), lines()).unwrap();
    fs::write(dir.join("shards/b.jsonl"), "").unwrap();
    fs::write(dir.join("no.parquet"), "PAR1 and not").unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("bad.jsonl", &["bad.jsonl, line 2: EOF"]),
        (
            "other.jsonl",
            &[
                "line 1 has no text under text",
                "content (text)",
                "--text-field",
            ],
        ),
        ("empty.jsonl", &["empty.jsonl is empty"]),
        ("shards", &["shards/b.jsonl is empty", "take it out"]),
    ];
    for (file, words) in cases {
        assert_refused(&train(dir, &["--data", file]), 2, words);
    }
    let parquet = train(dir, &["--data", "no.parquet"]);
    let words = match cfg!(feature = "parquet") {
        true => "is no Parquet file that can be read",
        false => "built with --features parquet",
    };
    assert_refused(&parquet, 2, &["no.parquet is", words]);
    fs::write(dir.join("long.jsonl"), lines()).unwrap();
    let output = train(dir, &["--data", "long.jsonl", "--text-field=id"]);
    assert_refused(
        &output,
        2,
        &["no text under id", "id (a number), text (text)"],
    );
    let output = train(
        dir,
        &["--data", "long.jsonl", "--text-field=text", "--out=b"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_text_may_be_larger_than_memory() {
    let dir = directory();
    let text = "One fish, two fish, red fish, blue fish. ".repeat(2_000_000);
    fs::write(dir.path().join("large.txt"), &text).unwrap();
    // Memory of the program's own, as against files that are mapped, in units of 1024 bytes.
    let limit = 72_000;
    assert!(text.len() > limit * 1024);
    let limited = format!("ulimit -d {limit}; exec \"$0\" train \"$@\"");
    let output = Command::new("sh")
        .current_dir(dir.path())
        .args(["-c", &limited, MINIGPT])
        .args(["--data", "large.txt", "--tokenizer=bpe:300", "--out=run"])
        .args(SMALL)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let tokens = fs::metadata(dir.path().join("run/data/train.u16")).unwrap();
    assert!(tokens.len() > 10_000_000);
}

/// Makes a file as most data sets come, with the library that most are made with.
#[cfg(feature = "parquet")]
const MAKE: &str = "
import sys, pyarrow as pa, pyarrow.parquet as pq
texts = [None if i % 10 == 9 else f'Fish number {i} is a red fish.' for i in range(3000)]
table = pa.table({'id': list(range(3000)), 'text': texts, 'tags': [['a']] * 3000})
for codec in ['snappy', 'zstd', 'none']:
    pq.write_table(table, f'{sys.argv[1]}/{codec}.parquet', compression=codec, row_group_size=1000)
pq.write_table(table.slice(0, 0), f'{sys.argv[1]}/empty.parquet')
";

#[test]
#[cfg(feature = "parquet")]
fn parquet_holds_the_same_texts_as_lines() {
    let Some(mut python) = python("pyarrow") else {
        return;
    };
    let dir = directory();
    let dir = dir.path();
    let made = python.args(["-c", MAKE]).arg(dir).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let line = |i| match i % 10 {
        9 => String::new(),
        _ => format!("{{\"text\": \"Fish number {i} is a red fish.\"}}\n"),
    };
    let lines: String = (0..3000).map(line).collect();
    fs::write(dir.join("fish.jsonl"), lines).unwrap();
    let tokens = |file: &str| {
        let out = format!("--out=runs/{file}");
        let output = train(dir, &["--data", file, "--tokenizer=bpe:300", &out]);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(dir.join("runs").join(file).join("data/train.u16")).unwrap()
    };
    let expected = tokens("fish.jsonl");
    for file in ["snappy.parquet", "zstd.parquet", "none.parquet"] {
        assert!(tokens(file) == expected, "{file}");
    }
    let args = ["--data", "snappy.parquet", "--text-field"];
    let output = train(dir, &[&args[..], &["body"]].concat());
    let words = [
        "no column of texts called body",
        "id (INT64), text (text)",
        "lists of",
    ];
    assert_refused(&output, 2, &words);
    assert_refused(
        &train(dir, &[&args[..], &["id"]].concat()),
        2,
        &["called id"],
    );
    let output = train(dir, &["--data", "empty.parquet"]);
    assert_refused(&output, 2, &["empty.parquet is empty"]);
    let whole = fs::read(dir.join("none.parquet")).unwrap();
    fs::write(dir.join("cut.parquet"), &whole[..whole.len() / 2]).unwrap();
    let output = train(dir, &["--data", "cut.parquet"]);
    assert_refused(&output, 2, &["cut.parquet is no Parquet file"]);
}
