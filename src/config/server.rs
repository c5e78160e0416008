//! `[server]`: where we listen, who we are to browsers, whom we answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::endpoint::is_loopback_literal;
use super::error::Problems;
use super::origin::Origin;
use super::proxy::TrustedProxy;
use super::return_url::ReturnUrl;
use super::{duration, list};

/// How strict the configuration is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deployment {
    /// Everything is judged.
    Production,
    /// What only one's own machine needs is allowed, and said at start.
    Development,
}

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Strict unless told otherwise.
    pub environment: Deployment,
    /// The public listener.
    pub listen: SocketAddr,
    /// How browsers reach us; see [`ServerConfig::public_url`].
    public_url: Option<Url>,
    /// Origins whose pages may call the API (CORS).
    #[serde(deserialize_with = "list::deserialize")]
    pub allowed_origins: Vec<Origin>,
    /// Addresses a browser may be sent back to.
    #[serde(deserialize_with = "list::deserialize")]
    pub allowed_return_urls: Vec<ReturnUrl>,
    /// Proxies whose word about the client's address is believed.
    #[serde(deserialize_with = "list::deserialize")]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The operator's listener with the metrics; none when absent.
    pub metrics_listen: Option<SocketAddr>,
    /// The largest request body.
    pub body_limit_bytes: u64,
    /// Connections open at once.
    pub max_connections: usize,
    /// A request takes no longer than this.
    #[serde(deserialize_with = "duration::required")]
    pub request_deadline: Duration,
}

impl ServerConfig {
    /// How browsers reach us. Development may leave it to the listener's address.
    pub fn public_url(&self) -> Cow<'_, str> {
        match &self.public_url {
            Some(url) => Cow::Borrowed(url.as_str().trim_end_matches('/')),
            None if self.listen.ip().is_unspecified() => {
                Cow::Owned(format!("http://127.0.0.1:{}", self.listen.port()))
            }
            None => Cow::Owned(format!("http://{}", self.listen)),
        }
    }

    /// Whether the relaxed rules hold.
    pub fn is_development(&self) -> bool {
        self.environment == Deployment::Development
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if let Err(message) = self.check_public_url() {
            problems.add("server.public_url", message);
        }
        for origin in &self.allowed_origins {
            if let Err(message) = origin.check(self.environment) {
                problems.add("server.allowed_origins", format!("{origin}: {message}"));
            }
        }
        for url in &self.allowed_return_urls {
            if let Err(message) = url.check(self.environment) {
                problems.add("server.allowed_return_urls", format!("{url}: {message}"));
            }
        }
        // Port 0 is a free one, each time another.
        if self.metrics_listen == Some(self.listen) && self.listen.port() != 0 {
            problems.add(
                "server.metrics_listen",
                "must differ from server.listen: metrics are the operator's",
            );
        }
        if !(1024..=16 * 1024 * 1024).contains(&self.body_limit_bytes) {
            problems.add("server.body_limit_bytes", "must be between 1024 and 16777216");
        }
        if self.max_connections == 0 {
            problems.add("server.max_connections", "must be at least 1");
        }
        if self.request_deadline.is_zero() {
            problems.add("server.request_deadline", "must be longer than zero");
        }
    }

    fn check_public_url(&self) -> Result<(), &'static str> {
        let Some(url) = &self.public_url else {
            return if self.is_development() {
                Ok(())
            } else {
                Err("missing: how do browsers reach the service?")
            };
        };
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err("must be an origin such as \"https://oauth.example.com\"");
        }
        if url.path() != "/" {
            // Cookies with the __Host- prefix belong to a whole host.
            return Err("must not have a path");
        }
        match (url.scheme(), self.environment) {
            ("https", _) if url.host().is_some() => Ok(()),
            ("http", Deployment::Development) if is_loopback_literal(url) => Ok(()),
            ("http", Deployment::Development) => Err("must be https, or http with 127.0.0.1 or [::1]"),
            _ => Err("must be https"),
        }
    }
}
