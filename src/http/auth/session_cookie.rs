//! Our cookies: the session of a user on our pages, and the mark that binds a connect flow to its browser.
//!
//! On https both carry the `__Host-` prefix, so that no neighbour domain can plant them. `SameSite=Lax` keeps them off
//! cross-site posts and still lets them come along when a provider sends the browser back.

use std::fmt::Write as _;

use http::header;
use oauth_manager_actors::domain::{
    Timestamp,
    secret::{BrowserBinding, SessionToken},
};
use ring::digest;
use uuid::Uuid;

use crate::http::request_context::RequestHead;

const SESSION: &str = "oauth_session";
/// A pending session: who opened a session link and has not been confirmed. Never read as a session.
const PENDING_PREFIX: &str = "oauth_pending_";
const FLOW_PREFIX: &str = "oauth_flow_";
/// More than a browser sends: they keep fewer than 200 for one host.
const FLOWS_MAX: usize = 256;
/// More session links than one browser opens at once.
const PENDINGS_MAX: usize = 32;
/// Longer than any value we set.
const VALUE_CHARS_MAX: usize = 256;

/// The session cookie's value. Two cookies of that name mean that somebody planted one: then there is none.
pub(crate) fn of(head: &RequestHead, https: bool) -> Option<SessionToken> {
    let name = full_name(SESSION, https);
    let mut values = pairs(head)
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then(|| SessionToken::new(value))
}

/// The values of every flow cookie that came.
pub(crate) fn flow_bindings(head: &RequestHead, https: bool) -> Vec<BrowserBinding> {
    let prefix = full_name(FLOW_PREFIX, https);
    pairs(head)
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(_, value)| BrowserBinding::new(value))
        .take(FLOWS_MAX)
        .collect()
}

/// Keeps a session in the browser.
pub(crate) fn keep_session(token: &SessionToken, until: Timestamp, now: Timestamp, https: bool) -> String {
    set(&full_name(SESSION, https), token.expose(), until, now, https)
}

/// The values of every pending session's cookie that came.
pub(crate) fn pendings(head: &RequestHead, https: bool) -> Vec<SessionToken> {
    let prefix = full_name(PENDING_PREFIX, https);
    pairs(head)
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(_, value)| SessionToken::new(value))
        .take(PENDINGS_MAX)
        .collect()
}

/// The same of one link alone, so that no number of others keeps it from being seen.
pub(crate) fn pendings_of(link: Uuid, head: &RequestHead, https: bool) -> Vec<SessionToken> {
    let name = pending_name(link, https);
    pairs(head)
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| SessionToken::new(value))
        .take(PENDINGS_MAX)
        .collect()
}

/// Marks the browser that opened a session link.
pub(crate) fn keep_pending(
    link: Uuid,
    token: &SessionToken,
    until: Timestamp,
    now: Timestamp,
    https: bool,
) -> String {
    set(&pending_name(link, https), token.expose(), until, now, https)
}

/// Takes a link's mark out of the browser.
pub(crate) fn drop_pending(link: Uuid, https: bool) -> String {
    clear(&pending_name(link, https), https)
}

/// Takes the session out of the browser.
pub(crate) fn drop_session(https: bool) -> String {
    clear(&full_name(SESSION, https), https)
}

/// Binds a flow to the browser, until the flow's end: the browser may ask more than once how it ended.
pub(crate) fn keep_flow(binding: &BrowserBinding, until: Timestamp, now: Timestamp, https: bool) -> String {
    set(&flow_name(binding, https), binding.expose(), until, now, https)
}

/// A name for each value: links opened at the same time do not overwrite each other's, and one opened again keeps its own.
fn flow_name(binding: &BrowserBinding, https: bool) -> String {
    let digest = digest::digest(&digest::SHA256, binding.expose().as_bytes());
    let mut name = full_name(FLOW_PREFIX, https);
    for byte in &digest.as_ref()[..8] {
        // Writing into a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn pending_name(link: Uuid, https: bool) -> String {
    let id = link.simple().to_string();
    full_name(&format!("{PENDING_PREFIX}{}", &id[..16]), https)
}

fn full_name(name: &str, https: bool) -> String {
    if https {
        format!("__Host-{name}")
    } else {
        name.to_owned()
    }
}

fn set(name: &str, value: &str, until: Timestamp, now: Timestamp, https: bool) -> String {
    let max_age = until.duration_since(now).as_secs().max(0);
    format!("{name}={value}; Max-Age={max_age}; {}", attributes(https))
}

fn clear(name: &str, https: bool) -> String {
    format!("{name}=; Max-Age=0; {}", attributes(https))
}

fn attributes(https: bool) -> &'static str {
    if https {
        "Path=/; HttpOnly; SameSite=Lax; Secure"
    } else {
        "Path=/; HttpOnly; SameSite=Lax"
    }
}

/// Every `name=value` of the request, as far as it could be ours. Other applications on the host write what they like, in
/// whatever encoding: the header is read as bytes, and what is odd is passed over.
fn pairs(head: &RequestHead) -> impl Iterator<Item = (&str, &str)> {
    head.headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
        .filter_map(|pair| str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
        .filter(|(_, value)| !value.is_empty() && value.len() <= VALUE_CHARS_MAX && value.is_ascii())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Uri};

    use super::*;

    fn head(cookies: &[&'static str]) -> RequestHead {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        RequestHead::new(
            Method::GET,
            Uri::from_static("/"),
            headers,
            "10.0.0.1".parse().unwrap(),
            &[],
            now,
        )
    }

    fn session(cookies: &[&'static str], https: bool) -> Option<String> {
        of(&head(cookies), https).map(|token| token.expose().to_owned())
    }

    #[test]
    fn the_session_cookie_is_read_by_its_full_name_only() {
        assert_eq!(session(&["a=b; oauth_session=x"], false).as_deref(), Some("x"));
        assert_eq!(session(&["__Host-oauth_session=x"], true).as_deref(), Some("x"));
        assert_eq!(session(&["oauth_session=x"], true), None);
        assert_eq!(session(&["oauth_session="], false), None);
        assert_eq!(session(&["oauth_session=x; oauth_session=y"], false), None);
        assert_eq!(session(&["oauth_session=x", "oauth_session=y"], false), None);
    }

    #[test]
    fn a_pending_session_has_a_name_of_its_own_and_is_no_session() {
        let link: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(pending_name(link, true), "__Host-oauth_pending_01890a5dac96774b");
        let head = head(&["oauth_pending_01890a5dac96774b=a; oauth_pending_x=b; oauth_pending=c"]);
        let values = |tokens: Vec<SessionToken>| -> Vec<String> {
            tokens.iter().map(|token| token.expose().to_owned()).collect()
        };
        assert_eq!(values(pendings(&head, false)), ["a", "b"]);
        assert_eq!(values(pendings_of(link, &head, false)), ["a"]);
        assert!(pendings(&head, true).is_empty() && pendings_of(link, &head, true).is_empty());
        assert!(of(&head, false).is_none() && flow_bindings(&head, false).is_empty());
    }

    #[test]
    fn parallel_flows_do_not_clobber() {
        let (one, two) = (BrowserBinding::new("a"), BrowserBinding::new("b"));
        assert_ne!(flow_name(&one, true), flow_name(&two, true));
        assert_eq!(flow_name(&one, true), "__Host-oauth_flow_ca978112ca1bbdca");
        let head = head(&["oauth_flow_ca978112ca1bbdca=a; oauth_flow_3e23e8160039594a=b; oauth_session=c"]);
        let values: Vec<_> = flow_bindings(&head, false)
            .iter()
            .map(|b| b.expose().to_owned())
            .collect();
        assert_eq!(values, ["a", "b"]);
        assert!(flow_bindings(&head, true).is_empty());
    }

    #[test]
    fn whatever_odd_cookies_come_along_ours_are_found() {
        let odd: &[&[u8]] = &[
            "utm=Unders\u{f8}gelse".as_bytes(),
            b"utm=Unders\xf8gelse",
            b"\xff\xfe=\xff",
            b"=nameless",
            b"valueless",
            b"=",
            b"",
            b"empty=",
            b"quoted=\"a; b=c\"",
            b"json={\"a\":\"=\"}",
            b"  spaced  =  x  ",
            b"tab=\t",
        ];
        for neighbour in odd {
            for order in [0, 1] {
                let ours: &[u8] = b"oauth_session=s; oauth_flow_1=f";
                let parts = if order == 0 {
                    [neighbour, ours]
                } else {
                    [ours, neighbour]
                };
                let mut headers = HeaderMap::new();
                let line = parts.join(&b"; "[..]);
                headers.append(header::COOKIE, HeaderValue::from_bytes(&line).unwrap());
                let head = RequestHead { headers, ..head(&[]) };
                let session = of(&head, false).map(|token| token.expose().to_owned());
                assert_eq!(session.as_deref(), Some("s"), "{line:?}");
                let flows = flow_bindings(&head, false);
                assert_eq!(flows.len(), 1, "{line:?}");
                assert_eq!(flows[0].expose(), "f");
            }
        }
    }

    #[test]
    fn cookies_say_what_the_contract_says() {
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let until = "2030-01-01T00:10:00Z".parse().unwrap();
        assert_eq!(
            keep_session(&SessionToken::new("v"), until, now, true),
            "__Host-oauth_session=v; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            drop_session(false),
            "oauth_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        );
    }
}
