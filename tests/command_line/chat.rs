//! `minigpt chat`, from a pipe and on a terminal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::generation::storyteller;
use crate::inference::{json, run, stdout, trained};
use crate::{MINIGPT, assert_refused, stderr};

fn begin(dir: &Path, args: &[&str]) -> Child {
    Command::new(MINIGPT)
        .current_dir(dir)
        .arg("chat")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says to these lines.
fn chat(dir: &Path, args: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut child = begin(dir, args);
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap()
}

#[test]
fn an_answer_is_what_generate_says() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let same = ["--seed", "3", "--max-tokens", "30"];
    let output = chat(
        dir.path(),
        &[&[&model[..], "--template", "bare"], &same[..]].concat(),
        "One day\n",
    );
    let args = [&["generate", &model, "--prompt", "One day"], &same[..]].concat();
    let text = stdout(&run(dir.path(), &args));
    assert_eq!(format!("One day{}", stdout(&output)), text);
    // The plain template, and its stop: the answer is one line or the model's limit.
    let prompt = "Tell a story.\n\nUser: Hello\nAssistant:";
    let args = [
        &["generate", &model, "--prompt", prompt, "--stop", "\nUser:"],
        &same[..],
    ]
    .concat();
    let text = stdout(&run(dir.path(), &args));
    let output = chat(
        dir.path(),
        &[&[&model[..], "--system", "Tell a story."], &same[..]].concat(),
        "Hello",
    );
    let answer = text.strip_prefix(prompt).unwrap();
    assert_eq!(stdout(&output), answer.strip_prefix(' ').unwrap_or(answer));
}

#[test]
fn commands_do_what_they_say() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let dir = dir.path();
    let args = [&model[..], "--template", "bare", "--max-tokens", "12"];
    let input = "/seed 7\nOne day\n/seed 7\n/reset\nOne day\n/temp 0\n/reset\nOne day\n/seed 9\n/reset\nOne day\n\
                 /system Be kind.\n//etc\n/save talk.json\n/stats\n/help\n/quit\nnever said\n";
    let output = chat(dir, &args, input);
    let text = stdout(&output);
    let saved: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("talk.json")).unwrap()).unwrap();
    assert_eq!(saved["system"], "Be kind.");
    let said = |i: usize| saved["messages"][i]["content"].as_str().unwrap();
    assert_eq!((said(0), said(2)), ("One day", "/etc"));
    assert_eq!(saved["messages"][3]["role"], "assistant");
    assert_eq!(saved["messages"].as_array().unwrap().len(), 4);
    let answers: Vec<String> = [said(1), said(3)].map(str::to_owned).into();
    assert!(text.trim_end().ends_with(answers[1].trim_end()), "{text}");
    // The same seed and the temperature of 0 gave the same answers twice.
    let args = [
        &[
            "generate",
            &model,
            "--prompt",
            "One day",
            "--max-tokens",
            "12",
        ][..],
        &["--seed", "7"],
    ]
    .concat();
    let drawn = stdout(&run(dir, &args)).replacen("One day", "", 1);
    let args = [
        &[
            "generate",
            &model,
            "--prompt",
            "One day",
            "--max-tokens",
            "12",
        ][..],
        &["--temperature=0"],
    ]
    .concat();
    let likeliest = stdout(&run(dir, &args)).replacen("One day", "", 1);
    assert!(
        text.starts_with(&format!("{drawn}{drawn}{likeliest}{likeliest}")),
        "{text}"
    );
    for words in [
        "wrote talk.json: 4 messages",
        "5 answers",
        "temperature 0, seed 9",
        "/system TEXT",
    ] {
        assert!(
            stderr(&output).contains(words),
            "{words}: {}",
            stderr(&output)
        );
    }
    assert!(!text.contains("never said"));
    let output = chat(
        dir,
        &[&model, "--template", "bare", "--load", "talk.json"],
        "/stats\n/save again.json\n",
    );
    assert!(stderr(&output).contains("4 messages"));
    let files = ["talk.json", "again.json"].map(|name| fs::read(dir.join(name)).unwrap());
    assert_eq!(files[0], files[1]);
}

#[test]
fn a_long_conversation_keeps_the_system_text() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let args = [
        &model[..],
        "--system",
        "Tell of Lily.",
        "--max-tokens",
        "60",
        "--seed",
        "1",
        "--context",
        "96",
    ];
    let input = "And then?\n".repeat(8) + "/stats\n/save talk.json\n";
    let output = chat(dir.path(), &args, &input);
    assert!(output.status.success(), "{}", stderr(&output));
    let stats = stderr(&output);
    assert!(
        stats.contains("8 answers") && stats.contains("16 messages, the first"),
        "{stats}"
    );
    assert!(!stats.contains("the first 0 left out"), "{stats}");
    // One answer that outgrows the context goes on, too.
    let args = [
        &model[..],
        "--system",
        "Tell of Lily.",
        "--context",
        "64",
        "--max-tokens",
        "200",
        "--seed",
        "1",
    ];
    let eos =
        json(&run(dir.path(), &["inspect", &model, "--json"]))["tokenizer"]["eos"].to_string();
    let output = chat(
        dir.path(),
        &[&args[..], &["--ban", &eos]].concat(),
        "Go on.\n/stats\n",
    );
    assert!(
        stderr(&output).contains("1 answers, 200 tokens"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("of 64 tokens"));
    let long = "fish ".repeat(100) + "\n";
    assert_refused(
        &chat(dir.path(), &args, &long),
        2,
        &["the system text with the message has", "holds 64"],
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let eos =
        json(&run(dir.path(), &["inspect", &model, "--json"]))["tokenizer"]["eos"].to_string();
    let args = [
        &model[..],
        "--max-tokens",
        "1000000000",
        "--ban",
        &eos,
        "--template",
        "bare",
    ];
    let mut child = begin(dir.path(), &args);
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut await_line = |words: &str| {
        let found = said.find(|line| line.as_ref().unwrap().contains(words));
        assert!(found.is_some(), "it never said {words:?}");
    };
    // The answer has no end of its own, and nothing is said before it but this.
    input.write_all(b"One day\n").unwrap();
    output.read_exact(&mut [0; 30]).unwrap();
    let drain = std::thread::spawn(move || {
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).unwrap();
        rest
    });
    interrupt(&child);
    await_line("stopped");
    input.write_all(b"/stats\n").unwrap();
    await_line("1 answers, ");
    // With no answer to stop, it ends the program.
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(String::from_utf8(drain.join().unwrap()).is_ok());
    drop(input);
}

/// Sends what Ctrl-C sends.
#[cfg(unix)]
fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
}

#[test]
fn a_template_travels_in_the_model_file() {
    let dir = trained();
    fs::write(
        dir.join("chat.jinja"),
        "{% for m in messages %}{{ m.content + ' fish, ' }}{% endfor %}",
    )
    .unwrap();
    let args = [
        "export",
        "runs/fish",
        "--chat-template",
        "chat.jinja",
        "-o",
        "chat.mgpt",
        "--measure=0",
    ];
    stdout(&run(dir, &args));
    let report = json(&run(dir, &["inspect", "chat.mgpt", "--json"]));
    assert_eq!(
        report["chat_template"],
        fs::read_to_string(dir.join("chat.jinja")).unwrap()
    );
    assert!(
        stdout(&run(dir, &["inspect", "chat.mgpt"])).contains("a chat template of 62 characters")
    );
    let same = ["--seed", "4", "--max-tokens", "9"];
    let answer = stdout(&chat(dir, &[&["chat.mgpt"], &same[..]].concat(), "red\n"));
    let text = stdout(&run(
        dir,
        &[
            &["generate", "chat.mgpt", "--prompt", "red fish, "],
            &same[..],
        ]
        .concat(),
    ));
    assert_eq!(format!("red fish, {answer}"), text);
    // The weights are the same.
    stdout(&run(
        dir,
        &["export", "runs/fish", "-o", "plain.mgpt", "--measure=0"],
    ));
    let bits =
        |model| json(&run(dir, &["eval", model, "--data", "fish.txt", "--json"]))["loss"].clone();
    assert_eq!(bits("chat.mgpt"), bits("plain.mgpt"));
    fs::write(dir.join("bad.jinja"), "{% if %}").unwrap();
    let args = [
        "export",
        "runs/fish",
        "--chat-template",
        "bad.jinja",
        "-o",
        "bad.mgpt",
    ];
    assert_refused(&run(dir, &args), 2, &["bad.jinja does not work in line 1"]);
    assert!(!dir.join("bad.mgpt").exists());
}

#[test]
fn what_cannot_be_said_is_one_sentence() {
    let dir = TempDir::new().unwrap();
    let (dir, model) = (dir.path(), storyteller());
    fs::write(
        dir.join("not.json"),
        "{\"messages\": [{\"role\": \"user\", \"content\": \"\"}]}",
    )
    .unwrap();
    let fish = trained().join("runs/fish");
    let cases: [(&[&str], &[u8], &[&str]); 9] = [
        (&[&model], b"/hepl\n", &["there is no command /hepl"]),
        (&[&model], b"/temp -1\n", &["temperature is -1"]),
        (&[&model], b"/seed\n", &["/seed needs a word"]),
        (
            &[&model],
            b"fish \xff\n",
            &["a message is not UTF-8 from byte 5 on"],
        ),
        (
            &[&model],
            b"/load not.json\n",
            &["not.json is no conversation that /save wrote"],
        ),
        (&[&model, "--stop", ""], b"", &["stop string 1 is empty"]),
        (&[&model, "--max-tokens", "0"], b"", &["--max-tokens is 0"]),
        (
            &[&model, "--template", "absent"],
            b"",
            &["there is no file absent"],
        ),
        (&[fish.to_str().unwrap()], b"red\n", &["--template bare"]),
    ];
    for (args, input, words) in cases {
        assert_refused(&chat(dir, args, input), 2, words);
    }
}

/// What `chat` with `args` says on a terminal on which `keys` are typed.
///
/// Other systems' `script` takes other options.
#[cfg(target_os = "linux")]
fn typed(dir: &Path, args: &str, keys: &[u8]) -> String {
    let script = Command::new("script")
        .args(["-qec", &format!("{MINIGPT} chat {args}"), "/dev/null"])
        .current_dir(dir)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut script = script.expect("`script`, which apt-get install bsdutils brings");
    let mut input = script.stdin.take().unwrap();
    for key in keys {
        input.write_all(&[*key]).unwrap();
        std::thread::sleep(core::time::Duration::from_millis(20));
    }
    let output = script.wait_with_output().unwrap();
    drop(input);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn a_refused_message_leaves_the_conversation_as_it_was() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let args = format!("{model} --template bare --seed 3 --max-tokens 8 --context 64");
    let keys = format!("One day\rOne day\r{}\r/stats\r/quit\r", "fish ".repeat(30));
    let text = typed(dir.path(), &args, keys.as_bytes());
    assert!(text.contains("and the context holds 64"), "{text}");
    assert!(text.contains("4 messages, the first 0 left out"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_edits_lines_and_keeps_a_history() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let args = format!("{model} --template bare --seed 3 --max-tokens 20 --history said.txt");
    // Typed wrong, mended with backspaces; called back with an arrow; a wrong command does not end it.
    let keys = b"One dayx\x7f\r/hepl\r/reset\r/seed 3\r\x1b[A\x1b[A\x1b[A\x1b[A\r/quit\r";
    let text = typed(dir.path(), &args, keys);
    let args = [
        "generate",
        &model,
        "--prompt",
        "One day",
        "--seed",
        "3",
        "--max-tokens",
        "20",
    ];
    let told = stdout(&run(dir.path(), &args));
    let answer = told
        .strip_prefix("One day")
        .unwrap()
        .trim()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(text.matches(&answer).count(), 2, "{answer:?} in {text}");
    assert!(text.contains("there is no command /hepl"), "{text}");
    let history = fs::read_to_string(dir.path().join("said.txt")).unwrap();
    assert!(
        history.contains("One day\n") && history.contains("/seed 3"),
        "{history}"
    );
}
