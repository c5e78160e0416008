//! Where a browser may be sent after a flow: absolute addresses on an exactly allow-listed origin (RFC 9700 4.11).
//!
//! An address is read twice, as text and by the WHATWG parser, and both must name the same place: what a parser would
//! repair (backslashes, tabs, odd numbers, user names) is refused instead. The browser is sent to the parsed form.

use oauth_manager_actors::domain::error::ServiceError;
use url::Url;

use super::settings::{ReturnPolicy, WebOrigin};

/// Longest accepted address: browsers and proxies take about this much.
const RETURN_TO_BYTES_MAX: usize = 2048;
/// Parameters we append ourselves; an address that brings its own could speak in our name.
const RESERVED: [&str; 6] = [
    "authorization_id",
    "status",
    "confirmation",
    "error",
    "session_id",
    "session_confirmation",
];

/// The address, if the policy allows it.
pub(crate) fn check(raw: &str, policy: &ReturnPolicy) -> Result<Url, ServiceError> {
    let authority = well_formed_authority(raw).map_err(refuse)?;
    let url = Url::parse(raw).map_err(|_| refuse("it is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() || !same_place(authority, &url) {
        return Err(refuse("its host is not written plainly"));
    }
    if url.path().starts_with("//") || url.path().to_ascii_lowercase().starts_with("/%2f") {
        return Err(refuse("its path must not begin with two slashes"));
    }
    if url
        .query_pairs()
        .any(|(name, _)| RESERVED.contains(&name.as_ref()))
    {
        return Err(refuse(
            "authorization_id, status, confirmation, error, session_id and session_confirmation are ours to add",
        ));
    }
    let origin = WebOrigin::of(&url);
    if policy.allowed_return_origins.contains(&origin) || policy.allow_loopback && is_loopback(&url) {
        Ok(url)
    } else {
        Err(refuse("its origin is not in server.allowed_return_origins"))
    }
}

fn refuse(why: &str) -> ServiceError {
    ServiceError::invalid(format!("return_to is not allowed: {why}"))
}

/// Checks the text for everything that parsers disagree about, and gives the part between `://` and the path.
fn well_formed_authority(raw: &str) -> Result<&str, &'static str> {
    if raw.len() > RETURN_TO_BYTES_MAX {
        return Err("it is too long");
    }
    if !raw.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it may hold neither spaces nor control nor non-ASCII characters; encode them");
    }
    if raw.contains(['\\', '#', '<', '>', '"', '`', '{', '}', '|', '^']) {
        return Err("it may hold neither a fragment nor backslashes, quotes or brackets");
    }
    if holds_encoded_control(raw) {
        return Err("it may not hold encoded control characters or backslashes");
    }
    let rest = strip_scheme(raw).ok_or("it must be an absolute http or https URL")?;
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err("its host is not written plainly");
    }
    Ok(authority)
}

fn strip_scheme(raw: &str) -> Option<&str> {
    let (scheme, rest) = raw.split_once("://")?;
    ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        .then_some(rest)
}

fn holds_encoded_control(raw: &str) -> bool {
    raw.split('%').skip(1).any(|after| {
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        // `%` that encodes nothing is refused with the rest: parsers keep it, applications may not.
        byte.is_none_or(|byte| byte < 0x20 || byte == 0x7f || byte == b'\\')
    })
}

/// Whether the parser found the host and port that the text shows.
fn same_place(authority: &str, url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let written = authority.to_ascii_lowercase();
    match url.port_or_known_default() {
        Some(port) if url.port().is_none() => written == host || written == format!("{host}:{port}"),
        Some(port) => written == format!("{host}:{port}"),
        None => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

#[cfg(test)]
#[path = "return_to_tests.rs"]
mod tests;
