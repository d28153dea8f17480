//! One file from the web into a folder: taken up where it broke off, checked, there whole or not at
//! all.

mod fault;
mod folder;
mod page;
mod request;

use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use self::fault::{Fault, broken, offline, refused};
use self::folder::{Origin, forget, is_whole, keep, length, lock, part, place};
use self::request::{Answer, ask};
use super::address::Address;
use crate::failure::Failure;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 16;

/// Downloads files.
pub(super) struct Client {
    pub(super) agent: Agent,
    /// Time without a byte after which a connection is given up.
    pub(super) idle: Duration,
    /// Time before the first repetition; it doubles.
    pub(super) pause: Duration,
    /// Repetitions that may bring nothing new.
    pub(super) attempts: u32,
}

/// Told of bytes that are there and, where it is known, bytes there are.
type Watcher<'w> = &'w mut dyn FnMut(u64, Option<u64>);

impl Client {
    pub(super) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .user_agent(concat!("minigpt/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            idle: Duration::from_secs(30),
            pause: Duration::from_millis(500),
            attempts: 5,
        }
    }

    /// The file at `address`, in `directory`; comes from the web if it is not there yet.
    pub(super) fn fetch(
        &self,
        address: &Address,
        directory: &Path,
        watcher: Watcher<'_>,
    ) -> Result<PathBuf, Failure> {
        let file = place(address, directory);
        if is_whole(address, directory) {
            return Ok(file);
        }
        fs::create_dir_all(directory).map_err(|error| Failure::writing(directory, &error))?;
        let _lock = lock(directory, address)?;
        // Another process may just have brought it.
        if !is_whole(address, directory) {
            self.download(address, directory, watcher)?;
            keep(address, directory, &file)?;
        }
        Ok(file)
    }

    /// Brings all of `part`, in as many attempts as it takes.
    fn download(
        &self,
        address: &Address,
        directory: &Path,
        watcher: Watcher<'_>,
    ) -> Result<(), Failure> {
        let part = part(directory);
        // What comes a second time after a new beginning is nothing new.
        let (mut most, mut in_vain, mut reached) = (length(&part), 0, false);
        loop {
            let message = match self.attempt(address, directory, watcher) {
                Ok(()) => return Ok(()),
                Err(Fault::Here(failure)) => return Err(failure),
                Err(Fault::Never(sentence)) => return Err(Failure::Failed(sentence)),
                Err(Fault::Unreachable(message)) if !reached => {
                    return Err(Failure::Failed(offline(address, &message)));
                }
                Err(Fault::Again(message) | Fault::Unreachable(message)) => message,
            };
            reached = true;
            let have = length(&part);
            in_vain = if have > most { 0 } else { in_vain + 1 };
            most = most.max(have);
            if in_vain >= self.attempts {
                return Err(Failure::Failed(format!(
                    "{} did not come: {message}, {in_vain} times in a row; the same command goes on at byte {}",
                    address.asked, have
                )));
            }
            thread::sleep(self.pause * (1 << in_vain.min(6)));
        }
    }

    /// One request, from where `part` ends.
    fn attempt(
        &self,
        address: &Address,
        directory: &Path,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let part = part(directory);
        let origin = Origin::read(directory);
        let ours = origin.url == address.url && origin.validator.is_some();
        let have = if ours { length(&part) } else { 0 };
        if have > 0 && origin.bytes == Some(have) {
            return Ok(());
        }
        let headers = match &origin.validator {
            Some(validator) if have > 0 => vec![
                ("Range", format!("bytes={have}-")),
                ("If-Range", validator.clone()),
            ],
            _ => Vec::new(),
        };
        let answer = ask(&self.agent, address, &headers)?;
        let (start, total) = extent(address, directory, &answer, (have, origin.bytes))?;
        let Answer { response, .. } = answer;
        if start == 0 {
            begin(address, directory, &response, total)?;
        }
        self.receive(response, &part, start, total, watcher)
    }

    /// Writes what comes to `part` from `start` on.
    fn receive(
        &self,
        response: Response<Body>,
        part: &Path,
        start: u64,
        total: Option<u64>,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::Here(Failure::writing(part, &error));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(part)
            .map_err(failed)?;
        file.set_len(start)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(failed)?;
        let (mut done, pieces) = (start, pieces(response));
        loop {
            let piece = match pieces.recv_timeout(self.idle) {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => {
                    return Err(Fault::Again(broken(done, total, &error.to_string())));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let silent = format!("nothing came for {} seconds", self.idle.as_secs_f32());
                    return Err(Fault::Again(broken(done, total, &silent)));
                }
                // All that was sent is here.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            file.write_all(&piece).map_err(failed)?;
            done += piece.len() as u64;
            watcher(done, total);
        }
        match total {
            Some(total) if done != total => Err(Fault::Again(broken(
                done,
                Some(total),
                "the connection was closed",
            ))),
            _ => Ok(()),
        }
    }
}

/// At which byte an answer begins and how many the file has, where `have` bytes of `total` are there.
fn extent(
    address: &Address,
    directory: &Path,
    Answer { response, host }: &Answer,
    (have, total): (u64, Option<u64>),
) -> Result<(u64, Option<u64>), Fault> {
    let headers = response.headers();
    let why = match response.status().as_u16() {
        200 if page::announced(headers) && !page::is_meant(address) => {
            return Err(Fault::Never(page::refused(address)));
        }
        200 => return Ok((0, number(headers, "content-length"))),
        206 => match range(headers) {
            Some(range) if range == (have, total) => return Ok(range),
            _ => "the server sent another part than was asked for",
        },
        416 => "the file there is another by now",
        status => return Err(refused(address, host, status)),
    };
    forget(directory)?;
    Err(Fault::Again(why.to_owned()))
}

/// The body in pieces, read by a thread of its own: a read may wait for ever.
fn pieces(response: Response<Body>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(4);
    let mut body = response.into_body().into_reader();
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            let read = match body.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => Ok(piece[..n].to_vec()),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Notes what `part` will be a part of.
fn begin(
    address: &Address,
    directory: &Path,
    response: &Response<Body>,
    total: Option<u64>,
) -> Result<(), Fault> {
    let header = |name| text(response.headers(), name);
    // A weak validator holds for files that are alike, which is not enough to join parts.
    let strong = header("etag").filter(|etag| !etag.starts_with("W/"));
    let origin = Origin {
        url: address.url.clone(),
        validator: strong.or_else(|| header("last-modified")),
        bytes: total,
        sha256: None,
    };
    forget(directory)?;
    Ok(origin.write(directory)?)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// First byte and size of `Content-Range: bytes 5-9/10`.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = text(headers, "content-range")?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}
