//! A request as handlers see it: its head, its id, where it came from. Made once, at the edge.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, Method, Uri, header};
use ipnet::IpNet;
use oauth_manager_actors::domain::{
    Timestamp,
    caller::{Actor, RequestContext, USER_AGENT_MAX_CHARS},
    session::Session,
};

use super::{
    bounds::{admission::RequestPermit, callers::Turn},
    endpoint::Captures,
    problem::Problem,
    query::Parameters,
    request_id::{RequestId, X_REQUEST_ID},
};

/// Set by proxies.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The head of a request. Its headers and address hold secrets: `Debug` shows neither.
pub(crate) struct RequestHead {
    /// `GET`, …
    pub(crate) method: Method,
    /// The path and query as they came.
    pub(crate) uri: Uri,
    /// Every header.
    pub(crate) headers: HeaderMap,
    /// In logs, errors and the audit.
    pub(crate) request_id: RequestId,
    /// The client, by its socket or by a proxy that is trusted.
    pub(crate) ip: Option<IpAddr>,
    /// When it came.
    pub(crate) received_at: Timestamp,
    /// The template of the route that took it: what logs may show of the path.
    pub(crate) route: OnceLock<&'static str>,
    /// The session it came with, once somebody has asked: pages say whose connections they show, errors too.
    pub(crate) session: OnceLock<Session>,
    /// Its leave to be answered, where it is not answered at once.
    pub(super) permit: OnceLock<RequestPermit>,
    /// One of those that its caller may have under way, once it is known whose it is.
    pub(super) turn: OnceLock<Turn>,
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("request_id", &self.request_id)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl RequestHead {
    /// Reads a head; `headers` are taken over.
    pub(crate) fn new(
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        peer: IpAddr,
        trusted_proxies: &[IpNet],
        now: Timestamp,
    ) -> Self {
        Self {
            request_id: headers
                .get(X_REQUEST_ID)
                .and_then(RequestId::given)
                .unwrap_or_else(|| RequestId::new(now)),
            ip: Some(client_ip(&headers, peer, trusted_proxies)),
            received_at: now,
            method,
            uri,
            headers,
            route: OnceLock::new(),
            session: OnceLock::new(),
            permit: OnceLock::new(),
            turn: OnceLock::new(),
        }
    }

    /// A header that came once and as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(first)
    }

    /// The query's parameters.
    pub(crate) fn query(&self) -> Result<Parameters<'_>, Problem> {
        Parameters::read(self.uri.query().unwrap_or_default().as_bytes())
    }

    /// What the audit needs, when this one causes something.
    pub(crate) fn context(&self, actor: Actor) -> RequestContext {
        RequestContext {
            actor,
            request_id: self.request_id.to_string(),
            ip: self.ip,
            user_agent: self.user_agent(),
        }
    }

    fn user_agent(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.headers.get(header::USER_AGENT)?.as_bytes());
        let clean: String = text
            .chars()
            .filter(|c| !c.is_control())
            .take(USER_AGENT_MAX_CHARS)
            .collect();
        Some(clean).filter(|clean| !clean.is_empty())
    }
}

/// A request that a route took: its head and the path's parameters (which may be secrets).
#[derive(Clone)]
pub(crate) struct Call {
    /// The head.
    pub(crate) head: Arc<RequestHead>,
    /// What stood in the braces of the template.
    pub(crate) captures: Captures<'static>,
}

impl Call {
    /// The parameter at this place of the template; empty if the template has none there.
    pub(crate) fn capture(&self, index: usize) -> &str {
        self.captures.get(index)
    }
}

impl std::ops::Deref for Call {
    type Target = RequestHead;

    fn deref(&self) -> &RequestHead {
        &self.head
    }
}

/// Who is behind the trusted proxies: the peer, if it is none of them; else the last address they wrote down that is none
/// of them. What stands left of it is hearsay.
fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted_proxies: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|network| network.contains(ip));
    let mut nearest = peer.to_canonical();
    let written = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut hops = written.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(&nearest)
        && let Some(hop) = hops.next().and_then(address_of)
    {
        nearest = hop;
    }
    nearest
}

/// `192.0.2.1` or `2001:db8::1`; some proxies add the port, and brackets with it. Anything else ends what can be believed.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let plain = text.parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let ip = plain.or_else(|_| with_port()).ok().or_else(bracketed)?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn head(headers: &[(&'static str, &str)], trusted: &[&str]) -> RequestHead {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    value.as_bytes().try_into().unwrap(),
                )
            })
            .collect();
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        RequestHead::new(
            Method::GET,
            Uri::from_static("/x?a=1"),
            headers,
            "10.0.0.1".parse().unwrap(),
            &trusted,
            now,
        )
    }

    #[test]
    fn a_safe_request_id_is_kept_and_another_replaced() {
        assert_eq!(
            &*head(&[("x-request-id", "abc-1_2.3")], &[]).request_id,
            "abc-1_2.3"
        );
        let long = "x".repeat(65);
        for bad in ["", "a b", "<script>", "a\"b", long.as_str()] {
            let id = head(&[("x-request-id", bad)], &[]).request_id;
            assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7, "{bad}");
        }
        assert_ne!(&*head(&[], &[]).request_id, &*head(&[], &[]).request_id);
    }

    #[test]
    fn xff_spoof_ignored() {
        let spoofed = [("x-forwarded-for", "6.6.6.6, 7.7.7.7, 10.0.0.2")];
        assert_eq!(head(&spoofed, &[]).ip, Some("10.0.0.1".parse().unwrap()));
        // Behind one trusted proxy, its own word counts and not what the client told it.
        assert_eq!(
            head(&spoofed, &["10.0.0.1/32", "10.0.0.2/32"]).ip,
            Some("7.7.7.7".parse().unwrap())
        );
        assert_eq!(
            head(&[("x-forwarded-for", "x")], &["10.0.0.1/32"]).ip,
            Some("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_clients() {
        let behind = |written: &[&str], expected: &str| {
            let headers: Vec<_> = written.iter().map(|text| ("x-forwarded-for", *text)).collect();
            let ip = head(&headers, &["10.0.0.0/8", "fd00::/8"]).ip;
            assert_eq!(ip, Some(expected.parse().unwrap()), "{written:?}");
        };
        behind(&["203.0.113.9"], "203.0.113.9");
        behind(&["6.6.6.6, 203.0.113.9, 10.9.9.9"], "203.0.113.9");
        // Each proxy may add a line of its own instead.
        behind(&["6.6.6.6", "203.0.113.9", "10.9.9.9"], "203.0.113.9");
        behind(&["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9");
        behind(&["::ffff:203.0.113.9"], "203.0.113.9");
        behind(&["203.0.113.9:4711"], "203.0.113.9");
        behind(&["[2001:db8::9]:4711, fd00::1"], "2001:db8::9");
        // A client of the operator's own network, who is trusted as its proxies are.
        behind(&["10.7.7.7"], "10.7.7.7");
        // Nobody says who is behind the last one known.
        for unreadable in ["unknown", "", "203.0.113.9;10.0.0.9", "_hidden", "\u{e9}"] {
            behind(&[unreadable, "10.2.2.2"], "10.2.2.2");
        }
        behind(&[], "10.0.0.1");
    }

    #[test]
    fn the_user_agent_is_cut_and_cleaned() {
        let long = "é".repeat(300);
        let context = head(&[("user-agent", &long)], &[]).context(Actor::Browser);
        assert!(context.user_agent.unwrap().chars().count() <= USER_AGENT_MAX_CHARS);
        assert_eq!(head(&[], &[]).context(Actor::Browser).user_agent, None);
    }
}
