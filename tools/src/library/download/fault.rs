//! What goes wrong on the way, in words.

use std::io;

use ureq::Timeout;

use crate::failure::Failure;
use crate::library::address::Address;

/// What goes wrong on the way.
pub(super) enum Fault {
    /// Trying again may help.
    Again(String),
    /// It will not; the whole sentence.
    Never(String),
    /// There is no way to the host.
    Unreachable(String),
    /// This machine is at fault.
    Here(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

/// Why there is no answer.
pub(super) fn fault(address: &Address, error: &ureq::Error) -> Fault {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let broken = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        TimedOut,
        UnexpectedEof,
    ];
    let message = error.to_string();
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Fault::Unreachable(message),
        // A name that nobody knows is of no kind.
        ureq::Error::Io(error) if !broken.contains(&error.kind()) => Fault::Unreachable(message),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => {
            Fault::Again(message)
        }
        _ => Fault::Never(format!(
            "{} cannot be had: {message}; check the address",
            address.asked
        )),
    }
}

/// Why the answer is of no use.
pub(super) fn refused(address: &Address, status: u16) -> Fault {
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

/// Why there is no data, and what to do without.
pub(super) fn offline(address: &Address, message: &str) -> String {
    format!(
        "cannot reach {} ({message}), and {} is not in the cache; without a network there are the built-in \
         stories: leave --data out",
        address.host(),
        address.asked
    )
}

/// Where it broke off.
pub(super) fn broken(done: u64, total: Option<u64>, why: &str) -> String {
    match total {
        Some(total) => format!("it broke off at byte {done} of {total} ({why})"),
        None => format!("it broke off at byte {done} ({why})"),
    }
}
