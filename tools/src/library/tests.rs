//! Downloads from a server of our own that does what servers should not.

mod server;

use core::time::Duration;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::server::{Head, Server, content, send};
use super::address::{Address, hexadecimal};
use super::complete;
use super::download::Client;
use crate::failure::Failure;

fn client() -> Client {
    Client {
        idle: Duration::from_millis(500),
        pause: Duration::from_millis(1),
        ..Client::new()
    }
}

fn address(url: &str) -> Address {
    Address::of(Path::new(url)).unwrap().unwrap()
}

fn get(url: &str, directory: &TempDir) -> Result<PathBuf, Failure> {
    client().fetch(&address(url), &directory.path().join("a"), &mut |_, _| {})
}

/// The sentence of a failure to get `url`; nothing under the file's name may be left.
fn refused(url: &str) -> String {
    let dir = TempDir::new().unwrap();
    let failure = get(url, &dir).unwrap_err();
    assert!(!dir.path().join("a/file.txt").exists());
    match failure {
        Failure::Failed(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

fn with_checksum(url: &str) -> String {
    format!("{url}#sha256={}", hexadecimal(&Sha256::digest(content())))
}

#[test]
fn a_file_comes_once_and_is_checked() {
    let server = Server::new(|_, head, stream| send(stream, head, "\"a\"", usize::MAX));
    let dir = TempDir::new().unwrap();
    let mut seen = (0, None);
    let wanted = address(&with_checksum(&server.url));
    let directory = dir.path().join("deep/a");
    let file = client().fetch(&wanted, &directory, &mut |done, total| seen = (done, total));
    let file = file.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert!(file.ends_with("a/file.txt"));
    assert_eq!(seen, (1_200_000, Some(1_200_000)));
    client().fetch(&wanted, &directory, &mut |_, _| {}).unwrap();
    assert_eq!(server.requests(), 1);
    // A file that was cut since is brought again.
    fs::write(&file, "short").unwrap();
    client().fetch(&wanted, &directory, &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert_eq!(server.requests(), 2);
}

#[test]
fn names_that_the_folder_uses_itself_harm_nothing() {
    let server = Server::new(|_, head, stream| send(stream, head, "\"a\"", usize::MAX));
    for name in ["origin.json", "PART", "lock"] {
        let (dir, requests) = (TempDir::new().unwrap(), server.requests());
        let url = with_checksum(&server.url.replace("file.txt", name));
        for _ in 0..2 {
            assert_eq!(fs::read(get(&url, &dir).unwrap()).unwrap(), content());
        }
        assert_eq!(server.requests(), requests + 1, "{name}");
    }
}

#[test]
fn what_is_there_needs_no_turn() {
    let server = Server::new(|_, head, stream| send(stream, head, "\"a\"", usize::MAX));
    let dir = TempDir::new().unwrap();
    get(&server.url, &dir).unwrap();
    let other = fs::File::open(dir.path().join("a/lock")).unwrap();
    other.lock().unwrap();
    assert_eq!(
        fs::read(get(&server.url, &dir).unwrap()).unwrap(),
        content()
    );
}

#[test]
fn what_breaks_off_is_taken_up_where_it_was() {
    let server = Server::new(|_, head, stream| send(stream, head, "\"a\"", 500_000));
    let dir = TempDir::new().unwrap();
    let file = get(&with_checksum(&server.url), &dir).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    let heads = server.heads.lock().unwrap();
    assert_eq!(heads.len(), 3);
    assert!(
        heads[1].contains("range: bytes=500000-\r\n"),
        "{}",
        heads[1]
    );
    assert!(
        heads[2].contains("range: bytes=1000000-\r\n"),
        "{}",
        heads[2]
    );
}

#[test]
fn another_process_goes_on_with_a_part() {
    let server = Server::new(|n, head, stream| match n {
        0 => send(stream, head, "\"a\"", 700_000),
        1..=5 => Ok(()),
        _ => send(stream, head, "\"a\"", usize::MAX),
    });
    let dir = TempDir::new().unwrap();
    let failure = get(&server.url, &dir).unwrap_err();
    assert!(matches!(failure, Failure::Failed(m) if m.contains("goes on at byte 700000")));
    let file = get(&server.url, &dir).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert!(server.heads.lock().unwrap()[6].contains("range: bytes=700000-"));
}

#[test]
fn a_file_that_changes_meanwhile_is_begun_again() {
    let server = Server::new(|n, head, stream| match n {
        0 => send(stream, head, "\"old\"", 700_000),
        _ => send(stream, head, "\"new\"", usize::MAX),
    });
    let dir = TempDir::new().unwrap();
    let file = get(&with_checksum(&server.url), &dir).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert_eq!(server.requests(), 2);
}

#[test]
fn lies_about_lengths_and_ranges_are_found_out() {
    // More is promised than ever comes, and parts are not to be had.
    let server = Server::new(|_, _, stream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789"
        )
    });
    let sentence = refused(&server.url);
    for words in [
        "broke off at byte 10 of 1000",
        "5 times in a row",
        &server.url,
    ] {
        assert!(sentence.contains(words), "{sentence}");
    }
    // Less is promised: only the checksum can tell.
    let server = Server::new(|_, _, stream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123456789"
        )
    });
    let sentence = refused(&with_checksum(&server.url));
    assert!(
        sentence.contains("and should have") && sentence.contains("not kept"),
        "{sentence}"
    );
    // Another part comes than was asked for, every second time.
    let server = Server::new(|n, head, stream| match n % 2 {
        0 => send(stream, head, "\"a\"", 600_000),
        _ => write!(
            stream,
            "HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/1200000\r\nContent-Length: 5\r\n\r\n01234"
        ),
    });
    let sentence = refused(&server.url);
    assert!(sentence.contains("another part than was asked for") || sentence.contains("broke off"));
}

#[test]
fn redirections_are_followed_but_not_in_circles() {
    let target = Server::new(|_, head, stream| send(stream, head, "\"a\"", 800_000));
    let place = target.url.clone();
    let redirect = move |_: usize, _: &Head, stream: &mut TcpStream| {
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let server = Server::new(redirect);
    let dir = TempDir::new().unwrap();
    let file = get(&with_checksum(&server.url), &dir).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert_eq!((server.requests(), target.requests()), (2, 2));
    let circle = Server::new(|_, _, stream| {
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /data/file.txt\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    });
    assert!(refused(&circle.url).contains("without end"));
    assert_eq!(circle.requests(), 11);
}

#[test]
fn a_redirection_that_leads_nowhere_names_the_host_that_failed() {
    let server = Server::new(|_, _, stream| {
        // The end of this name is kept for names that nobody has.
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://minigpt.invalid/a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    });
    let sentence = refused(&server.url);
    let sender = server.url.split('/').nth(2).unwrap();
    assert!(
        sentence.starts_with("cannot reach minigpt.invalid (")
            && sentence.contains(&format!(", where {sender} leads to, and ")),
        "{sentence}"
    );
    // Who says that there is no file is named alike.
    let target =
        Server::new(|_, _, stream| write!(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"));
    let place = target.url.clone();
    let server = Server::new(move |_, _, stream| {
        write!(
            stream,
            "HTTP/1.1 307 There\r\nLocation: {place}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    });
    let sentence = refused(&server.url);
    let host = target.url.split('/').nth(2).unwrap();
    assert!(
        sentence.starts_with(&format!("{host} has no ")),
        "{sentence}"
    );
}

#[test]
fn a_web_page_is_no_text_unless_it_was_asked_for() {
    const PAGES: [(&str, &str); 3] = [
        ("Text/HTML; charset=utf-8", "Please log in."),
        ("text/plain", "\u{feff}\n <!DOCTYPE HTML><title>a</title>"),
        ("application/octet-stream", "<html lang=en>"),
    ];
    for (kind, body) in PAGES {
        let server = Server::new(move |_, _, stream| {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        });
        let sentence = refused(&server.url);
        assert!(
            sentence.contains(&server.url) && sentence.contains("leads to a web page"),
            "{sentence}"
        );
        let dir = TempDir::new().unwrap();
        let meant = server.url.replace("file.txt", "file.HTML?a=b.txt");
        let file = get(&meant, &dir).unwrap();
        assert_eq!(fs::read(file).unwrap(), body.as_bytes());
    }
    let server = Server::new(|_, _, stream| {
        let body = "The <html> of a text about pages.";
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    });
    assert!(get(&server.url, &TempDir::new().unwrap()).is_ok());
}

#[test]
fn slow_is_waited_for_and_silent_is_not() {
    let slow = Server::new(|_, _, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")?;
        for byte in b"fish one" {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte])?;
        }
        Ok(())
    });
    let dir = TempDir::new().unwrap();
    let file = get(&slow.url, &dir).unwrap();
    assert_eq!(fs::read(file).unwrap(), b"fish one");
    let silent = Server::new(|_, _, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfish")?;
        stream.flush()?;
        thread::sleep(Duration::from_millis(700));
        Ok(())
    });
    let sentence = refused(&silent.url);
    assert!(
        sentence.contains("at byte 4 of 8 (nothing came for 0.5 seconds)"),
        "{sentence}"
    );
}

#[test]
fn refusals_are_one_sentence_each() {
    for (status, words) in [
        (404, "check the address"),
        (403, "get the file yourself"),
        (503, "answers 503, 5 times in a row"),
        (418, "answers 418"),
    ] {
        let server = Server::new(move |_, _, stream| {
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
        });
        let sentence = refused(&server.url);
        assert!(
            sentence.contains(words) && !sentence.contains('\n'),
            "{sentence}"
        );
    }
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let sentence = refused(&format!("http://127.0.0.1:{port}/file.txt"));
    // The end of this name is kept for names that nobody has.
    let nobody = refused("https://minigpt.invalid/file.txt");
    assert!(nobody.contains("cannot reach minigpt.invalid"), "{nobody}");
    for words in [
        "cannot reach 127.0.0.1",
        "not in the cache",
        "built-in stories",
    ] {
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[test]
fn a_length_need_not_be_known() {
    let server = Server::new(|_, _, stream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfish\r\n4\r\n one\r\n0\r\n\r\n"
        )
    });
    let dir = TempDir::new().unwrap();
    assert_eq!(
        fs::read(get(&server.url, &dir).unwrap()).unwrap(),
        b"fish one"
    );
}

#[test]
fn one_process_at_a_time() {
    let server = Server::new(|_, _, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfish")?;
        stream.flush()?;
        thread::sleep(Duration::from_millis(300));
        stream.write_all(b" one")
    });
    let dir = Arc::new(TempDir::new().unwrap());
    let (url, shared) = (server.url.clone(), dir.clone());
    let first = thread::spawn(move || get(&url, &shared).map_err(|_| ()));
    while !dir.path().join("a/part").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    let second = get(&server.url, &dir).unwrap_err();
    assert!(matches!(second, Failure::Failed(m) if m.contains("another process is getting")));
    assert!(first.join().unwrap().is_ok());
}

#[test]
fn addresses_are_told_from_paths() {
    let of = |asked: &str| Address::of(Path::new(asked));
    for path in ["books/a.txt", "a.txt", "/data", "."] {
        assert_eq!(of(path).unwrap(), None, "{path}");
    }
    let cases = [
        (
            "https://a.org/b/c.jsonl?x=1",
            "https://a.org/b/c.jsonl?x=1",
            "c.jsonl",
        ),
        (
            "hf:o/n/d/x.parquet",
            "https://huggingface.co/datasets/o/n/resolve/main/d/x.parquet",
            "x.parquet",
        ),
        (
            "https://huggingface.co/datasets/o/n/blob/main/x.txt",
            "https://huggingface.co/datasets/o/n/resolve/main/x.txt",
            "x.txt",
        ),
        ("https://a.org/..", "https://a.org/..", "data"),
    ];
    for (asked, url, name) in cases {
        let address = of(asked).unwrap().unwrap();
        assert_eq!(
            (address.url.as_str(), address.file_name().as_str()),
            (url, name)
        );
    }
    let known = of("shakespeare").unwrap().unwrap();
    assert!(known.url.starts_with("https://") && known.sha256.unwrap().len() == 64);
    for (asked, words) in [
        ("http://a.org/b", "use https://"),
        ("http://127.0.0.1.a.org/b", "use https://"),
        ("hf:owner/name", "hf:OWNER/NAME/FILE"),
        (
            "https://a.org/b#sha256=12",
            "64 hexadecimal digits and this one 2",
        ),
        ("shakespear", "did you mean shakespeare?"),
        ("Shakespeare", "did you mean shakespeare?"),
        ("tinyshakespeare", "did you mean shakespeare?"),
        ("texts/shakespeare.txt", "did you mean shakespeare?"),
        (
            "foo",
            "no file foo; data sets that have a name are shakespeare, wikitext-2, wikitext-2-valid, \
             tinystories, tinystories-valid: check",
        ),
    ] {
        let failure = of(asked).unwrap_err();
        assert!(
            matches!(failure, Failure::Misuse(m) if m.contains(words)),
            "{asked}"
        );
    }
}

#[test]
fn a_known_set_is_validated_on_its_own_part() {
    let mut settings = minigpt_trainer::run_config::RunConfig::default().data;
    settings.files = vec!["wikitext-2".into()];
    complete(&mut settings);
    assert_eq!(settings.val_files, [Path::new("wikitext-2-valid")]);
    settings.val_files = vec!["mine.txt".into()];
    complete(&mut settings);
    assert_eq!(settings.val_files, [Path::new("mine.txt")]);
}
