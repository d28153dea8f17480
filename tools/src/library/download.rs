//! One file from the web into a folder: taken up where it broke off, checked, there whole or not at
//! all.
//!
//! The folder holds the file under its own name, `part` while it comes, and `origin.json`, which says
//! what `part` is a part of and at last which checksum the file has.

use core::time::Duration;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use minigpt_trainer::durable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, Timeout};

use super::address::{Address, hexadecimal};
use crate::failure::Failure;

const PART: &str = "part";
const ORIGIN: &str = "origin.json";
const LOCK: &str = "lock";

/// Bytes that are read at a time.
const PIECE: usize = 1 << 16;

/// What is known of the file in a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Origin {
    url: String,
    /// `ETag` or `Last-Modified`, by which the server knows its file again.
    validator: Option<String>,
    /// Its size, where the server says.
    bytes: Option<u64>,
    /// Its checksum, once all of it is there.
    sha256: Option<String>,
}

/// What goes wrong on the way.
enum Fault {
    /// Trying again may help.
    Again(String),
    /// It will not; the whole sentence.
    Never(String),
    /// There is no way to the host.
    Unreachable(String),
    /// This machine is at fault.
    Here(Failure),
}

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
        let file = directory.join(address.file_name());
        fs::create_dir_all(directory).map_err(|error| Failure::writing(directory, &error))?;
        let _lock = lock(directory, address)?;
        let origin = Origin::read(directory);
        let whole = fs::metadata(&file).is_ok_and(|found| Some(found.len()) == origin.bytes);
        let same = address.sha256.is_none() || address.sha256 == origin.sha256;
        if origin.sha256.is_some() && whole && same {
            return Ok(file);
        }
        self.download(address, directory, watcher)?;
        keep(address, directory, &file)?;
        Ok(file)
    }

    /// Brings all of `part`, in as many attempts as it takes.
    fn download(
        &self,
        address: &Address,
        directory: &Path,
        watcher: Watcher<'_>,
    ) -> Result<(), Failure> {
        let part = directory.join(PART);
        let (mut in_vain, mut reached) = (0, false);
        loop {
            let before = length(&part);
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
            in_vain = if length(&part) > before {
                0
            } else {
                in_vain + 1
            };
            if in_vain >= self.attempts {
                return Err(Failure::Failed(format!(
                    "{} did not come: {message}, {in_vain} times in a row; the same command goes on at byte {}",
                    address.asked,
                    length(&part)
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
        let part = directory.join(PART);
        let origin = Origin::read(directory);
        let ours = origin.url == address.url && origin.validator.is_some();
        let have = if ours { length(&part) } else { 0 };
        if have > 0 && origin.bytes == Some(have) {
            return Ok(());
        }
        let mut request = self.agent.get(&address.url);
        if let (1.., Some(validator)) = (have, &origin.validator) {
            request = request
                .header("Range", format!("bytes={have}-"))
                .header("If-Range", validator);
        }
        let response = request.call().map_err(|error| fault(address, &error))?;
        let (start, total) = match response.status().as_u16() {
            200 => (0, number(response.headers(), "content-length")),
            206 => match range(response.headers()) {
                Some((start, total)) if start == have && total == origin.bytes => (start, total),
                _ => {
                    forget(directory)?;
                    return Err(Fault::Again(
                        "the server sent another part than was asked for".to_owned(),
                    ));
                }
            },
            416 => {
                forget(directory)?;
                return Err(Fault::Again("the file there is another by now".to_owned()));
            }
            status => return Err(refused(address, status)),
        };
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

/// The body in pieces, read by a thread of its own: a read may wait for ever.
fn pieces(response: Response<Body>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(4);
    let mut body = response.into_body().into_reader();
    thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = body.read(&mut piece).map(|n| {
                piece.truncate(n);
                piece
            });
            let last = !matches!(&read, Ok(piece) if !piece.is_empty());
            if matches!(&read, Ok(piece) if piece.is_empty()) || sender.send(read).is_err() || last
            {
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
    origin.write(directory).map_err(Fault::Here)
}

/// Checks `part` and gives it its name.
fn keep(address: &Address, directory: &Path, file: &Path) -> Result<(), Failure> {
    let part = directory.join(PART);
    let failed = |error: io::Error| Failure::writing(&part, &error);
    let sha256 = sha256(&part).map_err(failed)?;
    if let Some(wanted) = address.sha256.as_ref().filter(|wanted| **wanted != sha256) {
        let removed = fs::remove_file(&part);
        removed.map_err(failed)?;
        return Err(Failure::Failed(format!(
            "{} has the SHA-256 {sha256} and should have {wanted}: it was changed, there or on its way, and is not kept",
            address.asked
        )));
    }
    let origin = Origin {
        bytes: Some(length(&part)),
        sha256: Some(sha256),
        ..Origin::read(directory)
    };
    let synced = OpenOptions::new()
        .write(true)
        .open(&part)
        .and_then(|file| file.sync_all());
    synced
        .and_then(|()| fs::rename(&part, file))
        .map_err(failed)?;
    origin.write(directory)
}

impl Origin {
    /// What the folder says; nothing where it says nothing that can be read.
    fn read(directory: &Path) -> Self {
        let bytes = fs::read(directory.join(ORIGIN)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(ORIGIN);
        let json = serde_json::to_vec_pretty(self).map_err(Failure::failed)?;
        durable::replace_file(&path, &json).map_err(|error| Failure::writing(&path, &error))
    }
}

/// Keeps other processes from the folder as long as it lives.
fn lock(directory: &Path, address: &Address) -> Result<File, Failure> {
    let path = directory.join(LOCK);
    let failed = |error: &io::Error| Failure::writing(&path, error);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Failed(format!(
            "another process is getting {}; wait for it",
            address.asked
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Removes what came so far.
fn forget(directory: &Path) -> Result<(), Fault> {
    let part = directory.join(PART);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::Here(Failure::writing(&part, &error)))
        }
        _ => Ok(()),
    }
}

fn fault(address: &Address, error: &ureq::Error) -> Fault {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let message = error.to_string();
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Fault::Unreachable(message),
        ureq::Error::Io(error)
            if [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind()) =>
        {
            Fault::Unreachable(message)
        }
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => {
            Fault::Again(message)
        }
        _ => Fault::Never(format!(
            "{} cannot be had: {message}; check the address",
            address.asked
        )),
    }
}

fn refused(address: &Address, status: u16) -> Fault {
    let asked = &address.asked;
    match status {
        404 | 410 => Fault::Never(format!(
            "{} has no {asked} (status {status}); check the address",
            address.host()
        )),
        401 | 403 => Fault::Never(format!(
            "{} does not let everyone have {asked} (status {status}); get the file yourself and give its path",
            address.host()
        )),
        429 | 500..=599 => Fault::Again(format!("the server answers {status}")),
        _ => Fault::Never(format!(
            "{} answers {status} for {asked}; get the file yourself and give its path",
            address.host()
        )),
    }
}

fn offline(address: &Address, message: &str) -> String {
    format!(
        "cannot reach {} ({message}), and {} is not in the cache; without a network there are the built-in \
         stories: leave --data out",
        address.host(),
        address.asked
    )
}

fn broken(done: u64, total: Option<u64>, why: &str) -> String {
    match total {
        Some(total) => format!("it broke off at byte {done} of {total} ({why})"),
        None => format!("it broke off at byte {done} ({why})"),
    }
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

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&digest.finalize())),
            n => digest.update(&piece[..n]),
        }
    }
}
