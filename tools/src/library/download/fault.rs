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
    /// There is no way to a host; the beginning of a sentence.
    Unreachable(String),
    /// This machine is at fault.
    Here(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

/// Why there is no answer from `host`, to which `sender` sent on, if anybody did.
pub(super) fn fault(
    address: &Address,
    host: &str,
    sender: Option<&str>,
    error: &ureq::Error,
) -> Fault {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let broken = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        TimedOut,
        UnexpectedEof,
    ];
    let message = error.to_string();
    let unreachable = || {
        let sender = sender.map_or_else(String::new, |sender| format!(", where {sender} leads to"));
        Fault::Unreachable(format!("cannot reach {host} ({message}){sender}"))
    };
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => unreachable(),
        // A name that nobody knows is of no kind.
        ureq::Error::Io(error) if !broken.contains(&error.kind()) => unreachable(),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => {
            Fault::Again(message)
        }
        _ => Fault::Never(format!(
            "{} cannot be had: {message}; check the address",
            address.asked
        )),
    }
}

/// Why there is no end of hosts that send on.
pub(super) fn circling(address: &Address) -> Fault {
    Fault::Never(format!(
        "{} cannot be had: it leads from one address to the next without end; check the address",
        address.asked
    ))
}

/// Why the answer of `host` is of no use.
pub(super) fn refused(address: &Address, host: &str, status: u16) -> Fault {
    let asked = &address.asked;
    match status {
        404 | 410 => Fault::Never(format!(
            "{host} has no {asked} (status {status}); check the address"
        )),
        401 | 403 => Fault::Never(format!(
            "{host} does not let everyone have {asked} (status {status}); get the file yourself and give its path"
        )),
        429 | 500..=599 => Fault::Again(format!("the server answers {status}")),
        _ => Fault::Never(format!(
            "{host} answers {status} for {asked}; get the file yourself and give its path"
        )),
    }
}

/// Why there is no data, and what to do without.
pub(super) fn offline(address: &Address, unreachable: &str) -> String {
    format!(
        "{unreachable}, and {} is not in the cache; without a network there are the built-in stories: leave \
         --data out",
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
