//! What the HTTP side is told at start. Plain values: where they come from is the configuration's business.

use std::{fmt, num::NonZero, str::FromStr, time::Duration};

use ipnet::IpNet;
use url::Url;
use zeroize::Zeroizing;

/// Everything the HTTP side is told.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where browsers reach us. Every link, cookie attribute and origin check derives from it, never from `Host`.
    pub public_url: Url,
    /// Relaxes what is marked so: loopback `return_to` (with [`ReturnPolicy::allow_loopback`]), CSRF without an origin.
    pub development: bool,
    /// Shown at `/` and `/health`.
    pub service_version: String,
    /// Origins whose scripts may call the JSON API (CORS), exact.
    pub allowed_origins: Vec<WebOrigin>,
    /// Where a browser may be sent after a flow.
    pub returns: ReturnPolicy,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on what clients may take of us.
    pub limits: Limits,
    /// Whether requests are counted and timed: somebody reads it.
    pub measured: bool,
    /// How users' JWTs are checked; `None`: no user can come with one.
    pub user_jwt: Option<UserJwtSettings>,
}

/// Where a browser may be sent after a flow.
#[derive(Debug, Clone, Default)]
pub struct ReturnPolicy {
    /// Addresses whose scheme, host, port and path must be met.
    pub allowed_return_urls: Vec<Url>,
    /// Any address on this machine too (`127.0.0.0/8`, `[::1]`, `localhost`). For development only.
    pub allow_loopback: bool,
}

/// Bounds on what clients may take of us, and what we set against it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. For the next one, one that waits for its client is closed; if none does, it waits itself.
    pub connections_max: usize,
    /// Of one address, or one IPv6 /64; a trusted proxy's are not counted.
    pub connections_per_address_max: usize,
    /// Threads that serve connections, beside those that work on what is not at hand.
    pub serving_threads: usize,
    /// Requests being answered at once; the next one is told to come again.
    pub requests_max: usize,
    /// Of one user; what is answered at hand does not count.
    pub requests_per_user_max: usize,
    /// Of one service; what is answered at hand does not count.
    pub requests_per_service_max: usize,
    /// Of one user, in all.
    pub user_requests_per_minute: u32,
    /// Connect flows that one service begins.
    pub service_flows_per_minute: u32,
    /// Credentials that do not hold, and as many links and callbacks that lead nowhere, of one address; the next are
    /// refused.
    pub failures_per_minute: u32,
    /// From the first byte of a request (or from connecting) to the end of its headers.
    pub header_timeout: Duration,
    /// For a whole body.
    pub body_timeout: Duration,
    /// Between requests, and for a client that does not take its answer.
    pub idle_timeout: Duration,
    /// Of a body.
    pub body_bytes_max: usize,
    /// How long a stop waits for answers under way.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            // One more than can run at once: while one waits for its processor, another's connections need not.
            serving_threads: std::thread::available_parallelism().map_or(1, NonZero::get) + 1,
            requests_max: 2_048,
            requests_per_user_max: 128,
            requests_per_service_max: 1_024,
            user_requests_per_minute: 3_000,
            service_flows_per_minute: 6_000,
            failures_per_minute: 300,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            body_bytes_max: 64 * 1024,
            stop_grace: Duration::from_secs(20),
        }
    }
}

/// How users' JWTs are checked.
#[derive(Debug, Clone)]
pub struct UserJwtSettings {
    /// With which keys, and so with which algorithms.
    pub keys: JwtKeys,
    /// `iss` must equal this.
    pub issuer: Option<String>,
    /// `aud` must contain this.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// The keys of users' JWTs. One kind or the other: a verifier never tries both (RFC 8725 3.1).
#[derive(Debug, Clone)]
pub enum JwtKeys {
    /// A shared secret.
    Hs256(JwtSecret),
    /// The application's published keys, [`PublishedKeys`](crate::jose::PublishedKeys).
    Jwks,
}

/// The shared secret of HS256; wiped when dropped, never printed.
#[derive(Clone)]
pub struct JwtSecret(Zeroizing<Vec<u8>>);

impl JwtSecret {
    /// Takes the secret in.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret in clear.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret([redacted])")
    }
}

/// `scheme://host[:port]`, as browsers write an origin (RFC 6454 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

/// A text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: write scheme://host or scheme://host:port, http or https, and nothing after it")]
pub struct InvalidOrigin;

impl WebOrigin {
    /// The origin of this URL.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        let origin = Self::of(&url);
        let bare = text.trim_end_matches('/');
        if matches!(url.scheme(), "http" | "https") && bare.eq_ignore_ascii_case(origin.as_str()) {
            Ok(origin)
        } else {
            Err(InvalidOrigin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for text in [
            "https://app.example.com",
            "http://127.0.0.1:3000",
            "https://[::1]:8443",
            "https://App.example/",
        ] {
            assert!(text.parse::<WebOrigin>().is_ok(), "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://a/b",
            "https://a?x",
            "ftp://a",
            "https://u@a",
            "https://a:443",
        ] {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_jwt_secret_is_not_printed() {
        assert_eq!(
            format!("{:?}", JwtSecret::new("hunter2hunter2")),
            "JwtSecret([redacted])"
        );
    }
}
