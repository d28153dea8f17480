//! A server on this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What all servers here have to give.
pub(super) fn content() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|i| i.wrapping_mul(i).to_le_bytes())
        .collect()
}

/// A request, as text.
pub(super) type Head = String;

/// A server on this machine; `serve` answers the request with a number, from 0.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) heads: Arc<Mutex<Vec<Head>>>,
}

impl Server {
    pub(super) fn new(
        serve: impl Fn(usize, &Head, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data/file.txt", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                seen.lock().unwrap().push(head.clone());
                // That the client does not listen to the end is its right.
                let _ = serve(number, &head, &mut stream);
            }
        });
        Self { url, heads }
    }

    pub(super) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

/// Where the request says to begin, if the file is still the one called `etag`.
fn wanted(head: &str, etag: &str) -> usize {
    let same = head.contains(&format!("if-range: {etag}"));
    let range = head.split("range: bytes=").nth(1).filter(|_| same);
    range.map_or(0, |rest| rest.split('-').next().unwrap().parse().unwrap())
}

/// Sends what a decent server would, but only `n` bytes of the body.
pub(super) fn send(
    stream: &mut TcpStream,
    head: &str,
    etag: &str,
    n: usize,
) -> std::io::Result<()> {
    let content = content();
    let (start, size) = (wanted(head, etag), content.len());
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Part\r\nContent-Range: bytes {start}-{}/{size}",
            size - 1
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        size - start
    )?;
    stream.write_all(&content[start..size.min(start.saturating_add(n))])
}
