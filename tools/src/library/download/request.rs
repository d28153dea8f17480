//! One request, wherever it is sent on to.

use ureq::http::Response;
use ureq::{Agent, Body};

use super::fault::{Fault, circling, fault};
use super::text;
use crate::library::address::{Address, host};

/// How often a request may be sent on.
const MOST_HOPS: usize = 10;

/// What came back, and from where.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// The host that gave it.
    pub(super) host: String,
}

/// Asks for the file at `address`. Redirections are followed here and not by the agent, so that a failure
/// names the host that failed.
pub(super) fn ask(
    agent: &Agent,
    address: &Address,
    headers: &[(&str, String)],
) -> Result<Answer, Fault> {
    let mut url = address.url.clone();
    let mut sender = None;
    for _ in 0..=MOST_HOPS {
        let request = agent.get(&url).config().max_redirects(0);
        let mut request = match address.url.starts_with("https://") {
            // What begins protected must not be led away from that.
            true => request.https_only(true).build(),
            // Of this machine: see `Address::of`.
            false => request.proxy(None).build(),
        };
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let called = request.call();
        let response =
            called.map_err(|error| fault(address, host(&url), sender.as_deref(), &error))?;
        let Some(next) = next(&url, &response) else {
            let host = host(&url).to_owned();
            return Ok(Answer { response, host });
        };
        sender = Some(host(&url).to_owned());
        url = next;
    }
    Err(circling(address))
}

/// Where the answer from `url` sends on to.
fn next(url: &str, response: &Response<Body>) -> Option<String> {
    let sent_on = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = text(response.headers(), "location").filter(|_| sent_on)?;
    Some(joined(url, &location))
}

/// The address that `location` is, seen from `url`.
///
/// # Source
/// RFC 3986, section 5.2, without the removal of `.` and `..`, which are left to the server.
fn joined(url: &str, location: &str) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let site = format!("{scheme}://{}", host(url));
    let path = url[site.len()..].split(['?', '#']).next();
    let path = path.filter(|path| !path.is_empty()).unwrap_or("/");
    let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
    let before = location.split(['/', '?', '#']).next();
    match location {
        _ if before.is_some_and(|before| before.ends_with(':')) => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => site + location,
        _ if location.starts_with('?') => site + path + location,
        _ => site + folder + location,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_come() {
        let url = "https://a.org:80/b/c.txt?d=/e#f";
        for (location, expected) in [
            ("http://g.org/h", "http://g.org/h"),
            ("//g.org/h", "https://g.org/h"),
            ("/h?i=k://l", "https://a.org:80/h?i=k://l"),
            ("?h", "https://a.org:80/b/c.txt?h"),
            ("h/i", "https://a.org:80/b/h/i"),
        ] {
            assert_eq!(joined(url, location), expected);
        }
        assert_eq!(joined("https://a.org", "h"), "https://a.org/h");
        assert_eq!(joined("https://a.org?b", "?c"), "https://a.org/?c");
    }
}
